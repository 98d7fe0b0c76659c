"""Plots of the curves of a sweep and of the samples of its cells."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.tools import design
from experiments.tools.design import Cell, Sweep
from experiments.tools.results import Result
from ganjax.analysis.comparison import best_and_last
from ganjax.pictures import curves, images
from ganjax.training.checkpoint import exist

# The most lines that can be distinguished in one panel.
MOST_LINES = 8
SAMPLES = 25
GREY = "0.6"


def panels(sweep: Sweep) -> dict[str, list[tuple[str, Cell, str | None]]]:
    """Divides the cells of a sweep among the panels of a figure.

    A sweep with two axes or more has a panel for each level of the first axis. One with a single
    axis has one panel or, if that axis has more than `MOST_LINES` levels, a panel for each level
    beside the baseline.

    Returns:
      The lines of each panel by its title: the label, the cell, and the colour, or None for the
      next colour.
    """
    axes = list(sweep.cells[0].levels)
    if len(axes) > 1:
        found = {}
        for cell in sweep.cells:
            first, *rest = cell.levels.items()
            label = ", ".join(level for _, level in rest)
            found.setdefault(f"{first[0]} {first[1]}", []).append((label, cell, None))
        return found
    if len(sweep.cells) <= MOST_LINES:
        return {axes[0]: [(cell.levels[axes[0]], cell, None) for cell in sweep.cells]}
    found = {}
    for cell in sweep.cells:
        baseline = design.baseline_of(sweep, cell)
        if baseline is not None:
            level = cell.levels[axes[0]]
            found[level] = [
                (baseline.levels[axes[0]], baseline, GREY),
                (level, cell, "tab:blue"),
            ]
    return found


def draw_curves(sweep: Sweep, results: Sequence[Result], metric: str):
    """Draws a metric of all cells against images seen.

    Args:
      sweep: the sweep.
      results: the results of its runs.
      metric: the name of one of their curves.

    Returns:
      A matplotlib Figure, or None while no run has the metric.
    """
    by_cell = {}
    for each in results:
        if len(each.curves[metric].images):
            by_cell.setdefault(each.run.cell.label, []).append(each.curves[metric])
    if not by_cell:
        return None
    from matplotlib.ticker import EngFormatter, MaxNLocator

    drawn = panels(sweep)
    columns = min(len(drawn), 5)
    rows = math.ceil(len(drawn) / columns)
    plot = curves.figure(max(6.0, 3.2 * columns), 0.8 + (3.6 if len(drawn) == 1 else 2.6) * rows)
    grid = plot.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (title, lines) in zip(grid.flat, drawn.items(), strict=False):
        for i, (label, cell, colour) in enumerate(lines):
            own = by_cell.get(cell.label, [])
            curves.draw(axes, own, label=label, color=colour or f"C{i}")
        axes.set_title(curves.written(title), fontsize="medium")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    for axes in list(grid.flat)[len(drawn) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("images seen")
        # Thousands are written as k, so that narrow panels have room for them.
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axes in grid[:, 0]:
        axes.set_ylabel(metric)
    return plot


class Samples(NamedTuple):
    """Samples of a run at one of its checkpoints.

    Attributes:
      name: what the checkpoint is: "best", "last" or "best and last".
      step: the step of the checkpoint.
      path: the picture of the samples.
    """

    name: str
    step: int
    path: Path


def sample(result: Result, folder: Path) -> list[Samples]:
    """Draws samples of a seed at its run's best and last checkpoint, from the same latents in all.

    A picture that exists already is not drawn again.

    Args:
      result: the result of the seed.
      folder: the folder of the pictures.

    Returns:
      The samples, none while there is no checkpoint.
    """
    if not exist(result.run.folder):
        return []
    config = result.run.checked
    trust = (config.algorithm, config.data.source)  # The sweep's file has named them.
    drawn = []
    seeds = result.run.seeds
    of_seed = f"_seed_{result.seed}" if len(seeds) > 1 else ""
    index = seeds.index(result.seed)
    for name, run in best_and_last(result.run.folder, trust, index).items():
        path = folder / f"{result.run.hash}{of_seed}_step_{run.step}.png"
        if not path.exists():
            made = run.generate(*run.inputs(SAMPLES, seed=0))
            columns = images.columns(SAMPLES, run.algorithm.num_classes)
            images.save_png(path, images.grid(made, columns))
        drawn.append(Samples(name, run.step, path))
    return drawn


def size(path: Path) -> tuple[int, int]:
    """Returns the width and height of a picture in pixels."""
    with Image.open(path) as picture:
        return picture.size


def sheet(paths: Sequence[Path], labels: Sequence[str]) -> np.ndarray:
    """Returns pictures in a grid with a label above each, uint8 (H, W, 3)."""
    opened = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    height = max(each.shape[0] for each in opened)
    width = max(each.shape[1] for each in opened)
    cells = np.zeros((len(opened), height, width, 3), np.uint8)
    for cell, each in zip(cells, opened, strict=True):
        cell[: each.shape[0], : each.shape[1]] = each
    return images.grid(images.captioned(cells, above=labels), min(5, len(cells)), gap=6)
