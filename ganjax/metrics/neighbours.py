"""The training images nearest to samples, which show whether a generator copies them."""

from typing import Any, NamedTuple

import jax
import numpy as np
import scipy
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from tqdm import tqdm

from ganjax.data.base import Source
from ganjax.engine.meanings import Meaning
from ganjax.metrics import features, pairs
from ganjax.metrics.image_set import ImageSet, from_source
from ganjax.metrics.metric import Counts, Figure, Metric, Taken
from ganjax.parallel.sharding import make_layout

# Bytes of training images that are held at once; comparing them takes nine times as many.
CHUNK_BYTES = 16 << 20
# `PixelNeighbours` looks for the neighbours of at most this many images, pair by pair.
MOST_BY_PIXELS = 256
_DISTANCE = Meaning(
    "the mean distance of a sample to its nearest training image",
    least=0,
    reading="far below that of held-out images where G copies training images",
)
_DISTINCT = Meaning(
    "the number of different nearest training images over the number of samples",
    least=0,
    most=1,
    reading="a fall is mode collapse; compare with held-out images in place of samples",
)


class FeatureNeighbours(Metric):
    """The mean distance and the diversity of samples' nearest training images, by features.

    No direction is better: copies of the training images have the nearest neighbours of all.
    """

    name = "neighbours"
    figures = (Figure("neighbour_distance", _DISTANCE), Figure("distinct_neighbours", _DISTINCT))
    reference = "training"

    def measure(
        self, reference: Float[np.ndarray, "m *orientations d"], fake: Float[np.ndarray, "n d"]
    ) -> dict[str, float]:
        """Returns the mean distance, and the distinct neighbours as a share of the samples.

        Args:
          reference: the training images' features, (M, 2, D) where mirror images count as well.
          fake: the samples' features.
        """
        found = _nearest_oriented(fake, reference, 1)
        return {
            "neighbour_distance": float(np.mean(found.distance)),
            "distinct_neighbours": len(np.unique(found.index)) / len(found.index),
        }

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns the number of neighbours and the measure of distance."""
        del taken
        return {"k": 1, "distance": "Euclidean"}


class PixelNeighbours(Metric):
    """The figures of `FeatureNeighbours`, by the mean absolute difference of pixels."""

    name = "pixel_neighbours"
    figures = (
        Figure("neighbour_distance_pixels", _DISTANCE),
        Figure("distinct_neighbours_pixels", _DISTINCT),
    )
    needs = "images"
    reference = "training"
    while_training = False

    def choose_counts(self, counts: Counts) -> Taken:
        """Returns all training images, and at most `MOST_BY_PIXELS` samples."""
        others = counts.fake if counts.stand_in is None else counts.stand_in
        return Taken(counts.reference, min(MOST_BY_PIXELS, counts.fake, others))

    def measure(self, reference: ImageSet, fake: ImageSet) -> dict[str, float]:
        """Returns the mean distance, and the distinct neighbours as a share of the samples."""
        assert reference.source is not None  # Real images are read by index.
        found = nearest(fake.array(), reference.source, 1, mirror=reference.mirrored)
        return {
            "neighbour_distance_pixels": float(np.mean(found.distance)),
            "distinct_neighbours_pixels": len(np.unique(found.index)) / fake.count,
        }

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns the number of neighbours, the measure of distance, and the number of samples."""
        return {"k": 1, "distance": "mean absolute", "fakes": taken.fake}


class Neighbours(NamedTuple):
    """The k images of a source that are nearest to each of n images, the nearest first.

    Attributes:
      image: the neighbours, those flipped left to right that are nearer so.
      mirrored: which neighbours are flipped.
      index: their indices in the source.
      distance: their distances. By pixels: the mean absolute difference, 0 for equal images and
        1 between black and white. By features: Euclidean.
    """

    image: UInt8[np.ndarray, "n k h w c"]
    mirrored: Bool[np.ndarray, "n k"]
    index: Int64[np.ndarray, "n k"]
    distance: Float64[np.ndarray, "n k"]


class _Oriented(NamedTuple):
    """As `Neighbours`, without the images."""

    index: Int64[np.ndarray, "n k"]
    mirrored: Bool[np.ndarray, "n k"]
    distance: Float64[np.ndarray, "n k"]


