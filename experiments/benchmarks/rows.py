"""The rows of the benchmarks' table as data, and the functions that measure them."""

import os
import tempfile
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from experiments.benchmarks import job
from experiments.benchmarks.clock import OURS
from experiments.benchmarks.ours import STEPS, TIMED

EAGER = "torch eager"
CONVOLUTIONAL = (EAGER, "torch channels_last")
# Makes a growing network train at its last resolution from the start.
FULL_SIZE = {
    "growth.batch_sizes": [],
    "growth.learning_rates": [],
    "ema.half_life": 0,
}
# Images in colour, and an average without a half-life.
R3GAN = {
    "data": {"source": "embedded:emoji64"},
    "generator.widths": (64,) * 4,
    "discriminator.widths": (64,) * 4,
    "generator.blocks": 2,
    "discriminator.blocks": 2,
    "ema": {"decay": 0.999},
    "batch_size": 32,
}
NO_AUGMENTATION = {"augment": {"policy": "none"}}
WGAN_GP_DIGITS = {"n_critic": 3, "batch_size": 64}
# Of the table of gpu.py: for each config, values for some of its fields, and all precisions.
GPU_ROWS = {
    "dcgan:celeb_a": {},
    "wgan_gp:celeb_a": {},
    "wgan_gp": WGAN_GP_DIGITS,
    "cgan": {},
    "progan:celeb_a_64": FULL_SIZE | {"batch_size": 32},
    "r3gan": R3GAN,
    "ada:emoji64": NO_AUGMENTATION | {"batch_size": 128},
}
PRECISIONS = ("float32", "bfloat16")
# The number of processes of which a peak is the median: it varies between runs (docs/memory.md).
PEAKS = 3
NO_KERAS = "not measured: no --keras_python"


class Row(NamedTuple):
    """A train step and the peers with which it is compared.

    Attributes:
      config: the name of a file of configs/, with :<preset> after it for a preset.
      fields: values for some fields of the config, by dotted name.
      by: the module of this package whose `compare` times the row; "" for a row without a peer.
      contenders: the names of the PyTorch contenders whose peak memory is measured.
      alone: whether ganjax's own peak memory and compile time are measured.
    """

    config: str
    fields: dict[str, Any]
    by: str = "step"
    contenders: tuple[str, ...] = ()
    alone: bool = True


# A row's name is its config, then @ and the batch size if that is not the config's own, then / and
# the peer if that is neither PyTorch nor Keras.
DCGAN = "dcgan:celeb_a"
WGAN_GP, WGAN_GP_FIELDS = "wgan_gp:celeb_a", {"n_critic": 3, "batch_size": 32}
ROWS = {
    "dcgan:celeb_a@32": Row(DCGAN, {"batch_size": 32}, contenders=CONVOLUTIONAL),
    "dcgan:celeb_a@128": Row(DCGAN, {"batch_size": 128}, contenders=CONVOLUTIONAL),
    "wgan_gp:celeb_a@32": Row(WGAN_GP, WGAN_GP_FIELDS, contenders=CONVOLUTIONAL),
    "wgan_gp@64": Row("wgan_gp", WGAN_GP_DIGITS, contenders=CONVOLUTIONAL),
    "cgan": Row("cgan", {}, contenders=(EAGER, "torch compiled")),
    "progan@32": Row("progan", FULL_SIZE | {"batch_size": 32}, contenders=CONVOLUTIONAL),
    "r3gan@32": Row("r3gan", R3GAN, contenders=CONVOLUTIONAL),
    "ada:emoji64@32": Row("ada:emoji64", NO_AUGMENTATION | {"batch_size": 32}, by="keras_step"),
    "ada:emoji64@128": Row("ada:emoji64", NO_AUGMENTATION | {"batch_size": 128}, by="keras_step"),
    "dcgan_noisy": Row("dcgan_noisy", {}, by=""),
    "cwgan_gp": Row("cwgan_gp", {}, by=""),
    "wgan": Row("wgan", {}, by=""),
    "sngan": Row("sngan", {}, by=""),
    "dcgan:celeb_a@32/flax": Row(DCGAN, {"batch_size": 32}, by="flax_step", alone=False),
    "wgan_gp:celeb_a@32/flax": Row(WGAN_GP, WGAN_GP_FIELDS, by="flax_step", alone=False),
}
# The row that compares the rate of DCGAN's convolutions with that of a matrix product.
SHARE = "convolutions"
NAMES = (*ROWS, SHARE)

# The shipped defaults whose loop is compared with their bare step, and values for some of their
# fields: for each file of configs/ its default.
LOOPS = {name: {} for name in ("wgan_gp", "dcgan", "dcgan_noisy", "cgan", "cwgan_gp", "wgan")}
LOOPS |= {"sngan": {}, "r3gan": {}, "ada": {}, "progan": FULL_SIZE, "tagging": {}}

