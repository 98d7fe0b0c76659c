"""What is compared with what: the rows of the benchmarks' table, as data, and how one is made."""

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
# Of growing networks their last resolution, from the start.
FULL_SIZE = {
    "growth.batch_sizes": [],
    "growth.learning_rates": [],
    "ema.half_life": 0,
    "ema.ramp_up": 0.0,
}
# Processes of which the middle peak counts: XLA gives a step's temporaries back at some time after
# it, in one of several runs when the next has begun.
PEAKS = 3
NO_KERAS = "not measured: no --keras_python"


class Row(NamedTuple):
    """A train step beside its peers.

    Attributes:
      config: a file of configs/[:preset].
      fields: of the config, by dotted names, instead of its own.
      by: module of this package whose `compare` times it; "" where there is no peer.
      contenders: in PyTorch, whose memory is measured.
      alone: whether ganjax's memory and compile time are measured.
    """

    config: str
    fields: dict[str, Any]
    by: str = "step"
    contenders: tuple[str, ...] = ()
    alone: bool = True


S1 = "dcgan:celeb_a"
S3 = {"n_critic": 3, "batch_size": 32}
NO_AUGMENTATION = {"augment": {"policy": "none"}}
ROWS = {
    "S1_32": Row(S1, {"batch_size": 32}, contenders=CONVOLUTIONAL),
    "S1_128": Row(S1, {"batch_size": 128}, contenders=CONVOLUTIONAL),
    "S3_celeb_a": Row("wgan_gp:celeb_a", S3, contenders=CONVOLUTIONAL),
    "S3": Row("wgan_gp", {}, contenders=CONVOLUTIONAL),
    "S5": Row("cgan", {}, contenders=(EAGER, "torch compiled")),
    "S7": Row("progan", FULL_SIZE | {"batch_size": 32}, contenders=CONVOLUTIONAL),
    "S8_32": Row("ada:emoji64", NO_AUGMENTATION | {"batch_size": 32}, "keras_step"),
    "S8_128": Row("ada:emoji64", NO_AUGMENTATION | {"batch_size": 128}, "keras_step"),
    "S2": Row("dcgan_noisy", {}, ""),
    "S4": Row("cwgan_gp", {}, ""),
    "WGAN": Row("wgan", {}, ""),
    "SNGAN": Row("sngan", {}, ""),
    "S1_flax": Row(S1, {"batch_size": 32}, "flax_step", alone=False),
    "S3_flax": Row("wgan_gp:celeb_a", S3, "flax_step", alone=False),
}
# The row of another kind: the rate of S1's convolutions beside a matrix product's.
SHARE = "convolutions"
NAMES = (*ROWS, SHARE)

# S1's step along three axes; F, the width of the last layer of G, doubles with each layer inwards.
BASE = {"batch_size": 32, "width": 64, "image_size": 64}
GROWTH = {
    "batch_size": (8, 16, 32, 64, 128),
    "width": (16, 32, 64, 128),
    "image_size": (16, 32, 64, 128),
}


def make(name: str, rounds: int, keras_python: str | None) -> dict:
    """Measures one row, every side in processes of its own.

    Returns:
      `config`, `fields`, `rounds`, `load_before`, and as far as it got: what the row's `compare`
      returns; `compile_seconds` with a `cold` and a `warm` compilation cache; `peak_mib` by
      contender, ganjax's for both; and `error`, the last line of what failed.
    """
    found = {"load_before": os.getloadavg()[0], "rounds": rounds}
    try:
        if name == SHARE:
            return found | job.run("conv.share", rounds=rounds)
        row = ROWS[name]
        which = {"config": row.config, "fields": row.fields}
        found |= which
        if row.by == "keras_step":
            if keras_python is None:
                return found | {"error": NO_KERAS}
            batch_size = row.fields["batch_size"]
            asked = {"python": keras_python, "batch_size": batch_size}
        else:
            asked = which
        if row.by:
            found |= job.run(f"{row.by}.compare", rounds=rounds, **asked)
        peaks = found.setdefault("peak_mib", {})
        if row.alone:
            seconds = found["compile_seconds"] = {}
            with tempfile.TemporaryDirectory() as cache:
                for kind, times in (("cold", 1), ("warm", PEAKS)):
                    steps = STEPS if row.by else TIMED
                    ask = partial(job.run, "ours.alone", **which, cache=cache, steps=steps)
                    alone = medians([ask() for _ in range(times)])
                    peaks[f"{OURS}, {kind}"] = alone["peak_mib"]
                    seconds[kind] = alone["compile_seconds"]
            if not row.by:
                found["batch_size"] = alone["batch_size"]
                found["seconds"] = {OURS: {"median": alone["step_seconds"]}}
        for contender in row.contenders:
            ask = partial(job.run, "torch_alone.alone", **which, contender=contender)
            peaks[contender] = medians([ask() for _ in range(PEAKS)])["peak_mib"]
    except job.Failed as error:
        found["error"] = str(error)
    return found


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """By name, of what several processes found."""
    return {name: median(each[name] for each in found) for name in found[0]}


def fields_of(batch_size: int, width: int, image_size: int) -> dict:
    """Of S1 at a size: networks from 4x4 to image_size, their outermost layer `width` wide."""
    widths = [width * 2**i for i in range((image_size // 4).bit_length() - 1)]
    return {
        "batch_size": batch_size,
        "image_size": image_size,
        "generator.widths": widths[::-1],
        "discriminator.widths": widths,
    }


def points() -> list[dict[str, int]]:
    """The sizes that `GROWTH` asks for, each once."""
    found = [BASE]
    for axis, values in GROWTH.items():
        found += [BASE | {axis: value} for value in values if value != BASE[axis]]
    return found


def grow(point: dict[str, int], rounds: int) -> dict:
    """S1's step at one size in ganjax and in PyTorch: a point of `points` and its `summary`."""
    try:
        found = job.run(
            "step.compare",
            config=S1,
            fields=fields_of(**point),
            rounds=rounds,
            only=[EAGER],
            checked=False,
        )
    except job.Failed as error:
        found = {"error": str(error)}
    return found | point
