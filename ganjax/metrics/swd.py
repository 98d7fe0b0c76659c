"""Sliced Wasserstein distance of local image patches, scale by scale.

Karras et al. 2017 (arXiv:1710.10196), section 5: small patches of every level of a Laplacian
pyramid say whether two sets of images have the same textures at that scale; low at the coarse
levels and high at the fine ones is a generator whose layout is right and whose details are not.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.keys import fold
from ganjax.metrics.features import rebatched

# The binomial filter of Burt & Adelson 1983, and where the pyramid ends.
TAPS = np.array([1, 4, 6, 4, 1], np.float32) / 16
COARSEST = 16
# The paper's: the side of a patch, patches of an image at a level, and directions: 4 x 128.
PATCH = 7
PER_IMAGE = 128
DIRECTIONS = 128
REPEATS = 4
# Of one image's pyramid at a time this many, so that memory is bounded.
PIECE = 256
# Images of a set that `ganjax.evaluate` compares at most: their patches take 75 kB each (of
# three channels) at every level. The paper takes 16,384.
MOST = 4_096


class Swd(NamedTuple):
    """Distances times 1000, as the paper gives them; 0 is the least.

    Attributes:
      levels: pixels a side of a level -> its distance, the finest first.
      average: over the levels.
    """

    levels: dict[int, float]
    average: float

    def figures(self) -> dict[str, float]:
        """ "swd", the average, and of each level "swd_16", "swd_32", ..."""
        return {"swd": self.average} | {f"swd_{size}": d for size, d in self.levels.items()}


def protocol(count: int) -> dict[str, object]:
    """How `distance` measures `count` images of each set, for the record."""
    return {
        "images": count,
        "patches": f"{PER_IMAGE} of {PATCH}x{PATCH} from each image and level",
        "directions": REPEATS * DIRECTIONS,
        "scale": 1e3,
    }


def swd(reals: np.ndarray, fakes: np.ndarray, *, seed: int = 0) -> Swd:
    """The sliced Wasserstein distance at each level of the pyramids, from full size to 16x16.

    Smaller images have one level, themselves. The patches and directions follow from the seed;
    the paper takes 16,384 images of each kind, and fewer give larger distances: compare
    with that of reals to other reals.

    Args:
      reals: uint8 (N, S, S, C); S is 16 times a power of 2, or from 7 to 16.
      fakes: uint8, of the same shape.
      seed: of the patches and directions.

    Raises:
      ValueError: the shapes differ, or are no such.
    """
    if reals.shape != fakes.shape or reals.ndim != 4:
        raise ValueError(f"swd: as many images of one shape each, not {reals.shape}, {fakes.shape}")
    return distance(describe([reals], "a", seed=seed), describe([fakes], "b", seed=seed), seed=seed)


Described = dict[int, np.ndarray]


def describe(pieces: Iterable[np.ndarray], name: str, *, seed: int = 0) -> Described:
    """What `distance` compares of a set of images, which are never all held at once.

    Args:
      pieces: uint8 (n, S, S, C) arrays, of any n; S as in `swd`.
      name: of the set: two sets that are compared should have two, for places of their own.
      seed: of the patches' places.

    Returns:
      Of each level, the finest first, its normalised patches, (128 images, 49 C).

    Raises:
      ValueError: S is no such size.
    """
    key, found, done = fold(jax.random.key(seed), name), [], 0
    for piece in rebatched(pieces, PIECE):
        sizes = level_sizes(*piece.shape[1:3])
        found.append(_describe(jnp.asarray(piece), fold(key, done)))
        done += len(piece)
    levels = [np.concatenate(level) for level in zip(*found, strict=True)]
    return {size: normalise(level) for size, level in zip(sizes, levels, strict=True)}


def distance(a: Described, b: Described, *, seed: int = 0) -> Swd:
    """The distance of two sets of as many images, as `describe` gives them.

    Args:
      a: of one set.
      b: of the other.
      seed: of the directions.
    """
    key, distances = jax.random.key(seed), {}
    for size, one in a.items():
        at = fold(key, "directions", size)
        distances[size] = 1e3 * sliced_wasserstein(one, b[size], at)
    return Swd(distances, float(np.mean(list(distances.values()))))


def laplacian_pyramid(images: jax.Array) -> list[jax.Array]:
    """Images (N, S, S, C) -> what each size adds, from S to twice `COARSEST`, and the rest.

    Burt & Adelson 1983, of mirrored borders: their sum, each enlarged, is the images.
    """
    levels = []
    for _ in level_sizes(*images.shape[1:3])[1:]:
        coarser = reduce(images)
        levels.append(images - expand(coarser))
        images = coarser
    return [*levels, images]


def reduce(images: jax.Array) -> jax.Array:
    """(N, S, S, C) -> (N, S / 2, S / 2, C): filtered, every second pixel."""
    return _filter(images)[:, ::2, ::2]


def expand(images: jax.Array) -> jax.Array:
    """(N, S, S, C) -> (N, 2S, 2S, C): pixels apart by zeros, filtered, times 4."""
    n, height, width, channels = images.shape
    apart = jnp.zeros((n, height, 2, width, 2, channels), images.dtype)
    apart = apart.at[:, :, 0, :, 0].set(images)
    return 4 * _filter(apart.reshape(n, 2 * height, 2 * width, channels))


def patches(level: jax.Array, key: jax.Array, per_image: int = PER_IMAGE) -> jax.Array:
    """(N, S, S, C) -> (N, per_image, 7, 7, C), at places drawn uniformly for each image."""
    n, side, _, channels = level.shape
    corners = jax.random.randint(key, (n, per_image, 2), 0, side - PATCH + 1)

    def cut(image, corner):
        return jax.lax.dynamic_slice(image, (*corner, 0), (PATCH, PATCH, channels))

    return jax.vmap(jax.vmap(cut, (None, 0)))(level, corners)


def normalise(patches: np.ndarray) -> np.ndarray:
    """(M, 7, 7, C) -> (M, 49 C), each channel of mean 0 and deviation 1 over the whole set."""
    mean = patches.mean((0, 1, 2), dtype=np.float64)
    stddev = patches.std((0, 1, 2), dtype=np.float64)
    # A channel of one level only, as a collapsed generator's may be, stays at 0.
    stddev = np.where(stddev > 0, stddev, 1)
    # In float32, since there are many.
    scaled = (patches - mean.astype(np.float32)) / stddev.astype(np.float32)
    return scaled.reshape(len(patches), -1)


def sliced_wasserstein(
    a: np.ndarray,
    b: np.ndarray,
    key: jax.Array,
    directions: int = DIRECTIONS,
    repeats: int = REPEATS,
) -> float:
    """The mean over random directions of the Wasserstein-1 distance of the projections.

    Rabin et al. 2011. In one dimension that is the mean distance of the sorted points.

    Args:
      a: (M, D).
      b: (M, D).
      key: of the directions, uniform on the sphere.
      directions: taken at once.
      repeats: how often.
    """
    return float(
        np.mean([_sliced(a, b, fold(key, i), directions=directions) for i in range(repeats)])
    )


@partial(jax.jit, static_argnames="directions")
def _sliced(a, b, key, *, directions):
    to = jax.random.normal(key, (a.shape[1], directions))
    to = to / jnp.linalg.norm(to, axis=0, keepdims=True)
    # In full precision, which products of float32 do not have by default on GPUs and TPUs.
    a, b = (jnp.sort(jnp.matmul(x, to, precision="highest"), axis=0) for x in (a, b))
    return jnp.mean(jnp.abs(a - b))


@jax.jit
def _describe(images, key):
    levels = laplacian_pyramid(images.astype(jnp.float32))
    found = [patches(level, fold(key, level.shape[1])) for level in levels]
    return [each.reshape(-1, *each.shape[2:]) for each in found]


def level_sizes(height: int, width: int) -> list[int]:
    """Pixels a side of each level of images of this size, the finest first.

    Raises:
      ValueError: images of this size have no such pyramid.
    """
    count = max(0, (width // COARSEST).bit_length() - 1)
    coarsest = width >> count
    if height != width or coarsest << count != width or not PATCH <= coarsest <= COARSEST:
        raise ValueError(
            f"swd: images of {height}x{width} pixels; {COARSEST} times a power of 2 a side "
            f"are taken, or {PATCH} to {COARSEST}"
        )
    return [width >> i for i in range(count + 1)]


def takes(height: int, width: int) -> bool:
    """Whether images of this size have a distance."""
    try:
        level_sizes(height, width)
    except ValueError:
        return False
    return True


def _filter(images: jax.Array) -> jax.Array:
    for axis in (1, 2):
        margin = [(2, 2) if i == axis else (0, 0) for i in range(4)]
        padded, size = jnp.pad(images, margin, mode="reflect"), images.shape[axis]
        images = sum(
            tap * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i, tap in enumerate(TAPS.tolist())
        )
    return images