def nearest(
    images: UInt8[np.ndarray, "n h w c"],
    source: Source,
    k: int,
    *,
    mirror: bool = False,
    chunk: int | None = None,
) -> Neighbours:
    """Compares images with every image of a source by their pixels.

    The source is read once, chunk by chunk, so memory is bounded whatever its size. Among equally
    near images the earlier ones come first.

    Args:
      images: the images whose neighbours are looked for.
      source: the images among which neighbours are looked for, of the same shape.
      k: the number of neighbours, at most source.size.
      mirror: whether the source's images are also compared flipped left to right; the nearer
        orientation of each counts.
      chunk: the number of the source's images that are held at once, by default `CHUNK_BYTES` of
        them.

    Returns:
      The neighbours, with distances in [0, 1].
    """
    n, pixels = len(images), images[0].size
    chunk = chunk or max(1, CHUNK_BYTES // pixels)
    # An image is as far from a flipped one as the flipped image from that one.
    views = [images, images[:, :, ::-1]] if mirror else [images]
    views = [view.reshape(n, -1).astype(np.float64) for view in views]
    index = np.empty((n, 0), np.int64)
    mirrored = np.empty((n, 0), bool)
    total = np.empty((n, 0))
    for first in tqdm(range(0, source.size, chunk), "training images", disable=None, leave=False):
        here = np.arange(first, min(first + chunk, source.size))
        reals = source.fetch(here)["image"].reshape(len(here), -1)
        # Sums of whole numbers: exact in float64.
        apart = np.stack([scipy.spatial.distance.cdist(view, reals, "cityblock") for view in views])
        total = np.concatenate([total, apart.min(0)], axis=1)
        mirrored = np.concatenate([mirrored, apart.argmin(0) == 1], axis=1)
        index = np.concatenate([index, np.broadcast_to(here, (n, len(here)))], axis=1)
        kept = np.argsort(total, axis=1, kind="stable")[:, :k]
        index, mirrored, total = (
            np.take_along_axis(each, kept, axis=1) for each in (index, mirrored, total)
        )
    return _with_images(_Oriented(index, mirrored, total / (255 * pixels)), source)


def nearest_by_features(
    images: UInt8[np.ndarray, "n h w c"],
    source: Source,
    k: int,
    network: str,
    *,
    mirror: bool = False,
) -> Neighbours:
    """Compares images with every image of a source by a network's features.

    Images that show the same things are near. The features of all of the source's images are
    held, which takes 4 bytes times their dimension for each.

    Args:
      images: the images whose neighbours are looked for.
      source: the images among which neighbours are looked for.
      k: the number of neighbours, at most source.size.
      network: a name in `ganjax.metrics.features.NETWORKS`.
      mirror: whether the source's images are also compared flipped left to right, which takes
        twice as long and as much memory; the nearer orientation of each counts.

    Returns:
      The neighbours, with Euclidean distances of features.

    Raises:
      UserError: there is no such network, or its weights can be neither found nor fetched.
    """
    sharding = make_layout(jax.local_devices()).batch
    extract = features.Extractor(network, features.load(network), ["features"], sharding)
    whole = from_source("training images", source, None, images.shape[1:])
    of_source = extract.observe(whole, whole.name)
    if mirror:
        of_source = extract.with_mirror_images(of_source, "mirror images")
    of_images = extract([images], len(images), "samples").features
    assert of_source.outputs.features is not None
    assert of_images is not None
    return _with_images(_nearest_oriented(of_images, of_source.outputs.features, k), source)


def _nearest_oriented(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m *orientations d"], k: int
) -> _Oriented:
    """Finds the k nearest of y, of which each has one orientation or two, (M, 2, D)."""
    if y.ndim == 2:
        found = pairs.nearest(x, y, k)
        return _Oriented(found.index, np.zeros(found.index.shape, bool), found.distance)
    # Of 2 k - 1 orientations, no more than k - 1 belong to an image that came before.
    found = pairs.nearest(x, y.reshape(-1, y.shape[-1]), 2 * k - 1)
    index = found.index // 2
    same = index[:, :, None] == index[:, None, :]
    again = np.tril(same, -1).any(-1)
    kept = np.argsort(again, axis=1, kind="stable")[:, :k]
    return _Oriented(
        *(
            np.take_along_axis(each, kept, axis=1)
            for each in (index, found.index % 2 == 1, found.distance)
        )
    )


def _with_images(found: _Oriented, source: Source) -> Neighbours:
    """Adds the images, which are fetched row by row, so that few are held beside the result."""
    rows = []
    for index, mirrored in zip(found.index, found.mirrored, strict=True):
        image = source.fetch(index)["image"]
        rows.append(np.where(mirrored[:, None, None, None], image[:, :, ::-1], image))
    return Neighbours(np.stack(rows), found.mirrored, found.index, found.distance)
