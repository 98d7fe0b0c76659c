"""The table and the plot of what is measured so far."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.equal_time.figures import read_figures
from experiments.equal_time.parts import Part
from experiments.equal_time.runs import step_seconds
from experiments.tools import results
from ganjax.pictures import curves
from ganjax.pictures.curves import Curve
from ganjax.runtime import storage


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
