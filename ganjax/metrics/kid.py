"""Kernel Inception Distance (Binkowski et al. 2018, arXiv:1801.01401), of any network's features.

The squared maximum mean discrepancy of two sets of features under the kernel
k(x, y) = (x.y / d + 1)^3. The estimate is unbiased: two sets of one distribution give 0 on
average, and a single estimate may be negative. All is computed in float64.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ganjax.metrics.metric import Figure, Metric, Taken

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 0
BATCH = 128


class KernelDistance(Metric):
    """The mean of the estimates over random subsets, and their standard deviation."""

    name = "kid"
    figures = (Figure("kid", better="less"), Figure("kid_std"))
    unbiased = True
    training_floor = "kid"

    def measure(
        self, reference: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"]
    ) -> dict[str, float]:
        """Returns `kid`, and `kid_std` if there are several subsets."""
        mean, deviation = kernel_distance(reference, fake, seed=SEED)
        several = choose_subsets(len(reference), len(fake)).subsets > 1
        return {"kid": mean} | ({"kid_std": deviation} if several else {})

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns the kernel, the number and size of the subsets, and their seed."""
        subsets = choose_subsets(taken.reference, taken.fake)
        return {"kernel": "(x.y/d + 1)^3", **subsets._asdict(), "seed": SEED}


class KernelDistanceOfBatches(Metric):
    """The mean of the estimates over batches in order."""

    name = "kid_batch"
    figures = (Figure("kid_batch", better="less"),)
    unbiased = True

    def measure(
        self, reference: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"]
    ) -> dict[str, float]:
        """Returns `kid_batch`."""
        return {"kid_batch": kernel_distance_of_batches(reference, fake, BATCH)}

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns the size of a batch."""
        return {"batch": min(BATCH, taken.reference, taken.fake)}


class Subsets(NamedTuple):
    """Which subsets of two sets are compared.

    Attributes:
      subsets: the number of subsets.
      subset_size: the number of features in a subset of either set.
    """

    subsets: int
    subset_size: int


def choose_subsets(
    reals: int, fakes: int, subsets: int = SUBSETS, size: int = SUBSET_SIZE
) -> Subsets:
    """Returns the subsets of so many features; a single one where it would be all of both sets."""
    size = min(size, reals, fakes)
    return Subsets(1 if size == max(reals, fakes) else subsets, size)


def kernel_distance(
    real: Float[np.ndarray, "m d"],
    fake: Float[np.ndarray, "n d"],
    *,
    subsets: int = SUBSETS,
    size: int = SUBSET_SIZE,
    seed: int = SEED,
) -> tuple[float, float]:
    """Estimates the Kernel Inception Distance over random subsets.

    Where `size` takes all of both sets there is a single subset, and its deviation is 0.

    Args:
      real: features of real images.
      fake: features of generated images.
      subsets: the number of subsets, each without a feature twice, drawn as torch-fidelity does.
      size: features in a subset; min(size, m, n) of each set are taken.
      seed: seed of the subsets.

    Returns:
      The mean and the standard deviation of the estimates.

    Raises:
      ValueError: a set has fewer than two features.
    """
    _check(real, fake)
    counts = len(real), len(fake)
    subsets, size = choose_subsets(*counts, subsets, size)
    if size == max(counts):
        return float(_mmd2(real, fake, *(np.ones((1, n)) for n in counts))[0]), 0.0
    random = np.random.RandomState(seed)
    indices = [[random.choice(n, size, replace=False) for n in counts] for _ in range(subsets)]
    values = _of_subsets(real, fake, indices)
    return float(np.mean(values)), float(np.std(values))


def kernel_distance_of_batches(
    real: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"], batch: int = BATCH
) -> float:
    """Estimates the Kernel Inception Distance batch by batch, as metrics within a loop do.

    The mean of the estimates is unbiased too, but varies more than one estimate of all features.
    A last batch of fewer than `batch` features is left out.

    Args:
      real: features of real images.
      fake: features of generated images.
      batch: features of each set that are compared at a time; min(batch, m, n) are.

    Raises:
      ValueError: a set has fewer than two features.
    """
    _check(real, fake)
    batch = min(batch, len(real), len(fake))
    starts = range(0, min(len(real), len(fake)) - batch + 1, batch)
    ones = np.ones((1, batch))
    pairs = [(real[i : i + batch], fake[i : i + batch]) for i in starts]
    return float(np.mean([_mmd2(*pair, ones, ones)[0] for pair in pairs]))


def _of_subsets(real, fake, subsets):
    """Returns the estimate of each subset, given the subsets' indices in either set: (S,)."""
    size, (m, n) = len(subsets[0][0]), (len(real), len(fake))
    # The kernels of all pairs are computed once, where that is less than those of each subset.
    if m * m + n * n + m * n <= 3 * size * size * len(subsets):
        chosen = [np.zeros((len(subsets), count)) for count in (m, n)]
        for i, indices in enumerate(subsets):
            for member, index in zip(chosen, indices, strict=True):
                member[i, index] = 1
        return _mmd2(real, fake, *chosen)
    ones = np.ones((1, size))
    return np.concatenate([_mmd2(real[a], fake[b], ones, ones) for a, b in subsets])


def _mmd2(real, fake, in_real, in_fake) -> np.ndarray:
    """Returns the estimate, equation 4, of each of S subsets: (S,).

    `in_real` (S, M) and `in_fake` (S, N) mark a subset's features with 1.
    """
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    m, n = in_real.sum(1), in_fake.sum(1)
    within = [
        (_sums(x, x, members, members) - members @ _kernel(np.sum(x * x, axis=1), x.shape[1]))
        / (count * (count - 1))
        for x, members, count in ((real, in_real, m), (fake, in_fake, n))
    ]
    return within[0] + within[1] - 2 * _sums(real, fake, in_real, in_fake) / (m * n)


def _sums(x, y, in_x, in_y, rows: int = 2048) -> np.ndarray:
    """Sums the kernel over each subset's pairs, a few rows of x at a time: (S,)."""
    total = np.zeros(len(in_x))
    for i in range(0, len(x), rows):
        kernel = _kernel(x[i : i + rows] @ y.T, x.shape[1])
        total += np.einsum("sn,sn->s", in_x[:, i : i + rows] @ kernel, in_y)
    return total


def _kernel(products, dimension: int):
    # Not **3, which is a power of floats and slower (docs/metrics.md).
    base = products / dimension + 1
    return base * base * base


def _check(real, fake) -> None:
    shapes = real.shape, fake.shape
    if any(len(s) != 2 or s[0] < 2 for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"kid: features {shapes[0]} and {shapes[1]}: need two or more of each")
