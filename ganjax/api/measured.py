"""The metrics of a run as curves."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganjax.training.writer import METRICS, read_metrics


class Curve(NamedTuple):
    """A metric of a run: `plt.plot(*run.metrics()["d_loss"])`.

    Attributes:
      step: int64 (N,), the steps at which it was measured.
      value: float64 (N,), the measurements.
    """

    step: np.ndarray
    value: np.ndarray


def curves(folder: Path) -> dict[str, Curve]:
    """Reads what was measured while the run in a folder was trained."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in read_metrics(folder / METRICS):
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                points.setdefault(name, []).append((row["step"], value))
    return {
        name: Curve(np.array([step for step, _ in each]), np.array([y for _, y in each], float))
        for name, each in points.items()
    }
