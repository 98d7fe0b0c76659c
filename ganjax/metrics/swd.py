"""Sliced Wasserstein distance of local image patches, scale by scale.

By Karras et al. 2017 (arXiv:1710.10196), section 5, small patches from every level of a Laplacian
pyramid show whether two sets of images have the same textures at that scale. A generator whose
distance is low at the coarse levels and high at the fine ones gets the layout right and the
details wrong.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Key, UInt8

from ganjax.engine.meanings import Meaning
from ganjax.engine.sizes import ImageSize, Size, size_of
from ganjax.keys import fold
from ganjax.metrics.image_set import ImageSet, rebatched
from ganjax.metrics.metric import Counts, Figure, Metric, Taken

# The binomial filter of Burt & Adelson 1983, and the least shorter side of a coarser level: levels
# are halved as long as it has so many pixels.
TAPS = np.array([1, 4, 6, 4, 1], np.float32) / 16
COARSEST = 16
# The paper's side of a patch, patches from each image and level, and directions: 4 x 128.
PATCH = 7
PER_IMAGE = 128
DIRECTIONS = 128
REPEATS = 4
# The number of images whose pyramids are made at a time, so that memory is bounded.
BATCH = 256
# The most images of a set that are compared, whose patches are held (docs/metrics.md). The paper
# takes 16,384.
MOST = 4_096
# What `level_sizes` takes, in words.
SIZES = (
    f"sides of {PATCH} pixels or more, which can be halved until the shorter one has less than "
    f"{2 * COARSEST}"
)
# The normalised patches of each level by its size, as in a config, the finest first:
# (PER_IMAGE * images, 49 C).
Described = dict[ImageSize, Float32[np.ndarray, "_ _"]]


class SlicedWasserstein(Metric):
    """The distance at each level of the pyramids, and its average over the levels.

    The same number of images is taken from each set, also for the floor.
    """

    name = "swd"
    figures = (Figure("swd", Meaning("the mean of swd_<side> over levels", 0), better="less"),)
    further = (
        Figure(
            "swd_<side>",
            Meaning(
                "1,000 times the sliced Wasserstein distance between patches of samples and of "
                "real images, at the level of the Laplacian pyramid of this side",
                least=0,
                reading="small levels say how shapes are, large ones how textures are (Karras et "
                "al. 2017); fewer images give more: compare with the floor",
            ),
        ),
    )
    needs = "images"
    training_floor = "swd"
    sizes = SIZES

    def accepts(self, height: int, width: int) -> bool:
        """Returns whether images of this size have a pyramid."""
        try:
            level_sizes(height, width)
        except ValueError:
            return False
        return True

    def choose_counts(self, counts: Counts) -> Taken:
        """Returns the same number for both sets, at most `MOST`."""
        count = min(MOST, *(count for count in counts if count is not None))
        return Taken(count, count)

    def prepare(self, reference: ImageSet) -> Described:
        """Cuts patches out of the real images."""
        return describe(reference.batches(), "a")

    def measure(self, reference: Described, fake: ImageSet) -> dict[str, float]:
        """Returns `swd`, the average, and the distance at each level, swd_16, swd_32, ..."""
        found = distance(reference, describe(fake.batches(), "b"))
        levels = {
            size if isinstance(size, int) else size_of(size): each
            for size, each in found.levels.items()
        }
        return {"swd": found.average} | {f"swd_{size}": each for size, each in levels.items()}

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns the numbers of images, patches and directions, and the scale."""
        return {
            "images": taken.fake,
            "patches": f"{PER_IMAGE} of {PATCH}x{PATCH} from each image and level",
            "directions": REPEATS * DIRECTIONS,
            "scale": 1e3,
        }


class Distances(NamedTuple):
    """Sliced Wasserstein distances times 1000, as the paper reports them; none is below 0.

    Attributes:
      levels: the distance at each level by its size, as in a config, the finest first.
      average: the mean over the levels.
    """

    levels: dict[ImageSize, float]
    average: float


def describe(
    batches: Iterable[UInt8[np.ndarray, "_ h w c"]], name: str, *, seed: int = 0
) -> Described:
    """Cuts out the patches that `distance` compares, from images that are never all held at once.

    The pyramids go from full size to 16x16, or to 16 to 31 pixels on the shorter side; smaller
    images have one level, themselves.

    Args:
      batches: images in batches of any size, all of one height and width.
      name: the set's name. Two sets that are compared should have different names, and so patches
        at different places.
      seed: the seed of the patches' places.

    Returns:
      The normalised patches of each level, by its size.

    Raises:
      ValueError: images of this height and width have no such pyramid.
    """
    key, patches_of_batches, done = fold(jax.random.key(seed), name), [], 0
    for batch in rebatched(batches, BATCH):
        sizes = level_sizes(*batch.shape[1:3])
        patches_of_batches.append(_describe(jnp.asarray(batch), fold(key, done)))
        done += len(batch)
    levels = [np.concatenate(level) for level in zip(*patches_of_batches, strict=True)]
    return {size.field: normalise(level) for size, level in zip(sizes, levels, strict=True)}


def distance(a: Described, b: Described, *, seed: int = 0) -> Distances:
    """Computes the distance between two sets of the same number of images, level by level.

    The paper takes 16,384 images of each set, and fewer give larger distances: compare with the
    distance of reals to other reals.

    Args:
      a: the patches of one set, from `describe`.
      b: the patches of the other set.
      seed: the seed of the directions.
    """
    key, distances = jax.random.key(seed), {}
    for size, patches_of_a in a.items():
        level_key = fold(key, "directions", size_of(size).height)
        distances[size] = 1e3 * sliced_wasserstein(patches_of_a, b[size], level_key)
    return Distances(distances, float(np.mean(list(distances.values()))))


