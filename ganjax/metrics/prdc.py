"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

A set of features is taken for the union of balls about each, as wide as the way to its k-th
neighbour. arXiv:1904.06991, equations 1 and 2; arXiv:2002.09797, section 3.
"""

from typing import NamedTuple

import numpy as np

from ganjax.metrics.pairs import distances, radii

# What the papers take.
K_PRECISION, K_DENSITY = 3, 5
# A ball has its surface: what is as far as its radius but for rounding lies within.
TIE = 1e-9


class Fidelity(NamedTuple):
    """How well fakes lie among reals, and reals among fakes.

    Attributes:
      precision: the share of fakes within a real's ball, in [0, 1].
      recall: the share of reals within a fake's ball, in [0, 1].
      density: in how many reals' balls a fake lies, over k: 1 is expected of reals; unbounded.
      coverage: the share of reals with a fake in their ball, in [0, 1].
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: np.ndarray, fake: np.ndarray, k: int) -> Fidelity:
    """All four for one k. The memory is bounded, the time grows with M * N.

    Args:
      real: float (M, D) features.
      fake: float (N, D) features.
      k: whose neighbour's distance is a ball's radius.

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
