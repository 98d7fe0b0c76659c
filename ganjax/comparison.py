"""Two sets of images measured against each other, and beside it what two sets of reals give."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ganjax.errors import UserError
from ganjax.image_sets import Images
from ganjax.metrics import features, figures, parzen
from ganjax.metrics.features import rows
from ganjax.neighbours import nearest
from ganjax.sharding import make_layout

# Of pixels, where every pair is compared in full: fakes, and images of each set.
PIXEL_NEIGHBOURS, LIKELIHOOD = 256, 10_000
# Metrics of pixels, and their figures; all others are of a network's features.
OF_PIXELS = {
    "pixel_neighbours": {"k": 1, "distance": "mean absolute", "fakes": PIXEL_NEIGHBOURS},
    "log_likelihood": {
        "width": "best on the first half of the reals; scored on the second",
        "most_images": LIKELIHOOD,
    },
}
METRICS = (*figures.METRICS, *OF_PIXELS)


class Sets(NamedTuple):
    """What is compared.

    Attributes:
      real: what the fakes should be like.
      fake: what is measured.
      other: further reals, which the floor takes for fakes; None halves `real` for it.
      training: what the fakes may be copies of, "real" or "other".
    """

    real: Images
    fake: Images
    other: Images | None
    training: str = "real"


def check(metrics: Sequence[str], network: str) -> None:
    """Raises UserError if there is no such metric or network."""
    for metric in metrics:
        if metric not in METRICS:
            raise UserError(f"--metrics={metric}: there are {', '.join(METRICS)}")
    if not metrics:
        raise UserError(f"--metrics= is empty: name some of {', '.join(METRICS)}")
    if network not in features.NETWORKS:
        raise UserError(f"--features={network}: there are {', '.join(features.NETWORKS)}")


def compare(
    sets: Sets, metrics: Sequence[str], network: str, params: features.Params | None
) -> dict[str, Any]:
    """Measures fakes against reals, and reals against reals: the floor.

    Images are never all held at once; what is held is their features, 4 bytes times the
    network's dimension each.

    Args:
      sets: of images.
      metrics: of `METRICS`.
      network: of `ganjax.metrics.features.NETWORKS`.
      params: the network's; None where no metric needs it.

    Returns:
      "figures" and "floor", by the same names; "protocol"; "images_per_second" of the
      fakes, made and seen by the network (0 where there was only one batch).

    Raises:
      UserError: too few images, or pixels of different images are to be compared.
    """
    _check_counts(sets)
    seen = [metric for metric in metrics if metric in figures.METRICS]
    outputs = figures.outputs(seen)
    sharding = make_layout(jax.local_devices()).batch
    found, floor, rate = {}, {}, 0.0
    if outputs:
        extract = features.Extractor(network, params, outputs, sharding)
        real = extract(sets.real.pieces(), sets.real.count, "reals")
        other = None
        if sets.other is not None:
            other = extract(sets.other.pieces(), sets.other.count, "more reals")
        fake = extract(sets.fake.pieces(), sets.fake.count, "fakes")
        rate = extract.images_per_second
        found, floor = _of_features(sets, seen, network, real, fake, other)
    for metric in metrics:
        if metric in OF_PIXELS:
            measure = {"pixel_neighbours": _pixel_neighbours, "log_likelihood": _log_likelihood}
            more, reference = measure[metric](sets)
            found, floor = found | more, floor | reference
    protocol = {
        "real": _described(sets.real),
        "fake": _described(sets.fake),
        "floor": _floor_in_words(sets),
        "metrics": {name: (OF_PIXELS | _protocols())[name] for name in metrics},
    }
    if "neighbours" in metrics or "pixel_neighbours" in metrics:
        protocol["neighbours_among"] = _described(_training(sets))
    if outputs:
        protocol |= {
            "network": network,
            "resize": features.NETWORKS[network].resize,
            "weights_sha256": features.NETWORKS[network].file.sha256,
        }
    return {"figures": found, "floor": floor, "protocol": protocol, "images_per_second": rate}


def _of_features(sets, metrics, network, real, fake, other):
    """(figures, floor) of a network."""
    training = other if sets.training == "other" else real
    found = figures.measure(metrics, network, real, fake, training)
    if other is None:
        half = sets.real.count // 2
        one, two = rows(real, 0, half), rows(real, half, 2 * half)
        return found, figures.measure(metrics, network, one, two, one)
    # As many as the fakes, if there are: some figures depend on it.
    stand_in = rows(other, 0, min(sets.fake.count, sets.other.count))
    nearby = [metric for metric in metrics if metric in figures.OF_TRAINING]
    plain = [metric for metric in metrics if metric not in figures.OF_TRAINING]
    floor = figures.measure(plain, network, real, stand_in)
    unseen = rows(real if sets.training == "other" else other, 0, sets.fake.count)
    return found, floor | figures.measure(nearby, network, real, unseen, training)


def _pixel_neighbours(sets: Sets):
    """The nearest training image of some fakes, and of some reals that are none."""
    training, unseen = _training(sets), sets.real
    if sets.other is None:
        half = sets.real.count // 2
        training, unseen = sets.real.part(0, half), sets.real.part(half, 2 * half)
    elif sets.training == "real":
        unseen = sets.other
    return tuple(
        _nearest_pixels(images.first(PIXEL_NEIGHBOURS), among)
        for images, among in ((sets.fake, _training(sets)), (unseen, training))
    )


def _nearest_pixels(images: np.ndarray, training: Images) -> dict[str, float]:
    _check_shapes("pixel_neighbours", images, training.first(1))
    found = nearest(images, training.source, 1)
    return {
        "neighbour_distance_pixels": float(np.mean(found.distance)),
        "distinct_neighbours_pixels": len(np.unique(found.index)) / len(images),
    }


def _log_likelihood(sets: Sets):
    """Of the second half of some reals, under windows as wide as suits the first half best."""
    real, fake = sets.real.first(LIKELIHOOD), sets.fake.first(LIKELIHOOD)
    _check_shapes("log_likelihood", fake, real)
    if sets.other is None:
        half = len(real) // 2
        return _parzen(fake, real), _parzen(real[:half], real[half:])
    return _parzen(fake, real), _parzen(sets.other.first(len(fake)), real)


def _parzen(samples: np.ndarray, reals: np.ndarray) -> dict[str, float]:
    samples, reals = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (samples, reals))
    half = len(reals) // 2
    width = parzen.choose_width(samples, reals[:half])
    each = np.asarray(parzen.log_likelihood(samples, reals[half:], width), np.float64)
    return {
        "log_likelihood": float(np.mean(each)),
        "log_likelihood_standard_error": float(np.std(each, ddof=1) / np.sqrt(len(each))),
        "parzen_width": width,
    }


def _training(sets: Sets) -> Images:
    return sets.other if sets.training == "other" else sets.real


def _described(images: Images) -> dict[str, Any]:
    return {"images": images.name, "count": images.count, "shape": images.first(1).shape[1:]}


def _floor_in_words(sets: Sets) -> str:
    if sets.other is None:
        return f"two halves of the reals, {sets.real.count // 2} each"
    count = min(sets.fake.count, sets.other.count)
    return f"{count} of {sets.other.name} in place of the fakes"


def _protocols() -> dict[str, dict]:
    return {name: metric.protocol for name, metric in figures.METRICS.items()}


def _check_counts(sets: Sets) -> None:
    reals = sets.real.count if sets.other is not None else sets.real.count // 2
    named: Iterable[tuple[Images, int]] = [(sets.real, reals), (sets.fake, sets.fake.count)]
    if sets.other is not None:
        named = [*named, (sets.other, sets.other.count)]
    for images, count in named:
        if count < figures.LEAST:
            raise UserError(
                f"{images.name} has {images.count} images: too few to compare; "
                f"{figures.LEAST} are needed, of reals alone twice as many"
            )


def _check_shapes(metric: str, one: np.ndarray, other: np.ndarray) -> None:
    if one.shape[1:] != other.shape[1:]:
        raise UserError(
            f"--metrics={metric}: it compares pixels, but images are {one.shape[1:]} and "
            f"{other.shape[1:]}; leave it out, or bring both to one size"
        )
