"""Euclidean distances of all pairs of two sets of features, a few rows at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# float64 distances held at once (64 MiB), and as many sums.
CHUNK = 1 << 23


class Nearest(NamedTuple):
    """The K nearest of each of N, the nearest first.

    Attributes:
      index: int64 (N, K).
      distance: float64 (N, K), Euclidean.
    """

    index: np.ndarray
    distance: np.ndarray


def distances(
    x: np.ndarray, y: np.ndarray, centre: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields rows of x and their distances to all of y: (slice, float64 (rows, len(y))).

    From |x|^2 - 2 x.y + |y|^2 about a centre. What is below the rounding of these terms, some
    1e-7 of the features' norms, is 0: equal features are 0 apart.

    Args:
      x: float (N, D).
      y: float (M, D).
      centre: float64 (D,) near them, by default the mean of y. Distances that are to be compared
        with one another want the same one, since their rounding depends on it.
    """
    centre = y.mean(axis=0, dtype=np.float64) if centre is None else centre
    rounding = y.shape[1] * np.finfo(np.float64).eps
    y = y.astype(np.float64) - centre
    squares = np.einsum("nd,nd->n", y, y)
    rows = max(1, CHUNK // len(y))
    for first in range(0, len(x), rows):
        part = x[first : first + rows].astype(np.float64) - centre
        norms = squares + np.einsum("nd,nd->n", part, part)[:, None]
        squared = part @ y.T
        squared *= -2
        squared += norms
        squared[squared <= rounding * norms] = 0
        yield slice(first, first + len(part)), np.sqrt(squared, out=squared)


def nearest(x: np.ndarray, y: np.ndarray, k: int) -> Nearest:
    """The k nearest of y to each of x; for k >= 1 and at most len(y)."""
    index = np.empty((len(x), k), np.int64)
    distance = np.empty((len(x), k))
    for rows, apart in distances(x, y):
        found = np.argpartition(apart, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(apart, found, axis=1)
        order = np.argsort(near, axis=1, kind="stable")
        index[rows] = np.take_along_axis(found, order, axis=1)
        distance[rows] = np.take_along_axis(near, order, axis=1)
    return Nearest(index, distance)


def radii(x: np.ndarray, k: int, centre: np.ndarray | None = None) -> np.ndarray:
    """float64 (N,): from each of x to its k-th nearest other; `centre` as in `distances`."""
    found = np.empty(len(x))
    for rows, apart in distances(x, x, centre):
        # Oneself is no neighbour.
        apart[np.arange(len(apart)), np.arange(rows.start, rows.stop)] = np.inf
        found[rows] = np.partition(apart, k - 1, axis=1)[:, k - 1]
    return found
