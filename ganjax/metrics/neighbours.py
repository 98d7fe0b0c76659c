"""The training images nearest to samples, which show whether a generator copies them."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8
from scipy.spatial.distance import cdist
from tqdm import tqdm

from ganjax.data.base import Source
from ganjax.metrics import features, pairs
from ganjax.metrics.image_set import ImageSet
from ganjax.metrics.metric import Counts, Figure, Metric, Taken
from ganjax.parallel.sharding import make_layout

# Bytes of training images that are held at once; comparing them takes nine times as many.
CHUNK_BYTES = 16 << 20
# `PixelNeighbours` looks for the neighbours of at most this many images, pair by pair.
MOST_BY_PIXELS = 256


class FeatureNeighbours(Metric):
    """The mean distance and the diversity of samples' nearest training images, by features.

    No direction is better: copies of the training images have the nearest neighbours of all.
    """

    name = "neighbours"
    figures = (Figure("neighbour_distance"), Figure("distinct_neighbours"))
    reference = "training"

    def measure(
        self, reference: Float[np.ndarray, "m d"], fake: Float[np.ndarray, "n d"]
    ) -> dict[str, float]:
        """Returns the mean distance, and the distinct neighbours as a share of the samples."""
        found = pairs.nearest(fake, reference, 1)
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
    figures = (Figure("neighbour_distance_pixels"), Figure("distinct_neighbours_pixels"))
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
        found = nearest(fake.array(), reference.source, 1)
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
      image: the neighbours.
      index: their indices in the source.
      distance: their distances. By pixels: the mean absolute difference, 0 for equal images and
        1 between black and white. By features: Euclidean.
    """

    image: UInt8[np.ndarray, "n k h w c"]
    index: Int64[np.ndarray, "n k"]
    distance: Float64[np.ndarray, "n k"]


def nearest(
    images: UInt8[np.ndarray, "n h w c"], source: Source, k: int, chunk: int | None = None
) -> Neighbours:
    """Compares images with every image of a source by their pixels.

    The source is read once, chunk by chunk, so memory is bounded whatever its size. Among equally
    near images the earlier ones come first.

    Args:
      images: the images whose neighbours are looked for.
      source: the images among which neighbours are looked for, of the same shape.
      k: the number of neighbours, at most source.size.
      chunk: the number of the source's images that are held at once, by default `CHUNK_BYTES` of
        them.

    Returns:
      The neighbours, with distances in [0, 1].
    """
    n, pixels = len(images), images[0].size
    chunk = chunk or max(1, CHUNK_BYTES // pixels)
    flat = images.reshape(n, -1).astype(np.float64)
    index = np.empty((n, 0), np.int64)
    total = np.empty((n, 0))
    for first in tqdm(range(0, source.size, chunk), "training images", disable=None, leave=False):
        here = np.arange(first, min(first + chunk, source.size))
        reals = source.fetch(here)["image"].reshape(len(here), -1)
        # Sums of whole numbers: exact in float64.
        total = np.concatenate([total, cdist(flat, reals, "cityblock")], axis=1)
        index = np.concatenate([index, np.broadcast_to(here, (n, len(here)))], axis=1)
        kept = np.argsort(total, axis=1, kind="stable")[:, :k]
        total = np.take_along_axis(total, kept, axis=1)
        index = np.take_along_axis(index, kept, axis=1)
    # Images are fetched row by row, so that no more than a chunk and the result is ever held.
    found = np.stack([source.fetch(row)["image"] for row in index])
    return Neighbours(found, index, total / (255 * pixels))


def nearest_by_features(
    images: UInt8[np.ndarray, "n h w c"], source: Source, k: int, network: str
) -> Neighbours:
    """Compares images with every image of a source by a network's features.

    Images that show the same things are near. The features of all of the source's images are
    held, which takes 4 bytes times their dimension for each.

    Args:
      images: the images whose neighbours are looked for.
      source: the images among which neighbours are looked for.
      k: the number of neighbours, at most source.size.
      network: a name in `ganjax.metrics.features.NETWORKS`.

    Returns:
      The neighbours, with Euclidean distances of features.

    Raises:
      UserError: there is no such network, or its weights can be neither found nor fetched.
    """
    sharding = make_layout(jax.local_devices()).batch
    extract = features.Extractor(network, features.load(network), ["features"], sharding)
    chunk = max(1, CHUNK_BYTES // images[0].size)
    every = np.arange(source.size)
    batches = (source.fetch(every[i : i + chunk])["image"] for i in range(0, source.size, chunk))
    of_source = extract(batches, source.size, "training images").features
    of_images = extract([images], len(images), "samples").features
    assert of_source is not None
    assert of_images is not None
    found = pairs.nearest(of_images, of_source, k)
    neighbours = np.stack([source.fetch(row)["image"] for row in found.index])
    return Neighbours(neighbours, found.index, found.distance)
