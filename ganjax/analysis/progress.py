"""The course of one run: its metrics against steps and epochs, and its grids of samples."""

import math
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ganjax.analysis.comparison import read_rows, samples
from ganjax.analysis.learning_curves import DERIVED
from ganjax.analysis.views import View
from ganjax.errors import UserError
from ganjax.metrics.table import sign
from ganjax.pictures import curves, images
from ganjax.runtime import regular
from ganjax.training import checkpoint, ensemble, workdir
from ganjax.training.report import RAW
from ganjax.training.window import SEED

# The most panels side by side, and a panel's width and height in inches.
COLUMNS, WIDTH, HEIGHT = 4, 4.2, 2.9
# The grids in a picture of the evolution, unless a number is given.
GRIDS = 8
# Curves of so few points show each of them.
FEW = 20
# The least width, in pixels, at which a grid is shown.
GRID_SIDE = 240
# How long a grid is shown in a film, and how many times as long the last one.
MILLISECONDS, LAST = 200, 8
# Panels of several metrics, by how the metrics' names end.
SHARED = {"_loss": "losses", "_acc": "accuracies", "_grad_norm": "gradient norms"}
# How metrics are named that are shown beside others: of held-out images, and of reals as samples.
HELD_OUT, FLOOR, OF_SEED = "val_", "_floor", rf"{SEED}\d+$"
# What a line of metrics says besides metrics of training.
NO_METRICS = {"step", "epoch", "images_per_second", "image_size"}

Points = list[tuple[int, float]]


class _Panel(NamedTuple):
    """One panel of a figure.

    Attributes:
      title: what stands above it.
      metrics: the names of the metrics that it shows.
    """

    title: str
    metrics: list[str]


def draw(
    folder: Path,
    metrics: Sequence[str] = (),
    num: int = 36,
    seed: int = 0,
    which: str | None = None,
    trust: bool = False,
):
    """Draws the metrics of one run against steps and epochs, above samples of the run.

    Losses share a panel, and so do accuracies and gradient norms; every other metric has one of its
    own. Metrics of held-out images are dashed lines beside those of training images, and the floor
    of a figure is dotted. A band is a standard deviation to either side, where one was measured.
    The steps at which a field changed are dashed lines, and the changes stand above.

    Args:
      folder: the folder of the run.
      metrics: names in metrics.jsonl or in `ganjax.analysis.learning_curves.DERIVED`, each for a
        panel; by default all that the run has.
      num: the number of samples; 0 leaves them out.
      seed: the seed of their latents.
      which: the checkpoint: "best", "last" or a step; by default the best and the last.
      trust: whether the run may name code that is not ganjax's (`ganjax.training.trust`).

    Returns:
      A matplotlib Figure, and a line for each field that changed while the run was trained, and for
      each figure of the samples: the last and the best value.

    Raises:
      UserError: the folder holds no run, or the run has no metrics, no such metric or no such
        checkpoint; or matplotlib is not installed.
    """
    config, module = workdir.read(folder, trust)
    rows = read_rows(folder)
    panels = _panels(metrics, rows, folder)
    grids = samples(folder, num, seed, which, trust) if num and checkpoint.exist(folder) else []
    columns = min(len(panels), COLUMNS)
    lines = math.ceil(len(panels) / columns)
    heights = [HEIGHT * lines + 0.3, *[3.4][: bool(grids)]]
    plot = curves.figure(max(WIDTH * columns, 5.0), sum(heights))
    parts = plot.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    every = list(parts[0].subplots(lines, columns, squeeze=False).flat)
    starts = [phase.start for phase in module.build(config).phases[1:]]
    changes = workdir.read_history(folder).changes
    epochs = _epochs(rows)
    for axes, panel in zip(every, panels, strict=False):
        _draw_panel(axes, panel, rows)
        for start in starts:
            axes.axvline(start, color="0.7", linewidth=0.8)
        for step in {change.step for change in changes}:
            axes.axvline(step, color="C3", linewidth=0.8, linestyle="--")
        if epochs is not None:
            axes.secondary_xaxis("top", functions=epochs).set_xlabel("epochs", fontsize="small")
    if changes:
        parts[0].suptitle("\n".join(map(str, changes)), fontsize="small", color="C3")
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    if grids:
        for axes, grid in zip(
            parts[1].subplots(1, len(grids), squeeze=False)[0], grids, strict=True
        ):
            curves.show(axes, grid.picture, f"{folder.resolve().name}, {grid.title}")
    shown = [name for panel in panels for name in panel.metrics]
    figures = [_summary(name, rows) for name in shown if sign(name) is not None]
    return plot, [*map(str, changes), *figures]


