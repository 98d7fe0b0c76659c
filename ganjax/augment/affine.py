"""Affine maps of the plane, and images looked up through them.

A map is the homogeneous 3x3 matrix of (x, y, 1): x to the right, y downwards, in pixels, from
the image's centre. Images are resampled by the *inverse*, which tells for a pixel of the output
where in the input it comes from; so maps are composed as inverses, the first transform left.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Of a batch: XLA's CPU adds up one group's values one after another, but several groups at a time.
GROUPS = 4


def matrix(rows) -> jax.Array:
    """Two rows of three entries, each (N,) or a number -> (N, 3, 3)."""
    flat = [jnp.asarray(entry, jnp.float32) for row in (*rows, (0.0, 0.0, 1.0)) for entry in row]
    shape = jnp.broadcast_shapes(*(entry.shape for entry in flat))
    return jnp.stack([jnp.broadcast_to(entry, shape) for entry in flat], -1).reshape(*shape, 3, 3)


def scale(x: jax.Array, y: jax.Array) -> jax.Array:
    """(N,), (N,) -> (N, 3, 3): factors of both axes; its inverse is that of 1 / x and 1 / y."""
    return matrix(((x, 0.0, 0.0), (0.0, y, 0.0)))


def rotate(angle: jax.Array) -> jax.Array:
    """(N,) -> (N, 3, 3): by an angle in radians, from x to y (clockwise on a screen)."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return matrix(((cos, -sin, 0.0), (sin, cos, 0.0)))


def translate(x: jax.Array, y: jax.Array) -> jax.Array:
    """(N,), (N,) -> (N, 3, 3): by so many pixels."""
    return matrix(((1.0, 0.0, x), (0.0, 1.0, y)))


def compose(*maps: jax.Array) -> jax.Array:
    """The product of (N, 3, 3) or (N, 4, 4) matrices, in full precision on every device."""
    product = maps[0]
    for other in maps[1:]:
        product = jnp.matmul(product, other, precision="highest")
    return product


def positions(inverse: jax.Array, width: int, height: int) -> tuple[jax.Array, jax.Array]:
    """The pixels of a grid, row by row, under (N, 3, 3) -> x, y, each (N, height * width).

    The grid's first pixel is (0, 0): unlike elsewhere, not its centre.
    """
    # A matrix product, since XLA computes one once. A sum of products it computes anew in each loop
    # that reads it, perhaps rounded otherwise: then floor and fraction would be of two places.
    x, y = (axis.reshape(-1) for axis in jnp.meshgrid(jnp.arange(width), jnp.arange(height)))
    grid = jnp.stack([x, y, jnp.ones_like(x)]).astype(jnp.float32)
    places = jnp.matmul(inverse[:, :2].reshape(-1, 3), grid, precision="highest")
    places = places.reshape(len(inverse), 2, -1)
    return places[:, 0], places[:, 1]


class Places(NamedTuple):
    """Places on an axis, each between a pixel and the next.

    Attributes:
      pixel: int32 (N, P), the first of the two.
      part: (N, P), of the way to the second, in [0, 1].
    """

    pixel: jax.Array
    part: jax.Array


def periodic(position: jax.Array, period: int) -> Places:
    """On an axis of one period and its first pixel once more.

    Args:
      position: (N, P), anywhere; pixel centres are the whole numbers.
      period: in pixels.
    """
    # In floats, whose division is several times faster than that of integers; and of a half more
    # than whole numbers: XLA multiplies by 1 / period, and a whole quotient may come out below.
    first = jnp.floor(position)
    pixel = (first - period * jnp.floor((first + 0.5) / period)).astype(jnp.int32)
    return Places(pixel, position - first)


def symmetric(position: jax.Array, size: int) -> Places:
    """On an axis with its edges twice, a | a b c d | d: beyond them it is its reflection.

    Args:
      position: (N, P), anywhere; 0 is the first of the pixels without the margin.
      size: of these pixels.
    """
    pixel, part = periodic(position, 2 * size)
    reflected = pixel >= size
    pixel = jnp.where(reflected, 2 * size - 2 - pixel, pixel)
    return Places(pixel + 1, jnp.where(reflected, 1 - part, part))


def bilinear(images: jax.Array, x: Places, y: Places) -> jax.Array:
    """images (N, H, W, C) at places of their columns and rows -> (N, P, C).

    The gradient goes to the images alone; of any order.
    """
    places = tuple(Places(pixel, part.astype(images.dtype)) for pixel, part in (x, y))
    return _look(images.shape[1:3], images, *places)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _look(size, images, x, y):
    height, width = size
    flat = images.reshape(len(images), height * width, -1)
    # Without signs: no index is from the end.
    first = (y.pixel * width + x.pixel).astype(jnp.uint32)
    pick = jax.vmap(lambda image, index: image.at[index].get(mode="promise_in_bounds"))
    return sum(
        weight[..., None] * pick(flat, first + row * width + column)
        for (row, column), weight in _corners(x, y)
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _spread(size, values, x, y):
    """The transpose of `_look`: (N, P, C) -> (N, H, W, C).

    Adds up squares of 2x2 pixels, which XLA's CPU does in half the time of four pixels.
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
        made = [spread(*jax.tree.map(lambda array, i=i: array[i], groups)) for i in range(n)]
        return jnp.concatenate(made)

    return lax.platform_dependent(values, x, y, cpu=in_groups, default=spread)


# Each is the other's transpose.
_look.defvjp(
    lambda size, images, x, y: (_look(size, images, x, y), (x, y)),
    lambda size, places, values: (_spread(size, values, *places), None, None),
)
_spread.defvjp(
    lambda size, values, x, y: (_spread(size, values, x, y), (x, y)),
    lambda size, places, images: (_look(size, images, *places), None, None),
)


def _corners(x: Places, y: Places):
    """((row, column), weight (N, P)) of the four pixels round each place."""
    for row, down in enumerate((1 - y.part, y.part)):
        for column, right in enumerate((1 - x.part, x.part)):
            yield (row, column), down * right


def resample(images: jax.Array, inverse: jax.Array) -> jax.Array:
    """images (N, H, W, C) under maps of the given inverses (N, 3, 3): one bilinear lookup.

    Beyond its edges an image is its own reflection, d c b a | a b c d | d c b a.
    """
    height, width = images.shape[1:3]
    middle = jnp.array([(width - 1) / 2]), jnp.array([(height - 1) / 2])
    there = compose(translate(*middle), inverse, translate(-middle[0], -middle[1]))
    x, y = positions(there, width, height)
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return bilinear(padded, symmetric(x, width), symmetric(y, height)).reshape(images.shape)
