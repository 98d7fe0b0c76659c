"""Trains systems for equal seconds of train steps, and measures their samples on the way.

    python -m experiments.equal_time --part=digits    five systems, three seeds, 240 s each
    python -m experiments.equal_time --part=emoji     the same on 400 emoji, one seed
    python -m experiments.equal_time --part=longer    R3GAN and WGAN-GP on digits, one seed, 1,200 s
    python -m experiments.equal_time --part=smoke     the smallest form

Does R3GAN make better images than older systems in the same time? Every run has the default preset
of its system. A short run measures the seconds of a step, which give the number of steps; schedules
change as large a part of the run as in the preset. Seconds are those that the process' threads
spend on a CPU in train steps, medians over steps: compilation, checkpoints and measurements are not
counted, and other processes matter little. Give the process one core, as by taskset: threads of
several cores spin while they wait for each other.

After a stop or a kill the same command goes on. It writes table.md, figures.json and curves.png to
the folder of --out, anew after every run. Curves are those of runs whose rates fall until the end,
so that a point on the way is not the end of a shorter run.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.tools import configs, design, results
from ganjax import shared_flags
from ganjax.analysis.image_sets import from_run
from ganjax.analysis.trained import Trained
from ganjax.configs import override
from ganjax.errors import UserError
from ganjax.metrics import features
from ganjax.metrics.image_set import ImageSet, from_source
from ganjax.metrics.table import METRICS, network_outputs
from ganjax.parallel.sharding import make_layout
from ganjax.pictures import curves
from ganjax.pictures.curves import Curve
from ganjax.runtime import compiling, storage
from ganjax.training import attempts
from ganjax.training.display import Display
from ganjax.training.loop import train
from ganjax.training.report import NonFiniteError

SYSTEMS = {name: name for name in ("r3gan", "wgan_gp", "dcgan", "sngan", "ada")}
DIGITS = {"source": "embedded:mnist5k", "num_examples": 0, "channels": 1, "fit": "pad"}
EMOJI = {"source": "embedded:emoji64", "num_examples": 400, "channels": 3, "fit": "resize"}
# The steps by which the seconds of a step are measured, and the first ones, which do not count.
CALIBRATION, WARM_UP = 60, 5
CLOCK, FIGURES = "clock.jsonl", "figures.json"
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


class Clock(Display):
    """A display that records the CPU's seconds of each step, and shows only messages.

    Args:
      folder: the folder of the run, to whose `CLOCK` each attempt adds a line.
    """

    def __init__(self, folder: Path):
        self._folder, self._ends = folder, []

    def advance(self) -> None:
        self._ends.append(time.process_time())

    def say(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        spent = [end - start for start, end in pairwise(self._ends)][WARM_UP:]
        if spent:
            line = {"step_seconds": median(spent), "steps": len(spent)}
            storage.append_line(self._folder / CLOCK, line)


def step_seconds(folder: Path) -> float | None:
    """Returns the CPU's seconds of a step of a run, a mean over its attempts; None if unknown."""
    path = folder / CLOCK
    lines = storage.json_lines(path) if path.is_file() else []
    if not lines:
        return None
    steps = [line["steps"] for line in lines]
    return float(np.average([line["step_seconds"] for line in lines], weights=steps))


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
    override(config, changes | NOTHING | length | {"seed": seed}, system)
    return config


def trained(config: dict, folder: Path) -> bool:
    """Trains a run to its end, unless it has ended; returns False if it has diverged."""
    outcome = attempts.last(folder).get("outcome")
    if outcome not in ("finished", "diverged"):
        try:
            train(config, folder, Clock(folder))
            outcome = "finished"
        except NonFiniteError as error:
            print(error, flush=True)
            outcome = "diverged"
        jax.clear_caches()
    return outcome == "finished"


def calibrated(part: Part, out: Path) -> dict[str, float]:
    """Returns the CPU's seconds of a step of each system, by short runs if they are not known."""
    found = {}
    for system in part.systems:
        folder = out / "calibration" / system
        trained(config_of(part, system, CALIBRATION), folder)
        found[system] = step_seconds(folder)
    return found


def measurer(part: Part, real: ImageSet) -> Callable[[ImageSet], dict[str, float]]:
    """Returns a function that measures fakes against reals by the metrics of a part."""
    sharding = make_layout(jax.local_devices()).batch
    prepared = []
    for name, network in part.metrics.items():
        metric = METRICS[name]
        params, outputs = features.load(network), network_outputs([metric])
        extract = features.Extractor(network, params, outputs, sharding)
        reference = metric.prepare(extract.observe(real, "reals").part(metric.needs, 0, real.count))
        prepared.append((metric, network, extract, reference))

    def measure(fake: ImageSet) -> dict[str, float]:
        figures = {}
        for metric, network, extract, reference in prepared:
            observed = extract.observe(fake, "fakes").part(metric.needs, 0, fake.count)
            figures |= metric.full_names(metric.measure(reference, observed), network)
        return figures

    return measure


def measure_run(part: Part, folder: Path, steps: Sequence[int], measure) -> None:
    """Measures the checkpoints of a run that have not been measured yet.

    Args:
      part: what is compared.
      folder: the run's folder, to whose `FIGURES` the figures are written, by step.
      steps: the steps of the checkpoints.
      measure: the function of `measurer`.
    """
    figures = read_figures(folder)
    for step in steps:
        if step not in figures:
            run = Trained(folder, str(step))
            figures[step] = measure(from_run(run, f"{folder.name} step {step}", part.samples))
            storage.write_json(folder / FIGURES, figures)


