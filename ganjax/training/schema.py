"""The schema of configs, by which a ConfigDict becomes a frozen and checked object.

`LoopConfig` has the fields that the training loop honours, `RunConfig` further ones of runs on
images; an algorithm's `Config` adds its own. A field that is unknown, missing, of the wrong type or
out of range is refused in one line before anything is built.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Any, Literal, NamedTuple, Self

import ml_collections
import pydantic
from pydantic import Field, NonNegativeFloat

from ganjax.config import (
    AUTO,
    IF_NAMED,
    ConfigError,
    Fields,
    NonNegativeInt,
    PositiveInt,
    RepeatsOrAuto,
    Seed,
    algorithm_module,
    changeable,
    explain,
    may_change,
    may_change_if_named,
)
from ganjax.data.fields import DataFields, SourceFields
from ganjax.engine.sizes import ImageSize, parsed
from ganjax.metrics.fields import BestFields, EvaluationFields


class LoopConfig(Fields):
    """The fields that the training loop honours, whatever a run generates.

    Attributes:
      algorithm: the name of a file in ganjax/algorithms, or the name of any other module.
      seed: the seed of all randomness: initialisation, data order, latents and noise.
      num_seeds: the number of runs that are trained at once, with the seeds seed, seed + 1, ...
        Each is the run that its seed alone would give, but all end together, as soon as one is
        not finite or evaluation.patience is exhausted. evaluation.best and evaluation.patience
        look at means over the seeds.
      total_steps: the number of train steps in the run; 0 if total_epochs gives its length.
      total_epochs: the length of the run in epochs (`ganjax.training.epochs`). Where it is not 0,
        it takes precedence over total_steps, and so do the other lengths in epochs over those in
        steps; but a length that a flag gives takes precedence over the one in the file.
      batch_size: the number of real images in one update, over all devices.
      steps_per_dispatch: the number of train steps in one program, for devices on which launching
        a program takes long. Steps run one at a time where a picture, an evaluation or a
        checkpoint falls between them. Results are the same up to rounding. "auto" times the first
        steps of each phase, and takes enough together to hide the time of launching; a run that is
        resumed takes as many as it did (`ganjax.training.dispatch`).
      sharding: where parameters, moments and averages are kept: "replicated" keeps all of them on
        each device, "fully_sharded" a part on each, for models that are too large for one
        (`ganjax.parallel.sharding`). Results are the same.
      data: the set on which the run is trained.
      log_every: the number of steps between lines of metrics.
      log_every_epochs: the number of epochs between them; 0 leaves it to log_every.
      sample_every: the number of steps between pictures of samples.
      sample_every_epochs: the number of epochs between them; 0 leaves it to sample_every.
      sample_grid: the rows and columns of such a picture. That of a conditional model has at most
        as many images, equally many of each class, and each class in columns of its own.
      eval_every: the number of steps between evaluations on held-out images.
      eval_every_epochs: the number of epochs between them; 0 leaves it to eval_every.
      checkpoint_every: the number of steps between checkpoints.
      checkpoint_every_epochs: the number of epochs between them; 0 leaves it to checkpoint_every.
      keep_checkpoints: the number of the latest checkpoints that are kept.
      evaluation: the measurements at each evaluation.
    """

    algorithm: str
    seed: Seed = may_change_if_named(0)
    num_seeds: PositiveInt = 1
    total_steps: NonNegativeInt = may_change(0)
    total_epochs: NonNegativeFloat = may_change(0.0)
    batch_size: PositiveInt = may_change_if_named()
    steps_per_dispatch: RepeatsOrAuto = may_change(1)
    sharding: Literal["replicated", "fully_sharded"] = may_change("replicated")
    data: SourceFields
    log_every: PositiveInt = may_change(10)
    log_every_epochs: NonNegativeFloat = may_change(0.0)
    sample_every: PositiveInt = may_change(1_000)
    sample_every_epochs: NonNegativeFloat = may_change(0.0)
    sample_grid: Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)] = may_change(
        (8, 8)
    )
    eval_every: PositiveInt = may_change(1_000)
    eval_every_epochs: NonNegativeFloat = may_change(0.0)
    checkpoint_every: PositiveInt = may_change(1_000)
    checkpoint_every_epochs: NonNegativeFloat = may_change(0.0)
    keep_checkpoints: PositiveInt = may_change(2)
    evaluation: BestFields = BestFields()

    @classmethod
    def follow(cls, group: Any, config: Any, changes: Mapping[str, Any], at: str) -> None:
        """Gives steps_per_dispatch the type of its new value, since a flag keeps a field's type."""
        del config, at
        name = "steps_per_dispatch"
        if name in changes:
            whole = str(changes[name]).strip().isdecimal()
            kept = cls.model_fields[name].default if whole else AUTO
            if type(kept) is not type(group.get(name)):
                _set(group, name, kept)

    def completed(self) -> Self:
        """Returns the config with values for fields that follow others and were not given."""
        return self

    @property
    def continuable(self) -> frozenset[str]:
        """The dotted names of the fields that may change when a run goes on."""
        return frozenset(changeable(self))

    @property
    def nameable(self) -> frozenset[str]:
        """The dotted names of the fields that may change when a run goes on if they are named."""
        named = frozenset(changeable(self, IF_NAMED))
        # A length in epochs would be another number of steps, also of those already trained.
        return named - {"config.batch_size"} if self.total_epochs else named


class RunConfig(LoopConfig):
    """The fields that every config of a GAN of images has.

    Attributes:
      image_size: the side of square images in pixels, or (height, width); a flag gives a pair as
        96,128.
      data: the images on which the run is trained.
      evaluation: the measurements at each evaluation.
    """

    image_size: ImageSize
    data: DataFields
    evaluation: EvaluationFields = EvaluationFields()

    @classmethod
    def follow(cls, group: Any, config: Any, changes: Mapping[str, Any], at: str) -> None:
        """Gives image_size the type of its new value, since a flag keeps the type of a field."""
        super().follow(group, config, changes, at)
        if "image_size" not in changes:
            return
        try:
            value = parsed(changes["image_size"])
        except ValueError as error:
            raise ConfigError(f"config.image_size={changes['image_size']!r}: {error}") from None
        if type(value) is not type(group.get("image_size")):
            _set(group, "image_size", value)


def _set(group: Any, name: str, value: Any) -> None:
    """Sets a field of a dict or ConfigDict to a value of another type."""
    typed = isinstance(group, ml_collections.ConfigDict)
    with group.ignore_type() if typed else nullcontext():
        group[name] = value


class Loaded(NamedTuple):
    """A checked config, and the module of the algorithm that it names."""

    config: LoopConfig
    module: Any


def load(raw: ml_collections.ConfigDict | dict) -> Loaded:
    """Checks a config against the fields of its algorithm.

    Args:
      raw: the config, as `get_config` of a config file or `workdir.read_fields` returns it.

    Raises:
      ConfigError: a field is wrong; the message is one line with the field, its value and the mend.
    """
    raw = raw.to_dict() if isinstance(raw, ml_collections.ConfigDict) else dict(raw)
    module = algorithm_module(raw.get("algorithm"))
    try:
        config = module.Config.model_validate(raw)
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, module.Config, raw)) from None
    if not (config.total_steps or config.total_epochs):
        raise ConfigError(
            "config.total_steps=0: say how long the run is, by it or by config.total_epochs"
        )
    return Loaded(config.completed(), module)
