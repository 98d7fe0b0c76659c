"""The ways of resizing images by which published figures were made.

All are separable linear maps, with one matrix for each axis; `jax.image.resize` is none of them
where images shrink.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32

# The coefficient a of Pillow's bicubic kernel (Keys 1981, equation 4).
CUBIC = -0.5


def clean(images: Float32[Array, "n h w c"], size: int) -> Float32[Array, "n {size} {size} c"]:
    """Resizes images by bicubic interpolation with antialiasing, and clips them to [0, 255].

    It equals Pillow's for each channel as an image of mode "F", which Parmar et al. 2022
    (arXiv:2104.11222) call clean: nothing is rounded on the way.

    Args:
      images: images in [0, 255].
      size: the side of the result in pixels.
    """
    return jnp.clip(_resize(images, size, bicubic_matrix), 0, 255)


def tf1_bilinear(
    images: Float32[Array, "n h w c"], size: int
) -> Float32[Array, "n {size} {size} c"]:
    """Resizes images as TensorFlow 1 did for the first FIDs: bilinearly, without antialiasing.

    `tf.image.resize_bilinear(align_corners=False)` reads output pixel i at i * H / S, not at
    (i + 1/2) * H / S - 1/2, so the image is shifted by up to half a pixel.

    Args:
      images: images in any range.
      size: S, the side of the result in pixels.
    """
    return _resize(images, size, bilinear_matrix)


def tf2_bilinear(
    images: Float32[Array, "n h w c"], size: int
) -> Float32[Array, "n {size} {size} c"]:
    """Resizes images as TensorFlow 2 and Keras do: bilinearly, without antialiasing.

    `tf.image.resize` reads output pixel i at (i + 1/2) * H / size - 1/2, where H is the height of
    the input, and repeats the pixels at the edges.

    Args:
      images: images in any range.
      size: the height and width of the result in pixels.
    """
    return _resize(images, size, half_pixel_matrix)


@lru_cache(maxsize=64)
def bicubic_matrix(source: int, size: int) -> Float32[np.ndarray, "{size} {source}"]:
    """Returns the matrix of Pillow's bicubic resizing of `source` pixels; its rows sum to 1."""
    scale = source / size
    stretch = max(scale, 1.0)  # To shrink, the filter is widened, which avoids aliasing.
    centre = (np.arange(size) + 0.5) * scale
    support = 2 * stretch
    first = np.maximum(np.trunc(centre - support + 0.5), 0).astype(int)
    last = np.minimum(np.trunc(centre + support + 0.5), source).astype(int)
    pixel = np.arange(source)
    inside = (pixel >= first[:, None]) & (pixel < last[:, None])
    weight = np.where(inside, _cubic((pixel - centre[:, None] + 0.5) / stretch), 0)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=64)
def bilinear_matrix(source: int, size: int) -> Float32[np.ndarray, "{size} {source}"]:
    """Returns the matrix of TensorFlow 1's bilinear resizing of `source` pixels."""
    # In float32, as in TensorFlow, since rounding may choose another pair of neighbours.
    return _between(np.arange(size, dtype=np.float32) * np.float32(source / size), source)


@lru_cache(maxsize=64)
def half_pixel_matrix(source: int, size: int) -> Float32[np.ndarray, "{size} {source}"]:
    """Returns the matrix of TensorFlow 2's bilinear resizing of `source` pixels."""
    centres = np.arange(size, dtype=np.float32) + np.float32(0.5)
    place = centres * np.float32(source / size) - np.float32(0.5)
    return _between(np.clip(place, 0, source - 1), source)


def _between(place: np.ndarray, source: int) -> np.ndarray:
    """Returns the matrix that reads `source` pixels at places between two of them."""
    low = place.astype(int)
    high = np.minimum(low + 1, source - 1)
    fraction = place - low.astype(np.float32)
    matrix = np.zeros((len(place), source), np.float32)
    rows = np.arange(len(place))
    np.add.at(matrix, (rows, low), 1 - fraction)
    np.add.at(matrix, (rows, high), fraction)
    return matrix


def _cubic(x: np.ndarray) -> np.ndarray:
    """Evaluates the bicubic kernel (Keys 1981, equation 4)."""
    x = np.abs(x)
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _resize(images: jax.Array, size: int, matrix) -> jax.Array:
    """Resizes both axes by the matrices that `matrix` returns for their sizes."""
    _, height, width, _ = images.shape
    # By default accelerators round the factors to 10 bits.
    highest = jax.lax.Precision.HIGHEST
    if width != size:
        images = jnp.einsum("nhwc,sw->nhsc", images, matrix(width, size), precision=highest)
    if height != size:
        images = jnp.einsum("nhwc,sh->nswc", images, matrix(height, size), precision=highest)
    return images