def laplacian_pyramid(images: Float[Array, "n h w c"]) -> list[Float[Array, "n _ _ c"]]:
    """Computes the Laplacian pyramid of images (Burt & Adelson 1983), with mirrored borders.

    The levels hold the details that each size adds, from full size down to twice the coarsest one,
    and then the images at the coarsest size. Their sum, each expanded to full size, is the images.
    """
    levels = []
    for _ in level_sizes(*images.shape[1:3])[1:]:
        coarser = reduce(images)
        levels.append(images - expand(coarser))
        images = coarser
    return [*levels, images]


def reduce(images: Float[Array, "n h w c"]) -> Float[Array, "n h/2 w/2 c"]:
    """Halves the sides of images: filters them and takes every second pixel."""
    return _filter(images)[:, ::2, ::2]


def expand(images: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Doubles the sides of images: puts zeros between pixels, filters, and multiplies by 4."""
    n, height, width, channels = images.shape
    apart = jnp.zeros((n, height, 2, width, 2, channels), images.dtype)
    apart = apart.at[:, :, 0, :, 0].set(images)
    return 4 * _filter(apart.reshape(n, 2 * height, 2 * width, channels))


def patches(
    level: Float[Array, "n h w c"], key: Key[Array, ""], per_image: int = PER_IMAGE
) -> Float[Array, "n per_image 7 7 c"]:
    """Cuts patches out of a level, at places drawn uniformly for each image.

    Args:
      level: the images at one level.
      key: the key of the places.
      per_image: the number of patches from each image.
    """
    n, height, width, channels = level.shape
    ends = jnp.array([[[height - PATCH + 1, width - PATCH + 1]]])
    corners = jax.random.randint(key, (n, per_image, 2), 0, ends)

    def cut(image, corner):
        return jax.lax.dynamic_slice(image, (*corner, 0), (PATCH, PATCH, channels))

    return jax.vmap(jax.vmap(cut, (None, 0)))(level, corners)


def normalise(patches: Float32[np.ndarray, "m 7 7 c"]) -> Float32[np.ndarray, "m 49*c"]:
    """Scales each channel to mean 0 and deviation 1 over all patches, and flattens the patches."""
    mean = patches.mean((0, 1, 2), dtype=np.float64)
    stddev = patches.std((0, 1, 2), dtype=np.float64)
    # A constant channel, which a collapsed generator may produce, becomes 0.
    stddev = np.where(stddev > 0, stddev, 1)
    # Patches are many, so they stay in float32.
    scaled = (patches - mean.astype(np.float32)) / stddev.astype(np.float32)
    return scaled.reshape(len(patches), -1)


def sliced_wasserstein(
    a: Float32[np.ndarray, "m d"],
    b: Float32[np.ndarray, "m d"],
    key: Key[Array, ""],
    directions: int = DIRECTIONS,
    repeats: int = REPEATS,
) -> float:
    """Computes the mean over random directions of the projections' Wasserstein-1 distance.

    This is the sliced distance of Rabin et al. 2011. In one dimension the Wasserstein-1 distance
    is the mean distance of the sorted points.

    Args:
      a: the points of one set.
      b: the points of the other set.
      key: the key of the directions, which are uniform on the sphere.
      directions: the number of directions that are taken at once.
      repeats: the number of times that `directions` are taken.
    """
    return float(
        np.mean([_sliced(a, b, fold(key, i), directions=directions) for i in range(repeats)])
    )


@partial(jax.jit, static_argnames="directions")
def _sliced(a, b, key, *, directions):
    """Computes the mean Wasserstein-1 distance over `directions` random directions."""
    to = jax.random.normal(key, (a.shape[1], directions))
    to = to / jnp.linalg.norm(to, axis=0, keepdims=True)
    # By default, products of float32 have less than full precision on GPUs and TPUs.
    a, b = (jnp.sort(jnp.matmul(x, to, precision="highest"), axis=0) for x in (a, b))
    return jnp.mean(jnp.abs(a - b))


@jax.jit
def _describe(images, key):
    """Returns the patches from each level of N images: float32 (PER_IMAGE * N, 7, 7, C)."""
    levels = laplacian_pyramid(images.astype(jnp.float32))
    cut = [patches(level, fold(key, level.shape[1])) for level in levels]
    return [each.reshape(-1, *each.shape[2:]) for each in cut]


def level_sizes(height: int, width: int) -> list[Size]:
    """Returns the size of each level of the pyramid of images, the finest first.

    Raises:
      ValueError: images of height x width pixels have no such pyramid.
    """
    shorter = min(height, width)
    count = max(0, (shorter // COARSEST).bit_length() - 1)
    if shorter < PATCH or height % 2**count or width % 2**count:
        raise ValueError(f"swd: images of {height}x{width} pixels; taken are {SIZES}")
    return [Size(height >> i, width >> i) for i in range(count + 1)]


def _filter(images: jax.Array) -> jax.Array:
    """Filters images by `TAPS` along both axes, with mirrored borders."""
    for axis in (1, 2):
        margin = [(2, 2) if i == axis else (0, 0) for i in range(4)]
        padded, size = jnp.pad(images, margin, mode="reflect"), images.shape[axis]
        images = jnp.zeros_like(images)
        for i, tap in enumerate(TAPS.tolist()):
            images += tap * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
    return images
