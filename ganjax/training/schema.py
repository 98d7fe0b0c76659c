"""Configs, read once: a ConfigDict in, a frozen and checked object out.

`RunConfig` has the fields that the training loop honours; an algorithm's `Config` adds its own. A
field that is unknown, missing, of the wrong type or out of range is refused in one line before
anything is built.
"""

import importlib
from typing import Annotated, Any, Literal, NamedTuple

import ml_collections
import pydantic
from pydantic import Field, PositiveInt

from ganjax.config import (
    ConfigError,
    Fields,
    Seed,
    changeable,
    explain,
    may_change,
    without_defaults_of_other_kinds,
)
from ganjax.data.fields import DataFields
from ganjax.metrics.fields import EvaluationFields


class RunConfig(Fields):
    """The fields that every config has: those that the training loop honours.

    Attributes:
      algorithm: a file of ganjax/algorithms, or the dotted name of a module of your own.
      seed: what all randomness follows from: initialisation, data order, latents, noise.
      num_seeds: how many runs are trained at once, with the seeds seed, seed + 1, ... Each is the
        run that its seed alone makes, but they end together: where one of them is not finite, and
        where evaluation.patience ends. That and evaluation.best go by their means.
      total_steps: train steps of the run.
      batch_size: reals of one update, over all devices.
      image_size: pixels a side.
      steps_per_dispatch: train steps in one program, where launching them singly costs (little
        on CPU). Steps run one at a time where a picture, an evaluation or a checkpoint falls
        between them. The results are the same to rounding.
      sharding: how parameters, moments and averages lie on the devices: "replicated" keeps all
        on each, "fully_sharded" a part on each, for models too large for that
        (`ganjax.parallel.sharding`). The results are the same.
      data: which images the run is trained on.
      log_every: steps between lines of metrics.
      sample_every: steps between pictures of samples.
      sample_grid: (rows, columns) of such a picture. A conditional model's shows as many images
        at most, each class as often and in columns of its own.
      eval_every: steps between evaluations on held-out images.
      checkpoint_every: steps between checkpoints.
      keep_checkpoints: how many of the latest checkpoints are kept.
      evaluation: what an evaluation measures.
    """

    algorithm: str
    seed: Seed = 0
    num_seeds: PositiveInt = 1
    total_steps: PositiveInt = may_change(...)
    batch_size: PositiveInt
    image_size: PositiveInt
    steps_per_dispatch: PositiveInt = may_change(1)
    sharding: Literal["replicated", "fully_sharded"] = may_change("replicated")
    data: DataFields
    log_every: PositiveInt = may_change(10)
    sample_every: PositiveInt = may_change(1_000)
    sample_grid: Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)] = may_change(
        (8, 8)
    )
    eval_every: PositiveInt = may_change(1_000)
    checkpoint_every: PositiveInt = may_change(1_000)
    keep_checkpoints: PositiveInt = may_change(2)
    evaluation: EvaluationFields = EvaluationFields()

    @property
    def continuable(self) -> frozenset[str]:
        """What may differ between a run and its continuation: all else makes it another run."""
        return frozenset(changeable(self))


class Loaded(NamedTuple):
    """A checked config and the algorithm module that it names."""

    config: RunConfig
    module: Any


def load(raw: ml_collections.ConfigDict | dict) -> Loaded:
    """Checks a config against its algorithm's fields.

    Args:
      raw: what `get_config` of a config file returned, or `workdir.read_fields` of a run.

    Raises:
      ConfigError: in one line: the field, its value and the mend.
    """
    raw = raw.to_dict() if isinstance(raw, ml_collections.ConfigDict) else dict(raw)
    name = raw.get("algorithm")
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"config.algorithm={name!r}: name a file of ganjax/algorithms")
    path = name if "." in name else f"ganjax.algorithms.{name}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise  # A dependency of the algorithm's own is missing.
        raise ConfigError(
            f"config.algorithm={name!r}: there is no module {path}; name a file of "
            "ganjax/algorithms or a module of your own, which Python finds by PYTHONPATH"
        ) from None
    if not (hasattr(module, "Config") and hasattr(module, "build")):
        raise ConfigError(f"config.algorithm={name!r}: {path} has no Config and build")
    try:
        raw = without_defaults_of_other_kinds(module.Config, raw)
        return Loaded(module.Config.model_validate(raw), module)
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, module.Config, raw)) from None
