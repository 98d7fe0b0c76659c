"""Metrics of runs against images seen, and as plots (pip install 'ganjax[experiments]')."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganjax.engine.algorithm import Algorithm
from ganjax.errors import UserError


class Curve(NamedTuple):
    """A metric of a run.

    Attributes:
      images: (N,), the reals that D was trained on until then.
      values: (N,).
    """

    images: np.ndarray
    values: np.ndarray


def images_seen(algorithm: Algorithm, step: int) -> int:
    """The reals that D is trained on in the first `step` train steps."""
    steps = [max(0, min(step, phase.stop) - phase.start) for phase in algorithm.phases]
    sizes = [phase.batch_size for phase in algorithm.phases]
    return algorithm.n_critic * sum(n * size for n, size in zip(steps, sizes, strict=True))


def _d_real_gap(rows: Sequence[dict]) -> list[tuple[int, float]]:
    """D's accuracy on training images less that on held-out ones: it grows as D overfits.

    Of the batches since the evaluation before: one batch says little. (Karras et al. 2020,
    arXiv:2006.06676, figure 1, show D's outputs on both sets.)
    """
    found, since = [], []
    for row in rows:
        if "d_real_acc" in row:
            since.append(row["d_real_acc"])
        if "val_d_real_acc" in row and since:
            found.append((row["step"], float(np.mean(since)) - row["val_d_real_acc"]))
            since = []
    return found


# What is no line of metrics.jsonl, by its name: rows -> [(step, value)].
DERIVED: dict[str, Callable[[Sequence[dict]], list[tuple[int, float]]]] = {
    "d_real_gap": _d_real_gap,
}


def curve(rows: Sequence[dict], metric: str, algorithm: Algorithm) -> Curve:
    """A metric of a run; empty where it was not measured.

    Args:
      rows: of its metrics.jsonl.
      metric: a name there, or of `DERIVED`.
      algorithm: the run's.
    """
    if metric in DERIVED:
        points = DERIVED[metric](rows)
    else:
        points = [(row["step"], row[metric]) for row in rows if metric in row]
    images = [images_seen(algorithm, step) for step, _ in points]
    return Curve(np.array(images, np.int64), np.array([value for _, value in points], float))


def figure(width: float, height: float):
    """A matplotlib Figure of inches, drawn without a screen.

    Raises:
      UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("plots need matplotlib: pip install 'ganjax[experiments]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def draw(axes, curves: Sequence[Curve], *, label: str, **style) -> None:
    """Draws the runs of one setting: each thin and, over all images that all have seen, the mean.

    Args:
      axes: matplotlib's.
      curves: a run each.
      label: of the mean, for the legend.
      style: matplotlib's, such as color.
    """
    curves = [each for each in curves if len(each.images)]
    if len(curves) == 1:
        axes.plot(*curves[0], label=label, linewidth=1.6, **style)
    elif curves:
        for each in curves:
            axes.plot(*each, alpha=0.3, linewidth=0.8, **style)
        common = sorted(set.intersection(*(set(each.images.tolist()) for each in curves)))
        values = [each.values[np.isin(each.images, common)] for each in curves]
        axes.plot(common, np.mean(values, axis=0), label=label, linewidth=1.6, **style)


def save(path: Path, plot) -> None:
    """Writes a matplotlib Figure, whole or not at all, in the format that its name ends in."""
    temporary = path.with_name(f".{path.name}.tmp")
    # Without a date, equal plots are equal files.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    plot.savefig(temporary, format=path.suffix[1:], dpi=120, metadata=metadata)
    temporary.replace(path)
