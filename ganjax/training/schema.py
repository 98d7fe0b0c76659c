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

from ganjax.config import ConfigError, Fields, Seed, explain
from ganjax.data.fields import DataFields
from ganjax.metrics.fields import EvaluationFields


class RunConfig(Fields):
    """The fields that every config has.

    Attributes:
      algorithm: a file of ganjax/algorithms, or the dotted name of a module of your own.
      seed: of everything: initialisation, data order, latents, noise.
      num_seeds: runs that are trained at once, of the seeds seed, seed + 1, ...; each is the
        run that its seed alone makes, but that they end together: where one of them is not
        finite, and where evaluation.patience ends. That and evaluation.best go by their means.
      total_steps: train steps of the run.
      batch_size: reals of one update, over all devices.
      image_size: pixels a side.
      precision: what the networks compute in: "float32", "bfloat16", or "float16" with dynamic
        loss scaling (`ganjax.engine.loss_scaling`). Parameters, their averages, BatchNorm's
        statistics, minibatch standard deviations, and the norms, squares and means of penalties
        and losses are float32 always; the gradients that are penalised are the networks' own.
      accumulate: micro-batches that a batch is taken in, for memory's sake: each player's
        gradient is the mean of theirs. BatchNorm and DRAGAN's deviation see each as a batch of
        its own, and spectral normalisation iterates once for each. They are of the
        same images on any number of devices.
      remat: whether the backward pass computes the insides of convolutional networks' blocks
        anew instead of keeping them: the same gradients, of less memory and more time.
      steps_per_dispatch: train steps in one program, where launching them singly costs (little
        on CPU); one at a time where so many would run over something that is due. The results
        are the same to rounding.
      sharding: of parameters, moments and averages over the devices: "replicated" keeps all on
        each, "fully_sharded" a part on each, for models too large for that (`ganjax.parallel.sharding`).
        The results are the same.
      data: which images.
      log_every: steps between lines of metrics.
      sample_every: steps between pictures.
      sample_grid: (rows, columns) of images in one; of a conditional model as many images at
        most, each class as often and in columns of its own.
      eval_every: steps between evaluations on held-out data.
      checkpoint_every: steps between checkpoints.
      keep_checkpoints: how many of the latest are kept.
      evaluation: what is measured there.
    """

    algorithm: str
    seed: Seed
    num_seeds: PositiveInt
    total_steps: PositiveInt
    batch_size: PositiveInt
    image_size: PositiveInt
    precision: Literal["float32", "bfloat16", "float16"]
    accumulate: PositiveInt
    remat: bool
    steps_per_dispatch: PositiveInt
    sharding: Literal["replicated", "fully_sharded"]
    data: DataFields
    log_every: PositiveInt
    sample_every: PositiveInt
    sample_grid: Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]
    eval_every: PositiveInt
    checkpoint_every: PositiveInt
    keep_checkpoints: PositiveInt
    evaluation: EvaluationFields

    @property
    def continuable(self) -> frozenset[str]:
        """What may differ between a run and its continuation: all else makes it another run."""
        return CONTINUABLE


CONTINUABLE = frozenset(
    f"config.{name}"
    for name in (
        "total_steps",
        "log_every",
        "sample_every",
        "sample_grid",
        "eval_every",
        "checkpoint_every",
        "keep_checkpoints",
        "remat",
        "steps_per_dispatch",
        "sharding",
        "data.on_device",
        "evaluation.weights",
    )
)


class Loaded(NamedTuple):
    """A checked config and the algorithm module that it names."""

    config: RunConfig
    module: Any


def load(raw: ml_collections.ConfigDict | dict) -> Loaded:
    """Checks a config against its algorithm's fields.

    Args:
      raw: what `get_config` of a config file returned, or the content of a config.json.

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
        if error.name is None or not path.startswith(error.name):
            raise  # A dependency of the algorithm's own is missing.
        raise ConfigError(
            f"config.algorithm={name!r}: there is no module {path}; name a file of "
            "ganjax/algorithms or a module of your own"
        ) from None
    if not (hasattr(module, "Config") and hasattr(module, "build")):
        raise ConfigError(f"config.algorithm={name!r}: {path} has no Config and build")
    try:
        return Loaded(module.Config.model_validate(raw), module)
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, module.Config, raw)) from None
