"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

The manifold of a set of features is estimated by a ball around each of them, whose radius is the
distance to its k-th nearest neighbour in the set (arXiv:1904.06991, equations 1 and 2;
arXiv:2002.09797, section 3).
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ganjax.engine.meanings import Meaning
from ganjax.metrics.metric import Figure, Metric, Taken
from ganjax.metrics.pairs import distances, radii

# The papers' numbers of neighbours.
K_PRECISION, K_DENSITY = 3, 5
# A distance that equals a radius but for rounding lies on the ball's surface.
TIE = 1e-9
_READING = "compare with its floor, the figure of real images in place of samples"


class PrecisionRecall(Metric):
    """The share of fakes that lie among the reals, and of reals that lie among the fakes."""

    name = "precision_recall"
    figures = (
        Figure(
            "precision",
            Meaning("the share of samples that lie among the real images", 0, 1, reading=_READING),
            better="more",
        ),
        Figure(
            "recall",
            Meaning("the share of real images that lie among samples", 0, 1, reading=_READING),
            better="more",
        ),
    )

    def measure(
        self, reference: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"]
    ) -> dict[str, float]:
        """Returns `precision` and `recall`, in [0, 1]."""
        found = fidelity(reference, fake, K_PRECISION)
        return {"precision": found.precision, "recall": found.recall}

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns k, and when a point lies in a ball."""
        del taken
        return {"k": K_PRECISION, "within": "distance <= radius"}


class DensityCoverage(Metric):
    """The density of reals around the fakes, and the share of reals that the fakes reach."""

    name = "density_coverage"
    figures = (
        Figure(
            "density",
            Meaning(
                "how many real images' neighbourhoods a sample lies in, over the number expected",
                least=0,
                reading="about 1 for real images, and above 1 where samples crowd where reals do",
            ),
            better="more",
        ),
        Figure(
            "coverage",
            Meaning(
                "the share of real images that have a sample in their neighbourhood",
                least=0,
                most=1,
                reading=_READING,
            ),
            better="more",
        ),
    )
    fewest = K_DENSITY + 1

    def measure(
        self, reference: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"]
    ) -> dict[str, float]:
        """Returns `density`, 0 or more, and `coverage`, in [0, 1]."""
        found = fidelity(reference, fake, K_DENSITY)
        return {"density": found.density, "coverage": found.coverage}

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns k, and when a point lies in a ball."""
        del taken
        return {"k": K_DENSITY, "within": "distance < radius"}


class Fidelity(NamedTuple):
    """Four measures of how fakes lie among reals, and reals among fakes.

    Attributes:
      precision: the share of fakes within a real's ball, in [0, 1].
      recall: the share of reals within a fake's ball, in [0, 1].
      density: the mean number of reals' balls that a fake lies inside of, divided by k. It is 1
        for the reals themselves, 1 on average for other reals, and has no upper bound.
      coverage: the share of reals with a fake inside of their ball, in [0, 1].
    """

    precision: float
    recall: float
    density: float
    coverage: float


def fidelity(real: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"], k: int) -> Fidelity:
    """Computes all four measures for one k, in bounded memory and time that grows with m * n.

    A ball's surface belongs to it for precision and recall (equation 1), and does not for density
    and coverage, as in each paper's own code.

    Args:
      real: features of real images.
      fake: features of generated images.
      k: the number of the neighbour whose distance is a ball's radius.

    Raises:
      ValueError: a set has no more than k features.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"prdc: k={k} needs more than {k} features, not {len(real)}, {len(fake)}")
    # One centre for all: where images occur twice, a distance often equals the radius it is
    # compared with.
    centre = real.mean(axis=0, dtype=np.float64)
    real_radii, fake_radii = radii(real, k, centre), radii(fake, k, centre)
    precise = np.zeros(len(fake), bool)
    inside = np.zeros(len(fake), np.int64)
    recalled, covered = 0, 0
    for rows, apart in distances(real, fake, centre):
        radius = real_radii[rows, None]
        precise |= (apart <= radius * (1 + TIE)).any(axis=0)
        recalled += (apart <= fake_radii * (1 + TIE)).any(axis=1).sum()
        strictly = apart < radius * (1 - TIE)
        inside += strictly.sum(axis=0)
        covered += strictly.any(axis=1).sum()
    return Fidelity(
        precision=float(np.mean(precise)),
        recall=float(recalled / len(real)),
        density=float(np.mean(inside) / k),
        coverage=float(covered / len(real)),
    )
