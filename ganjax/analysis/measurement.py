"""Two sets of images measured against each other, and beside it what two sets of reals give."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ganjax.analysis.image_sets import ImageSet
from ganjax.errors import UserError
from ganjax.metrics import features, figures, parzen, swd
from ganjax.metrics.features import rows
from ganjax.metrics.neighbours import nearest
from ganjax.parallel.sharding import make_layout

# Of pixels, where every pair is compared in full: fakes, and images of each set.
MOST_NEIGHBOURS, MOST_IN_WINDOW = 256, 10_000
# Metrics of pixels; all others are of a network's features.
OF_PIXELS = ("pixel_neighbours", "log_likelihood", figures.SWD)
METRICS = (*figures.METRICS, *OF_PIXELS)
NEIGHBOURS = {*figures.OF_TRAINING, "pixel_neighbours"}


class Sets(NamedTuple):
    """What is compared.

    Attributes:
      real: what the fakes should be like.
      fake: what is measured.
      other: further reals, which the floor takes for fakes. Without any, halves of `real` give
        the floor of unbiased figures; the others would be of half as many images, and have none.
      training: what the fakes may be copies of, "real" or "other".
    """

    real: ImageSet
    fake: ImageSet
    other: ImageSet | None
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
      "figures"; "floor", by the same names, of those that have one; "protocol";
      "images_per_second" of the fakes, made and seen by the network (0 where there was only
      one batch).

    Raises:
      UserError: too few images, or pixels of different images are to be compared.
    """
    _check_counts(sets)
    _check_shapes(sets, metrics)
    seen = [metric for metric in metrics if metric in figures.METRICS]
    outputs = figures.outputs(seen)
    sharding = make_layout(jax.local_devices()).batch
    found, floor, rate = {}, {}, 0.0
    if outputs:
        extract = features.Extractor(network, params, outputs, sharding)
        real = extract(sets.real.batches(), sets.real.count, "reals")
        other = None
        if sets.other is not None:
            other = extract(sets.other.batches(), sets.other.count, "more reals")
        fake = extract(sets.fake.batches(), sets.fake.count, "fakes")
        rate = extract.images_per_second
        found, floor = _of_features(sets, seen, network, real, fake, other)
    for metric in metrics:
        if metric in OF_PIXELS:
            measure = {
                "pixel_neighbours": _pixel_neighbours,
                "log_likelihood": _log_likelihood,
                figures.SWD: _swd,
            }
            more, reference = measure[metric](sets)
            found, floor = found | more, floor | reference
    protocol = {
        "real": _described(sets.real),
        "fake": _described(sets.fake),
        "metrics": {
            metric: _protocol(sets, metric) | {"floor": _floor_in_words(sets, metric)}
            for metric in metrics
        },
    }
    if set(metrics) & NEIGHBOURS:
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
        unbiased = [metric for metric in metrics if figures.METRICS[metric].unbiased]
        halves = rows(real, 0, half), rows(real, half, 2 * half)
        return found, figures.measure(unbiased, network, *halves)
    near = [metric for metric in metrics if metric in figures.OF_TRAINING]
    plain = [metric for metric in metrics if metric not in figures.OF_TRAINING]
    # As many as the fakes, if there are: some figures depend on it.
    floor = figures.measure(plain, network, real, rows(other, 0, sets.fake.count))
    unseen = rows(real if sets.training == "other" else other, 0, sets.fake.count)
    return found, floor | figures.measure(near, network, real, unseen, training)


def _pixel_neighbours(sets: Sets):
    """The nearest training image of some fakes, and of as many reals that are none."""
    count = _neighbours_count(sets)
    found = _nearest_pixels(sets.fake.first(count), _training(sets))
    if sets.other is None:
        return found, {}
    return found, _nearest_pixels(_unseen(sets).first(count), _training(sets))


def _neighbours_count(sets: Sets) -> int:
    unseen = sets.fake if sets.other is None else _unseen(sets)
    return min(MOST_NEIGHBOURS, sets.fake.count, unseen.count)


def _nearest_pixels(images: np.ndarray, training: ImageSet) -> dict[str, float]:
    found = nearest(images, training.source, 1)
    return {
        "neighbour_distance_pixels": float(np.mean(found.distance)),
        "distinct_neighbours_pixels": len(np.unique(found.index)) / len(images),
    }


def _log_likelihood(sets: Sets):
    """Of the second half of some reals, under windows as wide as suits the first half best."""
    real, fake = sets.real.first(MOST_IN_WINDOW), sets.fake.first(MOST_IN_WINDOW)
    if sets.other is None:
        return _parzen(fake, real), {}
    return _parzen(fake, real), _parzen(sets.other.first(len(fake)), real)


