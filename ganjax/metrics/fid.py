"""Frechet distance of Gaussians fitted to features: FID (Heusel et al. 2017, arXiv:1706.08500).

|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), in float64. It is biased: fewer samples give a larger
distance, so distances of different numbers of samples do not compare.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from ganjax.metrics.metric import Figure, Metric

CHUNK = 4096


class Moments(NamedTuple):
    """The moments of a set of features.

    Attributes:
      count: the number of features, N.
      mean: their mean.
      scatter: the sum of (x - mean) (x - mean)^T.
    """

    count: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]

    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """Returns the unbiased covariance, by N - 1."""
        return self.scatter / (self.count - 1)


class FrechetDistance(Metric):
    """The Frechet distance to the features of real images."""

    name = "fid"
    figures = (Figure("fid", better="less"),)

    def prepare(self, reference: Float[np.ndarray, "n d"]) -> Moments:
        """Computes the moments of the real images' features."""
        return moments_of(reference)

    def measure(self, reference: Moments, fake: Float[np.ndarray, "n d"]) -> dict[str, float]:
        """Returns `fid`."""
        return {"fid": frechet_distance(reference, moments_of(fake))}


def moments(batches: Iterable[Float[np.ndarray, "_ d"]]) -> Moments:
    """Computes moments of batches of features, each seen once.

    The batches' sizes make no difference. Chan et al. 1983 (The American Statistician 37(3)),
    which loses no digits to the means.

    Raises:
      ValueError: there are fewer than two features in all.
    """
    total = None
    for batch in batches:
        batch = np.asarray(batch, np.float64)
        mean = batch.mean(axis=0)
        centred = batch - mean
        new = Moments(len(batch), mean, centred.T @ centred)
        total = new if total is None else _joined(total, new)
    if total is None or total.count < 2:
        raise ValueError("fid: need two or more features")
    return total


def moments_of(features: Float[np.ndarray, "n d"]) -> Moments:
    """Computes the moments of an array, which is converted to float64 a chunk at a time."""
    return moments(features[i : i + CHUNK] for i in range(0, len(features), CHUNK))


def frechet_distance(one: Moments, other: Moments) -> float:
    """Computes the squared Frechet distance of two Gaussians, which is what FID is.

    The trace of (C1 C2)^(1/2) is the sum of the roots of the eigenvalues of the symmetric
    C1^(1/2) C2 C1^(1/2), none of which is negative but by rounding: no matrix root of a product
    is needed, which fails where there are fewer samples than dimensions.

    Args:
      one: the moments of one set of features.
      other: the moments of the other set.
    """
    difference = one.mean - other.mean
    c1, c2 = one.covariance(), other.covariance()
    values, vectors = np.linalg.eigh(c1)
    # Eigenvalues that are zero but for rounding have roots that are not.
    values[values < len(values) * np.finfo(np.float64).eps * values[-1]] = 0
    root = vectors * np.sqrt(values)
    inner = np.linalg.eigvalsh(root.T @ c2 @ root)
    trace = np.sum(np.sqrt(np.maximum(inner, 0)))
    return float(difference @ difference + np.trace(c1) + np.trace(c2) - 2 * trace)


def _joined(a: Moments, b: Moments) -> Moments:
    """Returns the moments of the union of two sets."""
    count = a.count + b.count
    shift = b.mean - a.mean
    mean = a.mean + shift * (b.count / count)
    scatter = a.scatter + b.scatter + np.outer(shift, shift) * (a.count * b.count / count)
    return Moments(count, mean, scatter)
