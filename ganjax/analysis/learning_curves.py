"""Learning curves: the metrics of a run against the images that it has seen."""

from collections.abc import Callable, Sequence

import numpy as np

from ganjax.engine.algorithm import Algorithm
from ganjax.pictures.curves import Curve


def images_seen(algorithm: Algorithm, step: int) -> int:
    """Returns the number of real images that D is trained on in the first `step` train steps."""
    steps = [max(0, min(step, phase.stop) - phase.start) for phase in algorithm.phases]
    sizes = [phase.batch_size for phase in algorithm.phases]
    return algorithm.n_critic * sum(n * size for n, size in zip(steps, sizes, strict=True))


def _d_real_gap(rows: Sequence[dict]) -> list[tuple[int, float]]:
    """Returns (step, gap) pairs: D's accuracy on training images less that on held-out images.

    The gap grows as D overfits (Karras et al. 2020, arXiv:2006.06676, figure 1, show D's outputs
    on both sets). The accuracy on training images is the mean since the last evaluation, since a
    single batch says little.
    """
    gaps, accuracies = [], []
    for row in rows:
        if "d_real_acc" in row:
            accuracies.append(row["d_real_acc"])
        if "val_d_real_acc" in row and accuracies:
            gaps.append((row["step"], float(np.mean(accuracies)) - row["val_d_real_acc"]))
            accuracies = []
    return gaps


# Metrics that are computed, as (step, value) pairs, from the rows of metrics.jsonl.
DERIVED: dict[str, Callable[[Sequence[dict]], list[tuple[int, float]]]] = {
    "d_real_gap": _d_real_gap,
}


def learning_curve(rows: Sequence[dict], metric: str, algorithm: Algorithm) -> Curve:
    """Returns a metric of a run as a curve, which is empty if the metric was not measured.

    Args:
      rows: the rows of the run's metrics.jsonl.
      metric: a name in these rows, or in `DERIVED`.
      algorithm: the run's algorithm.
    """
    if metric in DERIVED:
        points = DERIVED[metric](rows)
    else:
        points = [(row["step"], row[metric]) for row in rows if metric in row]
    images = [images_seen(algorithm, step) for step, _ in points]
    return Curve(np.array(images, np.int64), np.array([value for _, value in points], float))