def _parzen(samples: np.ndarray, reals: np.ndarray) -> dict[str, float]:
    samples, reals = parzen.flat(samples), parzen.flat(reals)
    half = len(reals) // 2
    width = parzen.choose_width(samples, reals[:half])
    each = np.asarray(parzen.log_likelihood(samples, reals[half:], width), np.float64)
    return {
        "log_likelihood": float(np.mean(each)),
        "log_likelihood_standard_error": float(np.std(each, ddof=1) / np.sqrt(len(each))),
        "parzen_width": width,
    }


def _swd(sets: Sets):
    """Of as many images of each set."""
    count = _swd_count(sets)
    real = swd.describe(sets.real.first_batches(count), "a")
    found = swd.distance(real, swd.describe(sets.fake.first_batches(count), "b")).figures()
    if sets.other is None:
        return found, {}
    return found, swd.distance(real, swd.describe(sets.other.first_batches(count), "b")).figures()


def _swd_count(sets: Sets) -> int:
    counts = [images.count for images in sets[:3] if images is not None]
    return min(swd.MOST, *counts)


def _training(sets: Sets) -> ImageSet:
    return sets.other if sets.training == "other" else sets.real


def _unseen(sets: Sets) -> ImageSet:
    return sets.real if sets.training == "other" else sets.other


def _described(images: ImageSet) -> dict[str, Any]:
    return {
        "images": images.name,
        "count": images.count,
        "shape": images.shape,
        **images.record,
    }


def _protocol(sets: Sets, metric: str) -> dict[str, Any]:
    """What a metric takes of the sets."""
    if metric == "pixel_neighbours":
        return {"k": 1, "distance": "mean absolute", "fakes": _neighbours_count(sets)}
    if metric == "log_likelihood":
        return {
            "width": "best on the first half of the reals; scored on the second",
            "reals": min(MOST_IN_WINDOW, sets.real.count),
            "fakes": min(MOST_IN_WINDOW, sets.fake.count),
        }
    if metric == figures.SWD:
        return swd.protocol(_swd_count(sets))
    return figures.METRICS[metric].protocol(sets.real.count, sets.fake.count)


def _floor_in_words(sets: Sets, metric: str) -> str:
    if sets.other is None:
        if metric in figures.METRICS and figures.METRICS[metric].unbiased:
            return f"two halves of the reals, {sets.real.count // 2} each"
        return "none: two halves of the reals give another figure than two sets of that size"
    stand_in = _unseen(sets) if metric in NEIGHBOURS else sets.other
    count = min(sets.fake.count, stand_in.count)
    if metric in OF_PIXELS:
        most = {
            "pixel_neighbours": _neighbours_count(sets),
            "log_likelihood": MOST_IN_WINDOW,
            figures.SWD: _swd_count(sets),
        }
        count = min(count, most[metric])
    return f"{count} of {stand_in.name} in place of the fakes"


def _check_counts(sets: Sets) -> None:
    reals = sets.real.count if sets.other is not None else sets.real.count // 2
    named: Iterable[tuple[ImageSet, int]] = [(sets.real, reals), (sets.fake, sets.fake.count)]
    if sets.other is not None:
        named = [*named, (sets.other, sets.other.count)]
    for images, count in named:
        if count < figures.LEAST:
            raise UserError(
                f"{images.name} has {images.count} images: too few to compare; "
                f"{figures.LEAST} are needed, of reals alone twice as many"
            )


def _check_shapes(sets: Sets, metrics: Sequence[str]) -> None:
    for metric in metrics:
        if metric == figures.SWD and not swd.takes(*sets.fake.shape[:2]):
            raise UserError(
                f"--metrics=swd: it takes square images of {swd.COARSEST} times a power of 2 "
                f"pixels a side, or {swd.PATCH} to {swd.COARSEST}, and those of {sets.fake.name} "
                f"are {sets.fake.shape[0]}x{sets.fake.shape[1]}; leave it out"
            )
        others = {
            "pixel_neighbours": [_training(sets)],
            "log_likelihood": [sets.real],
            figures.SWD: [sets.real],
        }
        for images in others.get(metric, ()):
            one, other = sets.fake.shape, images.shape
            sizes = [f"{height}x{width}" for height, width, _ in (one, other)]
            if sizes[0] != sizes[1]:
                reason = f"the fakes are {sizes[0]} and {images.name} {sizes[1]}"
                mend = "bring both to one size"
            elif one != other:
                reason = f"the fakes have {one[-1]} channels and {images.name} has {other[-1]}"
                mend = "make both grey or both RGB (a folder is read as RGB)"
            else:
                continue
            raise UserError(
                f"--metrics={metric}: it compares pixels, but {reason}; {mend}, or leave it out"
            )
