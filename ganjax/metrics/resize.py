"""Resizing as others' figures were made: two linear, separable maps, each one matrix an axis.

`jax.image.resize` is neither of them.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

# Of Pillow's bicubic kernel (Keys 1981, equation 4, with a = -1/2).
CUBIC = -0.5


def clean(images: jax.Array, size: int) -> jax.Array:
    """Bicubic with antialiasing, each channel apart in float32, clipped to [0, 255].

    What Pillow gives for images of its mode "F", and Parmar et al. 2022 (arXiv:2104.11222)
    call clean: nothing is rounded on the way.

    Args:
      images: float32 (N, H, W, C) in [0, 255].
      size: S, pixels a side.

    Returns:
      float32 (N, S, S, C).
    """
    return jnp.clip(_resize(images, size, bicubic_matrix), 0, 255)


def tf1_bilinear(images: jax.Array, size: int) -> jax.Array:
    """Bilinear without antialiasing, corner upon corner: TensorFlow 1's, as FID first had it.

    `tf.image.resize_bilinear(align_corners=False)`: output pixel i is read at i * H / S, not at
    (i + 1/2) * H / S - 1/2, so that the image is shifted by up to half a pixel.

    Args:
      images: float32 (N, H, W, C).
      size: S, pixels a side.

    Returns:
      float32 (N, S, S, C).
    """
    return _resize(images, size, bilinear_matrix)


@lru_cache(maxsize=64)
def bicubic_matrix(source: int, size: int) -> np.ndarray:
    """float32 (size, source): the weights of Pillow's bicubic filter; its rows add up to 1."""
    scale = source / size
    stretch = max(scale, 1.0)  # Shrinking widens the filter: that is the antialiasing.
    centre = (np.arange(size) + 0.5) * scale
    support = 2 * stretch
    first = np.maximum(np.trunc(centre - support + 0.5), 0).astype(int)
    last = np.minimum(np.trunc(centre + support + 0.5), source).astype(int)
    pixel = np.arange(source)
    inside = (pixel >= first[:, None]) & (pixel < last[:, None])
    weight = np.where(inside, _cubic((pixel - centre[:, None] + 0.5) / stretch), 0)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=64)
def bilinear_matrix(source: int, size: int) -> np.ndarray:
    """float32 (size, source): the weights of TensorFlow 1's bilinear resizing."""
    # In float32, as there: the fraction decides between neighbours.
    place = np.arange(size, dtype=np.float32) * np.float32(source / size)
    low = place.astype(int)
    high = np.minimum(low + 1, source - 1)
    fraction = place - low.astype(np.float32)
    matrix = np.zeros((size, source), np.float32)
    rows = np.arange(size)
    np.add.at(matrix, (rows, low), 1 - fraction)
    np.add.at(matrix, (rows, high), fraction)
    return matrix


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _resize(images: jax.Array, size: int, matrix) -> jax.Array:
    _, height, width, _ = images.shape
    # Accelerators would round the factors to 10 bits.
    highest = jax.lax.Precision.HIGHEST
    if width != size:
        images = jnp.einsum("nhwc,sw->nhsc", images, matrix(width, size), precision=highest)
    if height != size:
        images = jnp.einsum("nhwc,sh->nswc", images, matrix(height, size), precision=highest)
    return images
