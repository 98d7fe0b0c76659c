"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

A set of features is taken for the union of balls about each, as wide as the way to its k-th
neighbour. arXiv:1904.06991, equations 1 and 2; arXiv:2002.09797, section 3.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ganjax.metrics.metric import Figure, Metric, Taken
from ganjax.metrics.pairs import distances, radii

# The papers' numbers of neighbours.
K_PRECISION, K_DENSITY = 3, 5
# A ball has its surface: what is as far as its radius but for rounding lies within.
TIE = 1e-9


class PrecisionRecall(Metric):
    """Kynkaanniemi et al. 2019: the shares of fakes among reals, and of reals among fakes."""

    name = "precision_recall"
    figures = (Figure("precision", better="more"), Figure("recall", better="more"))

    def measure(
        self, reference: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"]
    ) -> dict[str, float]:
        """Returns `precision` and `recall`."""
        found = fidelity(reference, fake, K_PRECISION)
        return {"precision": found.precision, "recall": found.recall}

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns k."""
        del taken
        return {"k": K_PRECISION}


class DensityCoverage(Metric):
    """Naeem et al. 2020: how densely reals lie about fakes, and which of them fakes reach."""

    name = "density_coverage"
    figures = (Figure("density", better="more"), Figure("coverage", better="more"))
    fewest = K_DENSITY + 1

    def measure(
        self, reference: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"]
    ) -> dict[str, float]:
        """Returns `density` and `coverage`."""
        found = fidelity(reference, fake, K_DENSITY)
        return {"density": found.density, "coverage": found.coverage}

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns k."""
        del taken
        return {"k": K_DENSITY}


class Fidelity(NamedTuple):
    """How well fakes lie among reals, and reals among fakes.

    Attributes:
      precision: the share of fakes within a real's ball, in [0, 1].
      recall: the share of reals within a fake's ball, in [0, 1].
      density: the mean number of reals' balls that a fake lies in, over k. It is 1 for reals in
        place of the fakes, and has no upper bound.
      coverage: the share of reals with a fake in their ball, in [0, 1].
    """

    precision: float
    recall: float
    density: float
    coverage: float


def fidelity(real: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"], k: int) -> Fidelity:
    """Computes all four measures for one k. Memory is bounded, and time grows with m * n.

    Args:
      real: features of real images.
      fake: features of generated images.
      k: a ball's radius is the distance to the k-th neighbour.

    Raises:
      ValueError: a set has no more than k features.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"prdc: k={k} needs more than {k} features, not {len(real)}, {len(fake)}")
    # Distances are compared with radii, and where images occur twice the two are often equal.
    centre = real.mean(axis=0, dtype=np.float64)
    real_radii, fake_radii = (radii(x, k, centre) * (1 + TIE) for x in (real, fake))
    within = np.zeros(len(fake), np.int64)
    recalled, covered = 0, 0
    for rows, apart in distances(real, fake, centre):
        inside = apart <= real_radii[rows, None]
        within += inside.sum(axis=0)
        covered += inside.any(axis=1).sum()
        recalled += (apart <= fake_radii).any(axis=1).sum()
    return Fidelity(
        precision=float(np.mean(within > 0)),
        recall=float(recalled / len(real)),
        density=float(np.mean(within) / k),
        coverage=float(covered / len(real)),
    )
