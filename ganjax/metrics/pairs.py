"""Euclidean distances between all pairs of two sets of features, a few rows at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

# The most distances that are held at once, and as many sums (docs/metrics.md).
CHUNK = 1 << 23


class Nearest(NamedTuple):
    """The k features of one set that are nearest to each of another, the nearest first.

    Attributes:
      index: the indices of these features in their set.
      distance: their Euclidean distances.
    """

    index: Int64[np.ndarray, "n k"]
    distance: Float64[np.ndarray, "n k"]


def distances(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "m d"],
    centre: Float64[np.ndarray, " d"] | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields some rows of x and their distances to all of y: (slice, float64 (rows, m)).

    Distances are computed as |x|^2 - 2 x.y + |y|^2 about a centre. One that is below the rounding
    of these terms, some 1e-7 of the features' norms, is set to 0: equal features are 0 apart.

    Args:
      x: features of one set.
      y: features of the other set.
      centre: a point near the features, by default the mean of y. Distances that are compared
        with one another need the same centre, since their rounding depends on it.
    """
    origin = y.mean(axis=0, dtype=np.float64) if centre is None else centre
    rounding = y.shape[1] * np.finfo(np.float64).eps
    y = y.astype(np.float64) - origin
    squares = np.einsum("nd,nd->n", y, y)
    rows = max(1, CHUNK // len(y))
    for first in range(0, len(x), rows):
        part = x[first : first + rows].astype(np.float64) - origin
        norms = squares + np.einsum("nd,nd->n", part, part)[:, None]
        squared = part @ y.T
        squared *= -2
        squared += norms
        squared[squared <= rounding * norms] = 0
        yield slice(first, first + len(part)), np.sqrt(squared, out=squared)


def nearest(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], k: int) -> Nearest:
    """Finds the k features of y that are nearest to each of x; k is from 1 to m."""
    index = np.empty((len(x), k), np.int64)
    distance = np.empty((len(x), k))
    for rows, apart in distances(x, y):
        found = np.argpartition(apart, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(apart, found, axis=1)
        order = np.argsort(near, axis=1, kind="stable")
        index[rows] = np.take_along_axis(found, order, axis=1)
        distance[rows] = np.take_along_axis(near, order, axis=1)
    return Nearest(index, distance)


def radii(
    x: Float[np.ndarray, "n d"], k: int, centre: Float64[np.ndarray, " d"] | None = None
) -> Float64[np.ndarray, " n"]:
    """Computes the distance from each feature to its k-th nearest other one.

    Args:
      x: the features.
      k: a number from 1 to n - 1.
      centre: the centre that `distances` takes.
    """
    found = np.empty(len(x))
    for rows, apart in distances(x, x, centre):
        # No feature is its own neighbour.
        apart[np.arange(len(apart)), np.arange(rows.start, rows.stop)] = np.inf
        found[rows] = np.partition(apart, k - 1, axis=1)[:, k - 1]
    return found
