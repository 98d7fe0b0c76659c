"""Affine maps of the plane, and the resampling of images by them.

A map is a homogeneous 3x3 matrix that acts on (x, y, 1), with x to the right and y downwards, in
pixels from the image's centre. Images are resampled by the *inverse* map, from a pixel of the
output to the place in the input where its value is found. So inverses are what is composed, and the
first transform stands left.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32

from ganjax.augment.shapes import Images, Maps, PerSample

# The number of groups of a batch that CPUs sum in parallel; XLA on CPU sums the values of one group
# one after another.
GROUPS = 4

Positions = Float[Array, "n p"]


def matrix(rows: Sequence[Sequence[PerSample | float]]) -> Maps:
    """Returns the maps (N, 3, 3) with the given entries.

    Args:
      rows: the first two rows of the matrices, each of three entries: (N,) or one number for all.
    """
    flat = [jnp.asarray(entry, jnp.float32) for row in (*rows, (0.0, 0.0, 1.0)) for entry in row]
    shape = jnp.broadcast_shapes(*(entry.shape for entry in flat))
    return jnp.stack([jnp.broadcast_to(entry, shape) for entry in flat], -1).reshape(*shape, 3, 3)


def scale(x: PerSample, y: PerSample) -> Maps:
    """Returns maps that scale the axes by the factors x and y, with inverses of 1 / x and 1 / y."""
    return matrix(((x, 0.0, 0.0), (0.0, y, 0.0)))


def rotate(angle: PerSample) -> Maps:
    """Returns rotations by angles in radians, from x to y: clockwise on a screen."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return matrix(((cos, -sin, 0.0), (sin, cos, 0.0)))


def translate(x: PerSample, y: PerSample) -> Maps:
    """Returns translations by x pixels to the right and y pixels downwards."""
    return matrix(((1.0, 0.0, x), (0.0, 1.0, y)))


def compose(*maps: Float[Array, "_ d d"]) -> Float[Array, "_ d d"]:
    """Multiplies matrices (N, D, D) or (1, D, D) from left to right, in float32 on every device."""
    product = maps[0]
    for other in maps[1:]:
        product = jnp.matmul(product, other, precision="highest")
    return product


def positions(inverse: Maps, width: int, height: int) -> tuple[Positions, Positions]:
    """Computes where in the input the pixels of an output grid are found.

    Args:
      inverse: the maps from the grid to the input. Unlike elsewhere, coordinates count from the
        first pixel, not from the centre.
      width: the number of pixels in a row of the grid.
      height: the number of rows of the grid.

    Returns:
      The coordinates x and y in the input, each (N, height * width), row by row.
    """
    # A matrix product is computed once. XLA would compute a sum of products in each loop that reads
    # it, and other rounding there would give the floor and the fraction of different positions.
    x, y = (axis.reshape(-1) for axis in jnp.meshgrid(jnp.arange(width), jnp.arange(height)))
    grid = jnp.stack([x, y, jnp.ones_like(x)]).astype(jnp.float32)
    mapped = jnp.matmul(inverse[:, :2].reshape(-1, 3), grid, precision="highest")
    mapped = mapped.reshape(len(inverse), 2, -1)
    return mapped[:, 0], mapped[:, 1]


class Places(NamedTuple):
    """Places on an axis, each between a pixel and the next one.

    Attributes:
      pixel: (N, P), the index of the first of the two pixels.
      part: (N, P), the distance from the first pixel, in [0, 1] pixels.
    """

    pixel: Int32[Array, "n p"]
    part: Float[Array, "n p"]


def periodic(position: Positions, period: int) -> Places:
    """Finds places on an axis that holds one period of an image, and its first pixel once more.

    Args:
      position: (N, P) coordinates of any size in pixels, whose whole numbers are pixel centres.
      period: the length of the period in pixels.
    """
    # Floats divide faster than integers (docs/speed.md). The half is added since XLA multiplies by
    # 1 / period, and a quotient that is a whole number may be rounded down to below it.
    first = jnp.floor(position)
    pixel = (first - period * jnp.floor((first + 0.5) / period)).astype(jnp.int32)
    return Places(pixel, position - first)


