"""Affine maps of the plane, and images looked up through them.

A map is the homogeneous 3x3 matrix of (x, y, 1): x to the right, y downwards, in pixels, from
the image's centre. Images are resampled by the *inverse*, which tells for a pixel of the output
where in the input it comes from; so maps are composed as inverses, the first transform left.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Wrap = Callable[[jax.Array, int], tuple[jax.Array, jax.Array]]


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


def transform(inverse: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The points x, y (P,) under (N, 3, 3) -> x, y (N, P)."""

    def row(i):
        a, b, c = (inverse[:, i, j, None] for j in range(3))
        return a * x[None] + b * y[None] + c

    return row(0), row(1)


def periodic(position: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Float pixel positions of a periodic axis -> (index, index of the next pixel)."""
    # In floats, whose division is several times faster than that of integers.
    first = jnp.floor(position)
    first = (first - size * jnp.floor(first / size)).astype(jnp.int32)
    return first, jnp.where(first + 1 == size, 0, first + 1)


def symmetric(position: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The same on an axis that its edges reflect: d c b a | a b c d | d c b a."""
    fold = lambda i: jnp.where(i < size, i, 2 * size - 1 - i)  # noqa: E731
    return tuple(fold(i) for i in periodic(position, 2 * size))


def bilinear(images: jax.Array, x: jax.Array, y: jax.Array, wrap: Wrap) -> jax.Array:
    """images (N, H, W, C) at pixel positions x, y (N, P) -> (N, P, C).

    Pixel centres are the whole numbers. The gradient goes to the images alone.

    Args:
      images: float.
      x: from the left.
      y: from the top.
      wrap: what stands beyond the edges: `periodic` or `symmetric`.
    """
    n, height, width, channels = images.shape
    flat = images.reshape(n, height * width, channels)
    pick = jax.vmap(lambda image, index: image[index])
    right, below = ((at - jnp.floor(at)).astype(images.dtype) for at in (x, y))
    columns = tuple(zip(wrap(x, width), (1 - right, right), strict=True))
    rows = zip(wrap(y, height), (1 - below, below), strict=True)
    return sum(
        (row_weight * weight)[..., None] * pick(flat, row * width + column)
        for row, row_weight in rows
        for column, weight in columns
    )


def resample(images: jax.Array, inverse: jax.Array) -> jax.Array:
    """images (N, H, W, C) under maps of the given inverses (N, 3, 3): one bilinear lookup.

    Beyond its edges an image is its own reflection, d c b a | a b c d | d c b a.
    """
    height, width = images.shape[1:3]
    middle = (width - 1) / 2, (height - 1) / 2
    x, y = (jnp.arange(size, dtype=jnp.float32) for size in (width, height))
    x, y = (grid.reshape(-1) for grid in jnp.meshgrid(x - middle[0], y - middle[1]))
    x, y = transform(inverse, x, y)
    return bilinear(images, x + middle[0], y + middle[1], symmetric).reshape(images.shape)