def evolution(
    folder: Path,
    num: int | None = None,
    *,
    seed_index: int = 0,
    columns: int | None = None,
    trust: bool = False,
    ema: bool = True,
) -> View:
    """Shows how a run's samples changed: the grids that it drew while it was trained.

    The picture has them in rows, with their steps above, and the film one after another. Both
    have the first and the last grid, and those between at about equal distances. Small grids, and
    those of lower resolutions, are enlarged. The view's arrays are "image", the grids, and their
    "step".

    Args:
      folder: the folder of the run, which may still be in training.
      num: the number of grids; by default `GRIDS` in the picture, and all in the film and in the
        arrays.
      seed_index: which of the run's config.num_seeds seeds, from 0.
      columns: the number of grids in a row of the picture; by default as many as make it about
        twice as wide as high.
      trust: as that of `draw`.
      ema: whether the grids are those of the generator's moving average, or of the generator.

    Raises:
      UserError: there is no run, no such seed, or no grid yet.
    """
    config = workdir.read(folder, trust).config
    seed = ensemble.seed_at(config, seed_index)
    where = folder / "samples"
    where = where if config.num_seeds == 1 else where / f"seed_{seed}"
    files = _grids(where, "" if ema else RAW)
    if not files and not ema:
        raise UserError(
            f"--ema=false: {where} has no grids of the generator itself; a run draws them beside "
            "those of its moving average, if it has one"
        )
    if not files:
        raise UserError(f"{where}: no picture is there yet; the first comes with the first steps")
    steps = _spread(sorted(files), num)
    grids = images.enlarge(images.alike([_read(files[step]) for step in steps]), GRID_SIDE)

    def captioned(chosen: Sequence[int]) -> UInt8[np.ndarray, "n h w c"]:
        return images.captioned(grids[chosen], above=[f"step {steps[i]:,}" for i in chosen])

    def picture():
        cells = captioned(_spread(range(len(steps)), num or GRIDS))
        across = min(columns or _across(cells.shape), len(cells))
        limit, pixels = Image.MAX_IMAGE_PIXELS, cells[..., 0].size
        if limit is not None and pixels > limit:
            raise UserError(
                f"--num={len(cells)}: so many grids are more than the {limit} pixels that a "
                "picture may have; set less"
            )
        return images.grid(cells, across, gap=12)

    def frames():
        shown = captioned(range(len(steps)))
        return np.concatenate([shown, shown[-1:].repeat(LAST - 1, axis=0)])

    report = [f"{len(steps)} of {len(files)} grids, from step {steps[0]:,} to step {steps[-1]:,}"]
    arrays = {"image": grids, "step": np.array(steps)}
    return View(arrays, picture, frames, report, MILLISECONDS)


def _across(shape: tuple[int, ...]) -> int:
    """Returns how many grids a row makes a picture about twice as wide as high, in full rows.

    Args:
      shape: the shape of the grids, (N, H, W, C).
    """
    n, height, width, _ = shape
    rows = math.ceil(n / math.ceil(math.sqrt(2 * n * height / width)))
    return math.ceil(n / rows)


def _grids(folder: Path, ending: str) -> dict[int, Path]:
    """Returns the grids in a folder whose names end so after their step, by the step."""
    names = re.compile(rf"step_(\d+){ending}\.png")
    found = ((names.fullmatch(path.name), path) for path in folder.glob("step_*.png"))
    return {int(match[1]): path for match, path in found if match}