def symmetric(position: Positions, size: int) -> Places:
    """Finds places on a padded axis that repeats its edge pixels, a | a b c d | d.

    Positions beyond the padded axis are reflected into it.

    Args:
      position: (N, P) coordinates of any size in pixels; 0 is the first pixel without the padding.
      size: the number of pixels without the padding.
    """
    pixel, part = periodic(position, 2 * size)
    reflected = pixel >= size
    pixel = jnp.where(reflected, 2 * size - 2 - pixel, pixel)
    return Places(pixel + 1, jnp.where(reflected, 1 - part, part))


def bilinear(images: Images, x: Places, y: Places) -> Float[Array, "n p c"]:
    """Looks up images by bilinear interpolation: (N, H, W, C) at P places -> (N, P, C).

    It is differentiable to any order with respect to the images, but not to the places.

    Args:
      images: the images.
      x: the places on the horizontal axis.
      y: the places on the vertical axis.
    """
    places = tuple(Places(pixel, part.astype(images.dtype)) for pixel, part in (x, y))
    return _look_up(images.shape[1:3], images, *places)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _look_up(size, images, x, y):
    height, width = size
    flat = images.reshape(len(images), height * width, -1)
    # Unsigned, since no index counts from the end.
    first = (y.pixel * width + x.pixel).astype(jnp.uint32)
    pick = jax.vmap(lambda image, index: image.at[index].get(mode="promise_in_bounds"))
    return sum(
        weight[..., None] * pick(flat, first + row * width + column)
        for (row, column), weight in _corners(x, y)
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _spread(size, values, x, y):
    """Computes the transpose of `_look_up`: (N, P, C) -> (N, H, W, C).

    It adds up squares of 2x2 pixels, which is faster on CPUs than four single pixels
    (docs/speed.md).
    """
    numbers = lax.ScatterDimensionNumbers((1, 2, 3), (), (0, 1))
    add = jax.vmap(partial(lax.scatter_add, dimension_numbers=numbers, mode="promise_in_bounds"))

    def spread(values, x, y):
        square = jnp.stack([weight[..., None] * values for _, weight in _corners(x, y)], 2)
        square = square.reshape(*values.shape[:2], 2, 2, -1)
        zeros = jnp.zeros((len(values), *size, values.shape[2]), values.dtype)
        return add(zeros, jnp.stack([y.pixel, x.pixel], -1), square)

    def in_groups(*arrays):
        n = math.gcd(len(values), GROUPS)
        groups = jax.tree.map(lambda array: array.reshape(n, -1, *array.shape[1:]), arrays)
        parts = [spread(*jax.tree.map(lambda array, i=i: array[i], groups)) for i in range(n)]
        return jnp.concatenate(parts)

    return lax.platform_dependent(values, x, y, cpu=in_groups, default=spread)


# Each is the other's transpose.
_look_up.defvjp(
    lambda size, images, x, y: (_look_up(size, images, x, y), (x, y)),
    lambda size, places, values: (_spread(size, values, *places), None, None),
)
_spread.defvjp(
    lambda size, values, x, y: (_spread(size, values, x, y), (x, y)),
    lambda size, places, images: (_look_up(size, images, *places), None, None),
)


def _corners(x: Places, y: Places):
    """Yields the (row, column) offset and weight (N, P) of the four pixels around the places."""
    for row, down in enumerate((1 - y.part, y.part)):
        for column, right in enumerate((1 - x.part, x.part)):
            yield (row, column), down * right


def resample(images: Images, inverse: Maps) -> Images:
    """Moves images by maps of the given inverses, with one bilinear lookup.

    Beyond its edges an image continues with its own reflection, d c b a | a b c d | d c b a.
    """
    height, width = images.shape[1:3]
    middle = jnp.array([(width - 1) / 2]), jnp.array([(height - 1) / 2])
    from_corner = compose(translate(*middle), inverse, translate(-middle[0], -middle[1]))
    x, y = positions(from_corner, width, height)
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return bilinear(padded, symmetric(x, width), symmetric(y, height)).reshape(images.shape)
