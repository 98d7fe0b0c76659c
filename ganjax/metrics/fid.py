"""Frechet distance of Gaussians fitted to features: FID (Heusel et al. 2017, arXiv:1706.08500).

The distance, equation 6, is |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), computed in float64. It is
biased: fewer samples give a larger distance, so that distances of different numbers of samples
cannot be compared.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from ganjax.engine.meanings import Meaning
from ganjax.metrics.metric import Figure, Metric

CHUNK = 4096


class Moments(NamedTuple):
    """The first two moments of a set of feature vectors.

    Attributes:
      count: the number of vectors, N.
      mean: the mean of the vectors.
      scatter: the sum of (x - mean) (x - mean)^T over the vectors x.
    """

    count: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]

    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """Returns the unbiased covariance: the scatter divided by N - 1."""
        return self.scatter / (self.count - 1)


class FrechetDistance(Metric):
    """FID, the Frechet distance between the features of generated and of real images."""

    name = "fid"
    figures = (
        Figure(
            "fid",
            Meaning(
                "the Fréchet distance between Gaussians that are fitted to the features of samples "
                "and of real images",
                least=0,
                reading="fewer images give more: compare figures of equal numbers, and with the "
                "floor of real images; on small sets read kid",
            ),
            better="less",
        ),
    )

    def prepare(self, reference: Float[np.ndarray, "n d"]) -> Moments:
        """Computes the moments of the real images' features."""
        return moments_of(reference)

    def measure(self, reference: Moments, fake: Float[np.ndarray, "n d"]) -> dict[str, float]:
        """Returns `fid`, which is 0 or more."""
        return {"fid": frechet_distance(reference, moments_of(fake))}


def moments(batches: Iterable[Float[np.ndarray, "_ d"]]) -> Moments:
    """Computes the moments of feature vectors that come in batches, each of which is read once.

    The sizes of the batches make no difference. The pairwise update of Chan et al. 1983 (The
    American Statistician 37(3)) loses no digits where means are large.

    Args:
      batches: arrays of feature vectors.

    Raises:
      ValueError: there are fewer than two vectors in all.
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
    """Computes the moments of an array of features, converted to float64 a chunk at a time."""
    return moments(features[i : i + CHUNK] for i in range(0, len(features), CHUNK))


def frechet_distance(one: Moments, other: Moments) -> float:
    """Computes the squared Frechet distance of two Gaussians, which FID is.

    The trace of (C1 C2)^(1/2) is the sum of the square roots of the eigenvalues of the symmetric
    C1^(1/2) C2 C1^(1/2), which are negative only by rounding. This avoids the matrix square root
    of a product, which fails if there are fewer samples than dimensions.

    Args:
      one: the moments of one set of features.
      other: the moments of the other set.
    """
    difference = one.mean - other.mean
    c1, c2 = one.covariance(), other.covariance()
    values, vectors = np.linalg.eigh(c1)
    # Eigenvalues that are zero but for rounding would have roots far from zero.
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