def _panels(metrics: Sequence[str], rows: Sequence[dict], folder: Path) -> list[_Panel]:
    """Returns the panels of a figure, those of several metrics first.

    Raises:
      UserError: the run has no such metric.
    """
    measured = sorted({name for row in rows for name in row} - NO_METRICS)
    for metric in metrics:
        if metric not in (*measured, *DERIVED):
            raise UserError(
                f"--metrics={metric}: {folder} has none such; it has {', '.join(measured)}"
            )
    if metrics:
        return [_Panel(metric, [metric]) for metric in metrics]
    panels: dict[str, list[str]] = {title: [] for title in SHARED.values()}
    for name in measured:
        if name.endswith("_std") and name.removesuffix("_std").removesuffix("_seed") in measured:
            continue  # It is the band of the metric itself.
        shared = [title for ending, title in SHARED.items() if name.endswith(ending)]
        panels.setdefault((shared or [_owner(name, measured)])[0], []).append(name)
    return [_Panel(title, names) for title, names in panels.items() if names]


def _draw_panel(axes: Any, panel: _Panel, rows: Sequence[dict]) -> None:
    """Draws the metrics of a panel, with their deviations."""
    owners = {name: _owner(name, panel.metrics) for name in panel.metrics}
    colours = {owner: f"C{i}" for i, owner in enumerate(sorted(set(owners.values())))}
    for name in sorted(panel.metrics, key=lambda name: (owners[name], name != owners[name])):
        steps, values = np.array(_points(name, rows), float).reshape(-1, 2).T
        colour = colours[owners[name]]
        dotted = name.endswith(FLOOR) or SEED in name
        style = "-" if owners[name] == name else ":" if dotted else "--"
        marker = "." if len(steps) <= FEW else ""
        axes.plot(steps, values, style, label=name, color=colour, linewidth=1.4, marker=marker)
        for deviation in (f"{name}_std", f"{name}_seed_std"):
            both = [(row["step"], row[name], row[deviation]) for row in rows if deviation in row]
            if both:
                steps, values, widths = np.array(both, float).T
                axes.fill_between(steps, values - widths, values + widths, color=colour, alpha=0.2)
    axes.set_title(panel.title)
    axes.set_xlabel("steps", fontsize="small")
    axes.set_xlim(0, max(row["step"] for row in rows))
    axes.grid(alpha=0.3)
    if len(panel.metrics) > 1:
        axes.legend(fontsize="small", framealpha=0.5)


def _owner(name: str, others: Collection[str]) -> str:
    """Returns the metric beside which its floor, that of held-out images or of a seed is shown."""
    owner = re.sub(OF_SEED, "", name).removeprefix(HELD_OUT).removesuffix(FLOOR)
    return owner if owner in others else name


def _points(metric: str, rows: Sequence[dict]) -> Points:
    """Returns the values of a metric with the steps at which they were measured."""
    if metric in DERIVED:
        return DERIVED[metric](rows)
    return [(row["step"], row[metric]) for row in rows if metric in row]


def _epochs(rows: Sequence[dict]) -> tuple[Callable, Callable] | None:
    """Returns the functions from steps to epochs and back; None if the rows have no epochs."""
    known = sorted({(row["step"], row["epoch"]) for row in rows if row.get("epoch")})
    if not known:
        return None
    steps, epochs = np.array([(0, 0), *known], float).T

    def between(x, xs, ys):
        """Interpolates between points, and extends the last piece beyond them."""
        slopes = np.diff(ys) / np.diff(xs)
        piece = np.clip(np.searchsorted(xs, x, "right") - 1, 0, len(slopes) - 1)
        return ys[piece] + (np.asarray(x) - xs[piece]) * slopes[piece]

    return lambda step: between(step, steps, epochs), lambda epoch: between(epoch, epochs, steps)


def _summary(figure: str, rows: Sequence[dict]) -> str:
    """Describes the last and the best value of a figure."""
    points = _points(figure, rows)
    direction = sign(figure)
    assert direction is not None
    step, value = points[-1]
    best_step, best = max(points, key=lambda point: (direction * point[1], -point[0]))
    return f"{figure}: {value:.5g} at step {step:,}, best {best:.5g} at step {best_step:,}"


def _spread(items: Sequence[int], most: int | None) -> list[int]:
    """Returns at most so many items, the last and (of several) the first among them."""
    if most is None or most >= len(items):
        return list(items)
    return [items[round(i)] for i in np.linspace(len(items) - 1, 0, most)][::-1]


def _read(file: Path) -> UInt8[np.ndarray, "h w c"]:
    """Reads a grid that the run has drawn."""
    with regular.open_bytes(file) as content, Image.open(content) as image:
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]
