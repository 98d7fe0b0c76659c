"""Kernel Inception Distance (Binkowski et al. 2018, arXiv:1801.01401), of any network's features.

KID is the squared maximum mean discrepancy of two sets of features under the kernel
k(x, y) = (x.y / d + 1)^3, section 4. The estimate is unbiased: two sets from one distribution give
0 on average, and a single estimate may be negative. Everything is computed in float64.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ganjax.engine.meanings import Meaning
from ganjax.metrics.metric import Figure, Metric, Taken

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 0
BATCH = 128


class KernelDistance(Metric):
    """KID as usually reported: the mean and deviation of estimates over random subsets."""

    name = "kid"
    figures = (
        Figure(
            "kid",
            Meaning(
                "the squared maximum mean discrepancy of the features of samples and of real "
                "images, by a cubic kernel",
                reading="0 where both have one distribution, and as often below as above, since it "
                "is unbiased; compare with its floor, that of training images",
            ),
            better="less",
        ),
        Figure("kid_std", Meaning("the standard deviation of kid over random subsets", least=0)),
    )
    unbiased = True
    training_floor = "kid"

    def measure(
        self, reference: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"]
    ) -> dict[str, float]:
        """Returns `kid`, the mean, and `kid_std`, the deviation, if there are several subsets."""
        mean, deviation = kernel_distance(reference, fake, seed=SEED)
        several = choose_subsets(len(reference), len(fake)).subsets > 1
        return {"kid": mean} | ({"kid_std": deviation} if several else {})

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns the kernel, the number and size of the subsets, and the seed that draws them."""
        subsets = choose_subsets(taken.reference, taken.fake)
        return {"kernel": "(x.y/d + 1)^3", **subsets._asdict(), "seed": SEED}


class KernelDistanceOfBatches(Metric):
    """KID as metrics within a training loop report it: the mean of estimates over batches."""

    name = "kid_batch"
    figures = (
        Figure(
            "kid_batch",
            Meaning(f"kid as the mean of estimates over batches of {BATCH}, as in Keras' examples"),
            better="less",
        ),
    )
    unbiased = True

    def measure(
        self, reference: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"]
    ) -> dict[str, float]:
        """Returns `kid_batch`, the mean of the estimates, which may be negative."""
        return {"kid_batch": kernel_distance_of_batches(reference, fake, BATCH)}

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns the size of a batch."""
        return {"batch": min(BATCH, taken.reference, taken.fake)}


class Subsets(NamedTuple):
    """The subsets of two sets of features that are compared.

    Attributes:
      subsets: the number of pairs of subsets, one of each set.
      subset_size: the number of features in a subset.
    """

    subsets: int
    subset_size: int


def choose_subsets(
    reals: int, fakes: int, subsets: int = SUBSETS, size: int = SUBSET_SIZE
) -> Subsets:
    """Returns the subsets of sets of `reals` and `fakes` features.

    There is a single pair if it would hold all of both sets.

    Args:
      reals: the number of real features.
      fakes: the number of generated features.
      subsets: the number of pairs of subsets otherwise.
      size: the most features in a subset.
    """
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

    If subsets of `size` are all of both sets, there is a single one, and the deviation is 0.

    Args:
      real: features of real images.
      fake: features of generated images.
      subsets: the number of subsets, drawn without replacement, as torch-fidelity does.
      size: the number of features in a subset; min(size, m, n) are taken of each set.
      seed: the seed of the subsets.

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
    """Estimates the Kernel Inception Distance batch by batch, as metrics in a training loop do.

    The mean of the estimates is unbiased too, but varies more than one estimate from all features.
    A last batch of fewer than `batch` features is left out.

    Args:
      real: features of real images.
      fake: features of generated images.
      batch: the number of features of each set in a batch; min(batch, m, n) are taken.

    Returns:
      The mean of the estimates.

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
    """Returns the estimates, (S,), of S pairs of subsets, given as indices into the two sets."""
    size, (m, n) = len(subsets[0][0]), (len(real), len(fake))
    # The kernel of all pairs is computed once if that is less work than the kernel of each subset.
    if m * m + n * n + m * n <= 3 * size * size * len(subsets):
        chosen = [np.zeros((len(subsets), count)) for count in (m, n)]
        for i, indices in enumerate(subsets):
            for member, index in zip(chosen, indices, strict=True):
                member[i, index] = 1
        return _mmd2(real, fake, *chosen)
    ones = np.ones((1, size))
    return np.concatenate([_mmd2(real[a], fake[b], ones, ones) for a, b in subsets])


def _mmd2(real, fake, in_real, in_fake) -> np.ndarray:
    """Returns the estimates, (S,), of S pairs of subsets, by equation 4 of the paper.

    `in_real` (S, M) and `in_fake` (S, N) are 1 for the features in a subset and 0 for the others.
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
    """Returns the kernel's sum over the pairs of each subset, (S,), a few rows of x at a time."""
    total = np.zeros(len(in_x))
    for i in range(0, len(x), rows):
        kernel = _kernel(x[i : i + rows] @ y.T, x.shape[1])
        total += np.einsum("sn,sn->s", in_x[:, i : i + rows] @ kernel, in_y)
    return total


def _kernel(products, dimension: int):
    # NumPy computes **3 as a general power, which is slower (docs/metrics.md).
    base = products / dimension + 1
    return base * base * base


def _check(real, fake) -> None:
    shapes = real.shape, fake.shape
    if any(len(s) != 2 or s[0] < 2 for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"kid: features {shapes[0]} and {shapes[1]}: need two or more of each")