def read_figures(folder: Path) -> dict[int, dict[str, float]]:
    """Returns the figures of a run by step, as far as they are measured."""
    path = folder / FIGURES
    if not path.is_file():
        return {}
    return {int(step): found for step, found in json.loads(path.read_text()).items()}


def compare(part: Part, out: Path) -> None:
    """Trains and measures all runs of a part in a folder, and reports after each of them."""
    seconds = calibrated(part, out)
    lengths = {
        system: part.points * max(1, round(part.seconds / each / part.points))
        for system, each in seconds.items()
    }
    measure = None
    for seed in range(part.seeds):
        for system, steps in lengths.items():
            folder = out / f"{system}_seed{seed}"
            config = config_of(part, system, steps, part.points, seed)
            if not trained(config, folder):
                continue
            if measure is None:
                real = Trained(folder, "last").images_of("validation")
                measure = measurer(part, from_source("held out", real, None))
                floor(part, folder, out, measure)
            every = steps // part.points
            measure_run(part, folder, range(every, steps + 1, every), measure)
            report(part, out, seconds, lengths)


def floor(part: Part, folder: Path, out: Path, measure) -> None:
    """Measures training images in place of samples, and writes the figures to the part's folder."""
    if not (out / FIGURES).is_file():
        images = Trained(folder, "last").images_of("train")
        found = measure(from_source("training images", images, part.samples))
        storage.write_json(out / FIGURES, {0: found})


def report(part: Part, out: Path, seconds: dict[str, float], lengths: dict[str, int]) -> None:
    """Writes the table and the plot of what is measured so far, and prints the table.

    Args:
      part: what is compared.
      out: the folder of its runs.
      seconds: the calibrated seconds of a step of each system.
      lengths: the number of steps of each system.
    """
    runs = {
        system: {seed: out / f"{system}_seed{seed}" for seed in range(part.seeds)}
        for system in seconds
    }
    found = {
        system: [read_figures(folder) for folder in folders.values() if read_figures(folder)]
        for system, folders in runs.items()
    }
    quarters = [part.points // 4, part.points // 2, part.points]
    at = list(dict.fromkeys(max(1, point) for point in quarters))
    heads = [f"{name} at {part.seconds * p / part.points:.4g} s" for name in part.shown for p in at]
    lines = [
        f"| system | runs | steps | s a step | s of steps | {' | '.join(heads)} |",
        "|---" * (5 + len(heads)) + "|",
    ]
    for system, figures in found.items():
        every = lengths[system] // part.points
        spent = [step_seconds(folder) or seconds[system] for folder in runs[system].values()]
        cells = [
            _spread([run[p * every][name] for run in figures if p * every in run])
            for name in part.shown
            for p in at
        ]
        lines.append(
            f"| {part.systems[system]} | {len(figures)} | {lengths[system]} | "
            f"{seconds[system]:.4f} | {lengths[system] * np.mean(spent):.4g} | "
            f"{' | '.join(cells)} |"
        )
    (reals,) = read_figures(out).values()
    cells = [f"{reals[name]:.3g}" for name in part.shown for _ in at]
    lines.append(f"| training images | | | | | {' | '.join(cells)} |")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines += ["", f"{part.samples} samples of each checkpoint; mean ± deviation; {cores} core(s)."]
    storage.write_text(out / "table.md", "\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)
    _draw(part, out, seconds, found)


def _spread(values: Sequence[float]) -> str:
    """Returns the mean and deviation of values as text."""
    spread = results.spread(values)
    if spread is None:
        return ""
    return f"{spread.mean:.3g}" + (f" ± {spread.deviation:.1g}" if spread.deviation else "")


def _draw(part: Part, out: Path, seconds: dict[str, float], found: dict[str, list[dict]]) -> None:
    """Draws the first two of the figures that are shown against seconds of steps."""
    names = part.shown[:2]
    plot = curves.figure(4.8 * len(names), 3.6)
    for axes, name in zip(plot.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        for i, (system, runs) in enumerate(found.items()):
            own = [
                Curve(
                    np.array(sorted(run)) * seconds[system],
                    np.array([run[step][name] for step in sorted(run)]),
                )
                for run in runs
            ]
            curves.draw(axes, own, label=part.systems[system], color=f"C{i}")
        axes.set_xlabel("seconds of train steps")
        axes.set_ylabel(name)
        axes.set_yscale("log" if name.startswith("kid") else "linear")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    curves.save(out / "curves.png", plot)


def settled(name: str, seconds: float | None, out: Path) -> Part:
    """Returns a part of a length, and holds its folder to what was asked for at first.

    Args:
      name: the name of the part.
      seconds: the seconds of steps of each run; None takes the part's own.
      out: the folder of the runs.

    Raises:
      UserError: the folder holds another part or length.
    """
    part = PARTS[name]
    part = part._replace(seconds=seconds or part.seconds)
    asked = {"part": name, "seconds": part.seconds}
    out.mkdir(parents=True, exist_ok=True)
    path = out / "asked.json"
    before = json.loads(path.read_text()) if path.is_file() else asked
    if before != asked:
        raise UserError(
            f"--out={out} holds part {before['part']} of {before['seconds']:g} seconds; name "
            "another folder, or ask for these"
        )
    storage.write_json(path, asked)
    return part


def _seconds(text: str) -> float:
    """Parses a flag that is a number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--seconds", type=_seconds, help="of train steps of each run")
    parser.add_argument("--out", type=shared_flags.path, help="the folder of the runs")
    args = parser.parse_args()
    out = args.out or Path("runs") / f"equal_time_{args.part}"
    compiling.keep_programs()
    compiling.trim_memory()
    try:
        compare(settled(args.part, args.seconds, out), out)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
