"""Kernel Inception Distance (Binkowski et al. 2018, arXiv:1801.01401), of any network's features.

The squared maximum mean discrepancy of two sets of features under the kernel
k(x, y) = (x.y / d + 1)^3, unbiased: what has the same distribution has the mean 0, and a
single figure may be negative. All in float64.
"""

from typing import NamedTuple

import numpy as np

SUBSETS = 100
SUBSET_SIZE = 1000


class Drawn(NamedTuple):
    """Which subsets are compared: how many, and of how many features of each set."""

    subsets: int
    subset_size: int


def drawn(reals: int, fakes: int, subsets: int = SUBSETS, size: int = SUBSET_SIZE) -> Drawn:
    """The subsets that `kid` takes of so many; one only where it would be all of both sets."""
    size = min(size, reals, fakes)
    return Drawn(1 if size == max(reals, fakes) else subsets, size)


def kid(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    subsets: int = SUBSETS,
    size: int = SUBSET_SIZE,
    seed: int = 0,
) -> tuple[float, float]:
    """The mean and standard deviation of the estimate over random subsets.

    Where `size` takes all of both sets there is one subset only, and its deviation is 0.

    Args:
      real: float (M, D) features.
      fake: float (N, D) features.
      subsets: how many, each without an element twice, drawn as torch-fidelity does.
      size: elements of a subset; min(size, M, N) of each set are taken.
      seed: of the subsets.

    Returns:
      (mean, standard deviation).

    Raises:
      ValueError: a set has fewer than two features, or the two have other dimensions.
    """
    _check(real, fake)
    counts = len(real), len(fake)
    subsets, size = drawn(*counts, subsets, size)
    if size == max(counts):
        return float(_mmd2(real, fake, *(np.ones((1, n)) for n in counts))[0]), 0.0
    random = np.random.RandomState(seed)
    indices = [[random.choice(n, size, replace=False) for n in counts] for _ in range(subsets)]
    values = _of_subsets(real, fake, indices)
    return float(np.mean(values)), float(np.std(values))


def kid_of_batches(real: np.ndarray, fake: np.ndarray, batch: int = 128) -> float:
    """The mean of the estimates of batch against batch, as a metric within a training loop is.

    Unbiased too, but of a larger variance than one of all features. The last batch of fewer
    than `batch` is left out.

    Args:
      real: float (M, D) features.
      fake: float (N, D) features.
      batch: features of each set that are compared at a time; min(batch, M, N) are.
    """
    _check(real, fake)
    batch = min(batch, len(real), len(fake))
    starts = range(0, min(len(real), len(fake)) - batch + 1, batch)
    ones = np.ones((1, batch))
    pieces = [(real[i : i + batch], fake[i : i + batch]) for i in starts]
    return float(np.mean([_mmd2(*piece, ones, ones)[0] for piece in pieces]))


def _of_subsets(real, fake, drawn):
    size, (m, n) = len(drawn[0][0]), (len(real), len(fake))
    # Kernels of all pairs once, where that is less than those of each subset.
    if m * m + n * n + m * n <= 3 * size * size * len(drawn):
        chosen = [np.zeros((len(drawn), count)) for count in (m, n)]
        for i, indices in enumerate(drawn):
            for member, index in zip(chosen, indices, strict=True):
                member[i, index] = 1
        return _mmd2(real, fake, *chosen)
    ones = np.ones((1, size))
    return np.concatenate([_mmd2(real[a], fake[b], ones, ones) for a, b in drawn])


def _mmd2(real, fake, in_real, in_fake) -> np.ndarray:
    """(S,) of the subsets whose members are marked with 1: (S, M), (S, N); equation 4."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    m, n = in_real.sum(1), in_fake.sum(1)
    within = [
        (_sums(x, x, members, members) - members @ _kernel(np.sum(x * x, axis=1), x.shape[1]))
        / (count * (count - 1))
        for x, members, count in ((real, in_real, m), (fake, in_fake, n))
    ]
    return within[0] + within[1] - 2 * _sums(real, fake, in_real, in_fake) / (m * n)


def _sums(x, y, in_x, in_y, rows: int = 2048) -> np.ndarray:
    """(S,) sums of the kernel over each subset's pairs, a few rows of x at a time."""
    total = np.zeros(len(in_x))
    for i in range(0, len(x), rows):
        kernel = _kernel(x[i : i + rows] @ y.T, x.shape[1])
        total += np.einsum("sn,sn->s", in_x[:, i : i + rows] @ kernel, in_y)
    return total


def _kernel(products, dimension: int):
    # Not **3, which is a power of floats and ten times as slow.
    base = products / dimension + 1
    return base * base * base


def _check(real, fake) -> None:
    shapes = real.shape, fake.shape
    if any(len(s) != 2 or s[0] < 2 for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"kid: features {shapes[0]} and {shapes[1]}: need two or more of each")
