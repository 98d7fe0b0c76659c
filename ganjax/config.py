"""Configs, read once: a ConfigDict in, a frozen and checked object out.

The fields that every config has are `RunConfig`; an algorithm's `Config` adds its own. Types
and ranges are declared here and nowhere else; a field that is unknown, missing, of the wrong
type or out of range is refused in one line before anything is built.
"""

import difflib
import importlib
from typing import Annotated, Any, Literal, NamedTuple, get_args

import ml_collections
import pydantic
from pydantic import Field, NonNegativeInt, PositiveInt

from ganjax.errors import UserError

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Level = Annotated[int, Field(ge=0, le=255)]


class ConfigError(UserError):
    """A config that cannot be run."""


class Fields(pydantic.BaseModel):
    """A group of fields: frozen, strict in types, closed to unknown names."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


class DataConfig(Fields):
    """Which images.

    Attributes:
      source: `embedded:mnist5k`, `embedded:emoji64`, `tfds:<name>`, `folder:<path>` (a tree of
        png, jpg, webp or bmp files) or `records:<path>` (what ganjax.data.prepare made).
      label: the feature that labels are read from: "label" (of a folder: its sub-folders), or
        any other of integers or of booleans, such as "attributes/Blond_Hair" of tfds:celeb_a,
        or a column of labels_file; "" reads none.
      num_classes: labels are 0 .. num_classes - 1; 1 without labels.
      channels: 1 (grey) or 3 (RGB); images are converted.
      fit: how images get to image_size: "pad" centres them on their own background
        colour, "resize" crops the central square and resizes it (by area downwards, bicubic
        upwards), "bounding_box" crops around the image's box, and a quarter more, by area.
      mirror: whether every image of a training batch is flipped left to right by a fair coin.
      num_examples: how many training images are used, 0 for all.
      fraction: the share of the training images that is used, 1.0 for all.
      subset_seed: chooses these; it is not the run's seed, so that a sweep shares them.
      background: the RGB colour, 0 to 255, that transparent images are laid over.
      labels_file: of a folder: a CSV or JSON file of labels and boxes, "" for none.
      min_side: of a folder: images with a shorter side below this many pixels are skipped.
      max_skipped: of a folder: how many images may be skipped, unreadable ones among them.
      on_device: whether the whole set is kept on the devices and only indices travel.
    """

    source: str
    label: str
    num_classes: PositiveInt
    channels: Literal[1, 3]
    fit: Literal["pad", "resize", "bounding_box"]
    mirror: bool
    num_examples: NonNegativeInt
    fraction: Annotated[float, Field(gt=0, le=1)]
    subset_seed: Seed
    background: Annotated[tuple[Level, Level, Level], Field(strict=False)]
    labels_file: str
    min_side: PositiveInt
    max_skipped: NonNegativeInt
    on_device: bool


class EvaluationConfig(Fields):
    """What is measured on held-out images, besides D's loss on them.

    Attributes:
      log_likelihood: samples in the Parzen window that gives val_log_likelihood; 0 leaves
        it out. See `ganjax.metrics.parzen`.
      metrics: which of `ganjax.metrics.figures.METRICS`, such as ("kid", "fid"); () for none.
        Their figures' names end in the network's: kid_efflite0.
      features: the network of these, of `ganjax.metrics.features.NETWORKS`: "efflite0" comes
        with ganjax, "inception" and "inception_clean" are fetched once.
      weights: the path of that network's published weight file; "" looks for it where it was
        installed or fetched to, and fetches it.
      num_samples: generated images, and at most as many held-out ones, that these take.
      best: the figure by which the best checkpoint is kept besides the latest, and
        sampled: "val_log_likelihood", "kid_efflite0", ..., or "none". Whether more of it or
        less is better is known.
      patience: evaluations in a row without a better figure after which the run stops; 0
        never stops it.
    """

    log_likelihood: NonNegativeInt
    metrics: Annotated[tuple[str, ...], Field(strict=False)]
    features: str
    weights: str
    num_samples: PositiveInt
    best: str
    patience: NonNegativeInt


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
    data: DataConfig
    log_every: PositiveInt
    sample_every: PositiveInt
    sample_grid: Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]
    eval_every: PositiveInt
    checkpoint_every: PositiveInt
    keep_checkpoints: PositiveInt
    evaluation: EvaluationConfig

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
        raise ConfigError(_line(_first(error.errors()), module.Config, raw)) from None


def _first(errors: list[dict]) -> dict:
    """The one to tell: of a field that is missing since its name is misspelt, that."""
    missing = {error["loc"] for error in errors if error["type"] == "missing"}
    for error in errors:
        *group, name = error["loc"]
        if error["type"] == "extra_forbidden":
            beside = [str(loc[-1]) for loc in missing if list(loc[:-1]) == group]
            if difflib.get_close_matches(str(name), beside, 1):
                return error
    return errors[0]


def _line(error: dict, schema: type[Fields], raw: dict) -> str:
    """One pydantic error as "config.<field>=<value>: <what is wrong and the mend>"."""
    names, parts = ["config"], [str(part) for part in error["loc"]]
    group, kind = schema, ""  # The one that the last name is of, and which of several it is.
    while parts:
        names.append(parts.pop(0))
        info = getattr(schema, "model_fields", {}).get(names[-1])
        group, schema = schema, info and info.annotation
        if info and parts:
            kind, raw = "", raw.get(names[-1], {})
        if info and info.discriminator and parts:
            # Of several schemas, pydantic names the one that it took by its tag.
            tag = parts.pop(0)
            kind = f"{info.discriminator}={tag!r}"
            schema = next(s for s in get_args(schema) if tag in _tags(s, info.discriminator))
    field = ".".join(names)
    whole = f"give {names[-2]} whole in a copy of the config file"
    if error["type"] == "extra_forbidden":
        known = list(group.model_fields)
        close = difflib.get_close_matches(names[-1], known, 1)
        # Of another kind rather than a typo where what it is like is there too.
        if close and not (kind and close[0] in raw):
            mend = f"did you mean {close[0]}?"
        elif kind:
            mend = (
                f"with {kind} there are only {', '.join(known)}. A flag takes no field away: "
                f"take it out of the file, or {whole}"
            )
        else:
            mend = f"there are {', '.join(known)}"
        return f"{field}={error['input']!r}: no such field; {mend}"
    if error["type"] == "missing":
        if kind:
            return f"{field} is missing: {kind} needs it. A flag adds no field: {whole}"
        return f"{field} is missing: the config file must set it"
    if error["type"].startswith("union_tag"):
        name = error["ctx"]["discriminator"].strip("'")
        tag = error["input"].get(name) if isinstance(error["input"], dict) else error["input"]
        tags = [tag for s in get_args(schema) for tag in _tags(s, name)]
        return f"{field}.{name}={tag!r}: there are {', '.join(tags)}"
    message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{field}={error['input']!r}: {message}"


def _tags(schema: type[Fields], discriminator: str) -> tuple[str, ...]:
    return get_args(schema.model_fields[discriminator].annotation)


def differences(one: dict, other: dict, prefix: str = "config") -> list[str]:
    """The dotted names of the fields in which two config dicts differ, in order."""
    names = []
    for name in [*one, *(name for name in other if name not in one)]:
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += differences(a, b, f"{prefix}.{name}")
        elif a != b:
            names.append(f"{prefix}.{name}")
    return names