# DCGAN's step is measured along three axes from this point. "width" is the width of G's last layer;
# widths double with each layer inwards.
BASE = {"batch_size": 32, "width": 64, "image_size": 64}
GROWTH = {
    "batch_size": (8, 16, 32, 64, 128),
    "width": (16, 32, 64, 128),
    "image_size": (16, 32, 64, 128),
}


def make(name: str, rounds: int, keras_python: str | None) -> dict:
    """Measures a row of `NAMES`.

    Args:
      name: the name of the row.
      rounds: the number of rounds in which each contender is timed.
      keras_python: the Python of an environment with TensorFlow, None without one.

    Returns:
      A dict of `config`, `fields`, `rounds` and `load_before`, and as far as the measurement got:
      the result of the row's `compare`; `compile_seconds` with a `cold` and a `warm` compilation
      cache; `peak_mib` by contender, ganjax's for both caches; and `error`, the last line of a
      failure.
    """
    result = {"load_before": os.getloadavg()[0], "rounds": rounds}
    try:
        if name == SHARE:
            return result | job.run("conv.share", rounds=rounds)
        row = ROWS[name]
        which = {"config": row.config, "fields": row.fields}
        result |= which
        if row.by == "keras_step":
            if keras_python is None:
                return result | {"error": NO_KERAS}
            arguments = {"python": keras_python, "batch_size": row.fields["batch_size"]}
        else:
            arguments = which
        if row.by:
            result |= job.run(f"{row.by}.compare", rounds=rounds, **arguments)
        peaks = result.setdefault("peak_mib", {})
        if row.alone:
            seconds = result["compile_seconds"] = {}
            with tempfile.TemporaryDirectory() as cache:
                for kind, count in (("cold", 1), ("warm", PEAKS)):
                    steps = STEPS if row.by else TIMED
                    measure = partial(job.run, "ours.alone", **which, cache=cache, steps=steps)
                    alone = medians([measure() for _ in range(count)])
                    peaks[f"{OURS}, {kind}"] = alone["peak_mib"]
                    seconds[kind] = alone["compile_seconds"]
            if not row.by:
                result["batch_size"] = alone["batch_size"]
                result["seconds"] = {OURS: {"median": alone["step_seconds"]}}
        for contender in row.contenders:
            measure = partial(job.run, "torch_alone.alone", **which, contender=contender)
            peaks[contender] = medians([measure() for _ in range(PEAKS)])["peak_mib"]
    except job.Failed as error:
        result["error"] = str(error)
    return result


def loop(name: str, processor: bool) -> dict:
    """Measures the loop of a config of `LOOPS`.

    Args:
      name: the name of the config.
      processor: whether seconds are those of the processor.

    Returns:
      The result of `experiments.benchmarks.loop.measure` and, as `peer`, of `torch_loop.beside`;
      in place of either its `error`.
    """
    with tempfile.TemporaryDirectory() as cache:
        try:
            which = {"config": name, "fields": LOOPS[name], "processor": processor}
            found = job.run("loop.measure", **which, cache=cache)
        except job.Failed as error:
            return {"error": str(error)}
    try:
        return found | {"peer": job.run("torch_loop.beside", **which)}
    except job.Failed as error:
        return found | {"peer": {"error": str(error)}}


def medians(results: list[dict[str, float]]) -> dict[str, float]:
    """Returns the median of each value over the results of several processes."""
    return {name: median(result[name] for result in results) for name in results[0]}


def fields_of(batch_size: int, width: int, image_size: int) -> dict:
    """Returns the fields that give `dcgan:celeb_a` another size.

    Args:
      batch_size: the batch size.
      width: the width of the outermost layers.
      image_size: the height and width of the images; the networks go from 4x4 to it.
    """
    widths = [width * 2**i for i in range((image_size // 4).bit_length() - 1)]
    return {
        "batch_size": batch_size,
        "image_size": image_size,
        "generator.widths": widths[::-1],
        "discriminator.widths": widths,
    }


def points() -> list[dict[str, int]]:
    """Returns the points of all axes of `GROWTH`, each once, `BASE` first."""
    found = [BASE]
    for axis, values in GROWTH.items():
        found += [BASE | {axis: value} for value in values if value != BASE[axis]]
    return found


def grow(point: dict[str, int], rounds: int) -> dict:
    """Times DCGAN's step at one size in ganjax and in PyTorch.

    Args:
      point: one of `points`.
      rounds: the number of rounds in which each contender is timed.

    Returns:
      A dict of the point's fields and of its `experiments.benchmarks.clock.summary` or `error`.
    """
    try:
        result = job.run(
            "step.compare",
            config=DCGAN,
            fields=fields_of(**point),
            rounds=rounds,
            only=[EAGER],
            checked=False,
        )
    except job.Failed as error:
        result = {"error": str(error)}
    return result | point
