"""The figures by their names, which say the network: kid_efflite0, fid_inception, ...

A metric is what is asked for, a figure what comes out: one metric gives one or more.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ganjax.metrics import fid, inception_score, kid, pairs, prdc
from ganjax.metrics.features import NETWORKS, Extracted

SEED = 0
BATCH = 128


class Metric(NamedTuple):
    """A measure of fakes beside reals.

    Attributes:
      outputs: fields of Extracted that it needs.
      figures: that it gives, by names without the network's.
      measure: (real, fake) -> figures.
      protocol: (numbers of reals, of fakes) -> what it takes of them, for the record.
      unbiased: whether it is expected to be the same of fewer images.
    """

    outputs: tuple[str, ...]
    figures: tuple[str, ...]
    measure: Callable[[Extracted, Extracted], dict[str, float]]
    protocol: Callable[[int, int], dict[str, Any]]
    unbiased: bool = False


def _kid(real, fake):
    mean, deviation = kid.kid(real.features, fake.features, seed=SEED)
    # Of a single subset there is no deviation.
    several = kid.drawn(len(real.features), len(fake.features)).subsets > 1
    return {"kid": mean} | ({"kid_std": deviation} if several else {})


def _kid_protocol(reals, fakes):
    taken = kid.drawn(reals, fakes)
    return {"kernel": "(x.y/d + 1)^3", **taken._asdict(), "seed": SEED}


def _kid_batch(real, fake):
    return {"kid_batch": kid.kid_of_batches(real.features, fake.features, BATCH)}


def _fid(real, fake):
    moments = (fid.moments_of(x.features) for x in (real, fake))
    return {"fid": fid.frechet_distance(*moments)}


def _is(real, fake):
    del real
    splits = _splits(len(fake.logits))
    mean, deviation = inception_score.inception_score(fake.logits, splits=splits, seed=SEED)
    return {"is": mean, "is_std": deviation}


def _splits(fakes):
    return min(inception_score.SPLITS, fakes)


def _precision_recall(real, fake):
    found = prdc.prdc(real.features, fake.features, prdc.K_PRECISION)
    return {"precision": found.precision, "recall": found.recall}


def _density_coverage(real, fake):
    found = prdc.prdc(real.features, fake.features, prdc.K_DENSITY)
    return {"density": found.density, "coverage": found.coverage}


def _perceptual_distance(real, fake):
    del real
    return {"perceptual_distance": float(np.mean(fake.distances, dtype=np.float64))}


def _neighbours(real, fake):
    found = pairs.nearest(fake.features, real.features, 1)
    return {
        "neighbour_distance": float(np.mean(found.distance)),
        "distinct_neighbours": len(np.unique(found.index)) / len(found.index),
    }


METRICS = {
    "kid": Metric(("features",), ("kid", "kid_std"), _kid, _kid_protocol, unbiased=True),
    "kid_batch": Metric(
        ("features",),
        ("kid_batch",),
        _kid_batch,
        lambda reals, fakes: {"batch": min(BATCH, reals, fakes)},
        unbiased=True,
    ),
    "fid": Metric(("features",), ("fid",), _fid, lambda reals, fakes: {}),
    "is": Metric(
        ("logits",),
        ("is", "is_std"),
        _is,
        lambda reals, fakes: {"splits": _splits(fakes), "seed": SEED},
    ),
    "precision_recall": Metric(
        ("features",),
        ("precision", "recall"),
        _precision_recall,
        lambda reals, fakes: {"k": prdc.K_PRECISION},
    ),
    "density_coverage": Metric(
        ("features",),
        ("density", "coverage"),
        _density_coverage,
        lambda reals, fakes: {"k": prdc.K_DENSITY},
    ),
    # Small where modes collapse.
    "perceptual_distance": Metric(
        ("distances",),
        ("perceptual_distance",),
        _perceptual_distance,
        lambda reals, fakes: {"of": "disjoint pairs", "pairs": fakes // 2},
        unbiased=True,
    ),
    # The mean distance, and how many of the nearest are distinct, as a share of the fakes.
    "neighbours": Metric(
        ("features",),
        ("neighbour_distance", "distinct_neighbours"),
        _neighbours,
        lambda reals, fakes: {"k": 1, "distance": "Euclidean"},
    ),
}
# Metrics that compare with training images, not with held-out ones.
OF_TRAINING = ("neighbours",)
# Figures by which one model is better than another: 1 where more is better, -1 where less is.
# (Of the others neither is: a copied training set has the nearest neighbours.)
SIGNS = {
    "kid": -1,
    "kid_batch": -1,
    "fid": -1,
    "is": 1,
    "precision": 1,
    "recall": 1,
    "density": 1,
    "coverage": 1,
}
# The metric that looks at pixels and not at a network's features (`ganjax.metrics.swd`).
SWD = "swd"
LIKELIHOOD = "val_log_likelihood"
# Of those that no network's name goes with.
SIGNS_OF_PIXELS = {SWD: -1, LIKELIHOOD: 1}
# In place of a figure's name: none marks the best checkpoint.
NO_FIGURE = "none"
# The least images that each metric can be had of, for an error before anything is computed.
LEAST = prdc.K_DENSITY + 1


def outputs(metrics: Iterable[str]) -> tuple[str, ...]:
    """What the network must give for metrics."""
    return tuple(sorted({output for name in metrics for output in METRICS[name].outputs}))


def names(metrics: Iterable[str], network: str) -> list[str]:
    """The full names of what `measure` gives."""
    return [full_name(name, network) for metric in metrics for name in METRICS[metric].figures]


def measure(
    metrics: Iterable[str],
    network: str,
    real: Extracted,
    fake: Extracted,
    training: Extracted | None = None,
) -> dict[str, float]:
    """The figures of metrics, by their full names.

    Args:
      metrics: of `METRICS`.
      network: its name, which goes into the figures'.
      real: of the real images.
      fake: of the generated ones.
      training: of the images that the fakes may be copies of, for `OF_TRAINING`; None where
        none of these is asked for.
    """
    found = {}
    for metric in metrics:
        beside = training if metric in OF_TRAINING else real
        for name, value in METRICS[metric].measure(beside, fake).items():
            found[full_name(name, network)] = value
    return found


def full_name(figure: str, network: str) -> str:
    """`kid` of efflite0 is kid_efflite0; its deviation, kid_std, kid_efflite0_std."""
    stem = figure.removesuffix("_std")
    return f"{stem}_{network}{figure[len(stem) :]}"


def sign(figure: str) -> int | None:
    """1 if more of a figure is better, -1 if less is, None if neither or there is none such."""
    names = {full_name(name, network): s for name, s in SIGNS.items() for network in NETWORKS}
    return (names | SIGNS_OF_PIXELS).get(figure)
