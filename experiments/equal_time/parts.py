"""What is compared, and the configs of its runs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.tools import configs, design
from ganjax.configs import override

SYSTEMS = {name: name for name in ("r3gan", "wgan_gp", "dcgan", "sngan", "ada")}
DIGITS = {"source": "embedded:mnist5k", "num_examples": 0, "channels": 1, "fit": "pad"}
EMOJI = {"source": "embedded:emoji64", "num_examples": 400, "channels": 3, "fit": "resize"}
NOTHING = {"evaluation.metrics": (), "evaluation.best": "none"}


class Part(NamedTuple):
    """What is compared.

    Attributes:
      systems: the configs by the names of their systems.
      data: the fields of `config.data` of all runs.
      seeds: the number of seeds of each system.
      seconds: the seconds of train steps of each run.
      metrics: the metrics with the feature network of each.
      shown: the figures of the table and the plot.
      points: the number of measurements of each run.
      samples: the number of samples of each measurement.
      last: overrides of all configs.
    """

    systems: Mapping[str, str]
    data: Mapping[str, Any]
    seeds: int
    seconds: float
    metrics: Mapping[str, str]
    shown: Sequence[str]
    points: int = 12
    samples: int = 1_000
    last: Mapping[str, Any] = {}


OF_DIGITS = {
    "metrics": {"kid": "efflite0", "modes": "digits"},
    "shown": ("kid_efflite0", "legible_digits", "modes_digits"),
}
OF_EMOJI = {"metrics": {"kid": "efflite0"}, "shown": ("kid_efflite0",)}
TWO = {name: name for name in ("r3gan", "wgan_gp")}
PARTS = {
    "digits": Part(SYSTEMS, DIGITS, seeds=3, seconds=240.0, **OF_DIGITS),
    "emoji": Part(SYSTEMS | {"r3gan": "r3gan:emoji"}, EMOJI, seeds=1, seconds=240.0, **OF_EMOJI),
    "longer": Part(TWO, DIGITS, seeds=1, seconds=1_200.0, **OF_DIGITS, points=20),
    "smoke": Part(
        {name: name for name in ("wgan_gp", "dcgan")},
        DIGITS,
        seeds=2,
        seconds=0.1,
        metrics={"modes": "digits"},
        shown=("legible_digits", "modes_digits"),
        points=2,
        samples=16,
        last={name: design.SMALL[name] for name in design.SMALL if "." in name or "_size" in name},
    ),
}


def stretch(group: dict[str, Any], factor: float) -> None:
    """Lets all schedules in a group of a config change over `factor` times as many reals."""
    for value in group.values():
        if isinstance(value, dict):
            if {"start", "end", "over"} <= value.keys():
                value["over"] = max(1, round(factor * value["over"]))
            else:
                stretch(value, factor)


def config_of(part: Part, system: str, steps: int, points: int = 1, seed: int = 0) -> dict:
    """Returns the config of a run that does nothing but train and save, as a nested dict.

    Args:
      part: what is compared.
      system: the name of the system.
      steps: the number of steps.
      points: the number of checkpoints, all of which are kept.
      seed: the seed.
    """
    config = configs.named(part.systems[system]).to_dict()
    stretch(config, steps / config["total_steps"])
    changes = {f"data.{name}": value for name, value in part.data.items()} | dict(part.last)
    # Pictures and losses of held-out images come once, at the end.
    length = dict.fromkeys(("total_steps", "sample_every", "eval_every"), steps)
    length |= {"checkpoint_every": steps // points, "keep_checkpoints": points}
    # The clock counts single steps.
    single = {"steps_per_dispatch": 1, "seed": seed}
    override(config, changes | NOTHING | length | single, system)
    return config
