"""Measurement of images from Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ganjax.analysis import image_sets, measurement
from ganjax.api.runs import keep_programs
from ganjax.errors import naming_arguments


class Figures(dict[str, float]):
    """The figures of a measurement by name, such as "kid_efflite0".

    Attributes:
      floor: the figures of real images in place of the fakes, by the same names; a metric that
        cannot be estimated from fewer images, such as FID, has none without further reals.
      protocol: how the figures were measured, for the record.
    """

    def __init__(self, result: dict[str, Any]):
        """Takes the result of `ganjax.analysis.measurement.measure_sets`."""
        super().__init__(result["figures"])
        self.floor: dict[str, float] = result["floor"]
        self.protocol: dict[str, Any] = result["protocol"]


@naming_arguments
def measure(
    real: np.ndarray | jax.Array | str | Path,
    fake: np.ndarray | jax.Array | str | Path,
    metrics: str | Sequence[str] = ("kid", "fid"),
    *,
    features: str = "efflite0",
    weights: str | Path | None = None,
    split: str = "validation",
    fit: str = "resize",
) -> Figures:
    """Measures generated images against real ones, as `ganjax evaluate --real --fake` does.

    >>> run = ganjax.load("runs/cwgan_gp")
    >>> figures = ganjax.measure(run.reals(64), run.sample(64), metrics="pixel_neighbours")
    >>> sorted(figures)
    ['distinct_neighbours_pixels', 'neighbour_distance_pixels']

    Args:
      real: the real images: an array, uint8 (N, H, W, 1 or 3); the path of an .npz file or of a
        folder of images; or a data source, such as "embedded:mnist5k".
      fake: the generated images: an array, or a path.
      metrics: the names of metrics, which docs/metrics.md explains.
      features: the feature network: "efflite0", "inception", "inception_clean" or
        "keras_inception".
      weights: its weight file, where it is not in the cache.
      split: the images of a data source, "validation" or "train".
      fit: how a data source's images get to the fakes' size, "resize" or "pad".

    Returns:
      The figures, a dict, whose attributes have their floor and their protocol.

    Raises:
      UserError: there is no such metric, or the images cannot be measured by it.
    """
    keep_programs()
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    measurement.check(names, features)
    sets = image_sets.pair(_given(real), _given(fake), names, split=split, fit=fit)
    params = measurement.load_network(names, features, weights)
    return Figures(measurement.measure_sets(sets, names, features, params))


def _given(images: Any) -> np.ndarray | str | Path:
    return images if isinstance(images, str | Path) else np.asarray(images)
