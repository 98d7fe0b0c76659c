"""The table and the plot of what is measured so far."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.equal_time.figures import read_figures
from experiments.equal_time.parts import Part
from experiments.equal_time.runs import step_seconds
from experiments.tools import results
from ganjax.pictures import curves
from ganjax.pictures.curves import Curve
from ganjax.runtime import storage


class Measured(NamedTuple):
    """The figures of a run.

    Attributes:
      seconds: the seconds of train steps up to each checkpoint, ascending.
      figures: the values of each figure at these checkpoints.
    """

    seconds: np.ndarray
    figures: Mapping[str, np.ndarray]


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
    found = {system: _measured(folders, seconds[system]) for system, folders in runs.items()}
    # The machine may slow down after a step was timed: no run is asked for more than all have had.
    end = min((run.seconds[-1] for of in found.values() for run in of), default=part.seconds)
    times = [end / 4, end / 2, end]
    heads = [f"{name} at {time:.3g} s" for name in part.shown for time in times]
    lines = [
        f"| system | runs | steps | s a step | s of steps | {' | '.join(heads)} |",
        "|---" * (5 + len(heads)) + "|",
    ]
    for system, of in found.items():
        spent = np.mean([run.seconds[-1] for run in of]) if of else np.nan
        cells = [_spread(_at(of, name, time)) for name in part.shown for time in times]
        lines.append(
            f"| {part.systems[system]} | {len(of)} | {lengths[system]} | "
            f"{spent / lengths[system]:.4f} | {spent:.4g} | {' | '.join(cells)} |"
        )
    (reals,) = read_figures(out).values()
    cells = [f"{reals[name]:.3g}" for name in part.shown for _ in times]
    lines.append(f"| training images | | | | | {' | '.join(cells)} |")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines += ["", f"{part.samples} samples of each checkpoint; mean ± deviation; {cores} core(s)."]
    storage.write_text(out / "table.md", "\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)
    _draw(part, out, found)


def _at(runs: Sequence[Measured], name: str, time: float) -> list[float]:
    """Returns a figure of runs at a time, between the checkpoints; none before the first."""
    return [
        float(np.interp(time, run.seconds, run.figures[name]))
        for run in runs
        if time >= run.seconds[0]
    ]


def _spread(values: Sequence[float]) -> str:
    """Returns the mean and deviation of values as text."""
    spread = results.spread(values)
    if spread is None:
        return ""
    return f"{spread.mean:.3g}" + (f" ± {spread.deviation:.1g}" if spread.deviation else "")


def _measured(folders: Mapping[int, Path], seconds: float) -> list[Measured]:
    """Returns the runs of a system that have figures, with the mean seconds of their steps.

    Args:
      folders: the runs' folders by their seeds.
      seconds: the seconds of a step, for a run that does not say its own.
    """
    figures = {folder: read_figures(folder) for folder in folders.values()}
    done = {folder: found for folder, found in figures.items() if found}
    a_step = np.mean([step_seconds(folder) or seconds for folder in done]) if done else seconds
    runs = []
    for found in done.values():
        steps = sorted(found)
        values = {name: np.array([found[step][name] for step in steps]) for name in found[steps[0]]}
        runs.append(Measured(a_step * np.array(steps), values))
    return runs


def _draw(part: Part, out: Path, found: dict[str, list[Measured]]) -> None:
    """Draws the first two of the figures that are shown against seconds of steps."""
    names = part.shown[:2]
    plot = curves.figure(4.8 * len(names), 3.6)
    for axes, name in zip(plot.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        for i, (system, runs) in enumerate(found.items()):
            own = [Curve(run.seconds, run.figures[name]) for run in runs]
            curves.draw(axes, own, label=part.systems[system], color=f"C{i}")
        axes.set_xlabel("seconds of train steps")
        axes.set_ylabel(name)
        axes.set_yscale("log" if name.startswith("kid") else "linear")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    curves.save(out / "curves.png", plot)
