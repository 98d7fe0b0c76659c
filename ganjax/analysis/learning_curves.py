"""Learning curves: the metrics of a run against the images that it has seen."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ganjax.engine.algorithm import Algorithm
from ganjax.pictures.curves import Curve
from ganjax.training import schema, workdir

# The algorithm of each stretch of a run in which its fields were the same, with the step after
# which the stretch began.
Stretches = Sequence[tuple[int, Algorithm]]


def images_seen(run: Algorithm | Stretches, step: int) -> int:
    """Returns the number of real images that D is trained on in the first `step` train steps.

    Args:
      run: the run's algorithm, or those of its stretches.
      step: the number of steps.
    """
    stretches = [(0, run)] if isinstance(run, Algorithm) else run
    stops = [*(start for start, _ in stretches[1:]), step]
    return sum(
        _seen_until(algorithm, min(stop, step)) - _seen_until(algorithm, min(start, step))
        for (start, algorithm), stop in zip(stretches, stops, strict=True)
    )


def _seen_until(algorithm: Algorithm, step: int) -> int:
    steps = [max(0, min(step, phase.stop) - phase.start) for phase in algorithm.phases]
    sizes = [phase.batch_size for phase in algorithm.phases]
    return algorithm.n_critic * sum(n * size for n, size in zip(steps, sizes, strict=True))


def stretches(folder: Path, trust: bool = False) -> list[tuple[int, Algorithm]]:
    """Returns the algorithms of the stretches of a run, for `images_seen`.

    Args:
      folder: the folder of the run.
      trust: whether the run may name code that is not ganjax's (`ganjax.training.trust`).

    Raises:
      ConfigError: the folder holds no run, or one that is not trusted.
    """
    fields = workdir.read_fields(folder, trust)
    loaded = [
        (start, schema.load(each)) for start, each in workdir.read_history(folder).stretches(fields)
    ]
    return [(start, module.build(config)) for start, (config, module) in loaded]


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


def learning_curve(rows: Sequence[dict], metric: str, run: Algorithm | Stretches) -> Curve:
    """Returns a metric of a run as a curve, which is empty if the metric was not measured.

    Args:
      rows: the rows of the run's metrics.jsonl.
      metric: a name in these rows, or in `DERIVED`.
      run: the run's algorithm, or those of its stretches.
    """
    if metric in DERIVED:
        points = DERIVED[metric](rows)
    else:
        points = [(row["step"], row[metric]) for row in rows if metric in row]
    images = [images_seen(run, step) for step, _ in points]
    return Curve(np.array(images, np.int64), np.array([value for _, value in points], float))
