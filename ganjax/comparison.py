"""Two sets of images measured against each other, and beside it what two sets of reals give."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image, UnidentifiedImageError

from ganjax import evaluation
from ganjax.config import DataConfig
from ganjax.data.sources import Source, open_source
from ganjax.errors import UserError
from ganjax.metrics import features, figures, parzen
from ganjax.metrics.features import Extracted
from ganjax.neighbours import nearest
from ganjax.sharding import make_layout
from ganjax.trained import Trained

# Reals of which features are kept: as many as published FIDs take.
MOST = 50_000
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
# Names of the array of images in an .npz: ours, and others'.
ARRAYS = ("image", "images", "samples", "arr_0")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Images(NamedTuple):
    """A set of images, which can be read again and again.

    Attributes:
      name: what they are, for the record.
      count: how many.
      pieces: () -> uint8 (n, H, W, C) arrays, `count` images in all.
    """

    name: str
    count: int
    pieces: Callable[[], Iterator[np.ndarray]]

    def first(self, count: int) -> np.ndarray:
        """uint8 (min(count, self.count), H, W, C)."""
        kept, left = [], count
        for piece in self.pieces():
            kept.append(piece[:left])
            left -= len(kept[-1])
            if not left:
                break
        return np.concatenate(kept)

    def part(self, start: int, stop: int) -> "Images":
        """The images start .. stop."""

        def pieces():
            done = 0
            for piece in self.pieces():
                yield piece[max(start - done, 0) : max(stop - done, 0)]
                done += len(piece)
                if done >= stop:
                    break

        return Images(self.name, stop - start, pieces)


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


def of_source(name: str, source: Source, num: int) -> Images:
    """`num` images of a source at random, or all in a random order."""
    chosen = evaluation.choose(source, num)
    return Images(name, len(chosen), lambda: evaluation.read(source, chosen))


def of_run(run: Trained, name: str, num: int, seed: int | None = None) -> Images:
    """Samples of a trained run."""
    z, label = run.inputs(num, seed)
    return Images(name, num, lambda: run.pieces(z, label))


def of_npz(path: Path) -> Images:
    """The images in an .npz: uint8 (N, H, W, 1 or 3), named as one of `ARRAYS`.

    Raises:
      UserError: there are none.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            name = next((name for name in ARRAYS if name in arrays), None)
            if name is None:
                raise UserError(f"{path}: none of its arrays is named {', '.join(ARRAYS)}")
            images = arrays[name]
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an .npz of arrays ({error})") from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"{path}: {name!r} is {images.dtype} {images.shape}; images are uint8 (N, H, W, 1 or "
            "3), levels from 0 to 255"
        )
    whole = Source(len(images), lambda i: {"image": images[i]}, ())
    return of_source(str(path), whole, len(images))


def of_folder(path: Path) -> Images:
    """The images in a folder and the folders in it, all of one size, as RGB.

    Raises:
      UserError: there are none, or one cannot be read or has another size.
    """
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{path}: no image is there ({', '.join(SUFFIXES)})")

    def open_one(file: Path) -> np.ndarray:
        try:
            with Image.open(file) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise UserError(f"{file} is no image that can be read ({error}); remove it") from None

    shape = open_one(files[0]).shape

    def fetch(indices):
        images = [open_one(files[i]) for i in indices]
        for index, image in zip(indices, images, strict=True):
            if image.shape != shape:
                raise UserError(
                    f"{files[index]} is {image.shape[0]}x{image.shape[1]}, but {files[0]} "
                    f"{shape[0]}x{shape[1]}: bring all to one size, whose resizing you then know"
                )
        return {"image": np.stack(images)}

    return of_source(str(path), Source(len(files), fetch, ()), len(files))


def of_named_source(name: str, split: str, like: Images, fit: str) -> Images:
    """A data set by its config.data.source, at the size and with the channels of `like`.

    Raises:
      DataError: there is no such set.
    """
    _, side, _, channels = like.first(1).shape
    data = DataConfig(
        source=name, label="", num_classes=1, channels=channels, fit=fit, on_device=False
    )
    source = open_source(data, split, image_size=side)
    return of_source(f"{name} {split} ({fit} to {side}x{side})", source, MOST)


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
    network's dimension each, of at most `MOST` reals and of all fakes.

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
    nearby = [metric for metric in metrics if metric == "neighbours"]
    plain = [metric for metric in metrics if metric != "neighbours"]
    training = other if sets.training == "other" else real
    found = figures.measure(plain, network, real, fake)
    found |= figures.measure(nearby, network, training, fake)
    if other is None:
        half = sets.real.count // 2
        one, two = _rows(real, 0, half), _rows(real, half, 2 * half)
        return found, figures.measure(metrics, network, one, two)
    # As many as the fakes, if there are: some figures depend on it.
    stand_in = _rows(other, 0, min(sets.fake.count, sets.other.count))
    floor = figures.measure(plain, network, real, stand_in)
    unseen = real if sets.training == "other" else other
    unseen = _rows(unseen, 0, sets.fake.count)
    return found, floor | figures.measure(nearby, network, training, unseen)


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
    best = np.full(len(images), np.inf)
    index, first = np.zeros(len(images), np.int64), 0
    for piece in training.pieces():
        if not len(piece):
            continue
        here = nearest(images, Source(len(piece), lambda i, p=piece: {"image": p[i]}, ()), 1)
        better = here.distance[:, 0] < best
        index = np.where(better, first + here.index[:, 0], index)
        best = np.where(better, here.distance[:, 0], best)
        first += len(piece)
    return {
        "neighbour_distance_pixels": float(np.mean(best)),
        "distinct_neighbours_pixels": len(np.unique(index)) / len(index),
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


def _rows(extracted: Extracted, start: int, stop: int) -> Extracted:
    """Of the images start .. stop; `distances` are of pairs."""
    take = lambda x, each: None if x is None else x[start // each : stop // each]  # noqa: E731
    return Extracted(
        take(extracted.features, 1), take(extracted.logits, 1), take(extracted.distances, 2)
    )


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
