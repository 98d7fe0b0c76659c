"""The training images nearest to a sample: does a generator copy what it was shown?"""

from typing import NamedTuple

import jax
import numpy as np
from scipy.spatial.distance import cdist
from tqdm import tqdm

from ganjax.data.base import Source
from ganjax.metrics import features, pairs
from ganjax.parallel.sharding import make_layout

# Of uint8 pixels held at once; while they are compared it is nine times as much.
CHUNK_BYTES = 16 << 20


class Neighbours(NamedTuple):
    """The K nearest of each of N images, the nearest first.

    Attributes:
      image: uint8 (N, K, H, W, C).
      index: int64 (N, K), in the source.
      distance: float64 (N, K). Of pixels: their mean absolute difference, 0 for equal images,
        1 for black against white. Of features: Euclidean.
    """

    image: np.ndarray
    index: np.ndarray
    distance: np.ndarray


def nearest(images: np.ndarray, source: Source, k: int, chunk: int | None = None) -> Neighbours:
    """Compares images with every one of a source, which is read once, chunk by chunk.

    Memory is bounded whatever the source's size. Of equally near ones the earlier come first.

    Args:
      images: uint8 (N, H, W, C), as the source's.
      source: what to compare with.
      k: how many, at most source.size.
      chunk: how many of the source's images to hold at once; by default `CHUNK_BYTES` of them.
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
    # One by one a row, so that these too never are more than a chunk and the answer.
    found = np.stack([source.fetch(row)["image"] for row in index])
    return Neighbours(found, index, total / (255 * pixels))


def nearest_by_features(images: np.ndarray, source: Source, k: int, network: str) -> Neighbours:
    """As `nearest`, but in the features of a network: alike is what shows the same things.

    The features of all of the source's images are held, 4 bytes times their dimension each.

    Args:
      images: uint8 (N, H, W, C).
      source: what to compare with.
      k: how many, at most source.size.
      network: of `ganjax.metrics.features.NETWORKS`.

    Raises:
      UserError: there is no such network, or its weights are not to be had.
    """
    sharding = make_layout(jax.local_devices()).batch
    extract = features.Extractor(network, features.load(network), ["features"], sharding)
    chunk = max(1, CHUNK_BYTES // images[0].size)
    every = np.arange(source.size)
    pieces = (source.fetch(every[i : i + chunk])["image"] for i in range(0, source.size, chunk))
    among = extract(pieces, source.size, "training images").features
    of = extract([images], len(images), "samples").features
    found = pairs.nearest(of, among, k)
    shown = np.stack([source.fetch(row)["image"] for row in found.index])
    return Neighbours(shown, found.index, found.distance)
