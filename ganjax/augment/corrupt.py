"""Corruption: additive noise and cutout.

Karras et al. 2020 (arXiv:2006.06676), appendix B, "additional corruptions".
"""

import jax
import jax.numpy as jnp

from ganjax.augment.gate import Probabilities, differs, gated, only_where
from ganjax.keys import fold

# Standard deviation of the noise's standard deviation, of values in [-1, 1].
NOISE = 0.1
# Of the image's size.
CUTOUT = 0.5
TRANSFORMS = ("noise", "cutout")


def noise(
    images: jax.Array, key: jax.Array, p: Probabilities, value_range: tuple[float, float]
) -> jax.Array:
    """images (N, H, W, C) + N(0, sigma^2) in each value, sigma = |N(0, 0.1)| for a sample.

    With probability p each. Sigma is of values in [-1, 1].
    """
    key, half = fold(key, "noise"), (value_range[1] - value_range[0]) / 2
    sigma = jnp.abs(NOISE * jax.random.normal(fold(key, "sigma"), images.shape[:1], jnp.float32))
    sigma = gated(key, p["noise"], sigma, 0.0)
    values = jax.random.normal(fold(key, "value"), images.shape, images.dtype)
    noisy = images + half * sigma[:, None, None, None].astype(images.dtype) * values
    return only_where(differs(sigma, 0.0), noisy, images)


def cutout(
    images: jax.Array, key: jax.Array, p: Probabilities, value_range: tuple[float, float]
) -> jax.Array:
    """images (N, H, W, C) with a rectangle of half their size in mid-grey.

    With probability p each; centres are uniform over the image.
    """
    key = fold(key, "cutout")
    centre = jax.random.uniform(fold(key, "centre"), (images.shape[0], 2), jnp.float32)
    # Far away is nowhere.
    centre = gated(key, p["cutout"], centre, [-9.0, -9.0])
    return cut(images, centre, CUTOUT, sum(value_range) / 2)


def cut(images: jax.Array, centre: jax.Array, size: float, value: float) -> jax.Array:
    """images (N, H, W, C) with `value` in a rectangle.

    Args:
      images: float.
      centre: (N, 2), (x, y) from 0 to 1 over the image.
      size: of the rectangle, as a share of the image's.
      value: what it is filled with.
    """

    def inside(at, extent):
        first, last = (jnp.round((at + side * size / 2) * extent)[:, None] for side in (-1, 1))
        pixel = jnp.arange(extent, dtype=jnp.float32)[None]
        return (pixel >= first) & (pixel < last)

    height, width = images.shape[1:3]
    rows, columns = inside(centre[:, 1], height), inside(centre[:, 0], width)
    inside_both = (rows[:, :, None] & columns[:, None, :])[..., None]
    return jnp.where(inside_both, jnp.asarray(value, images.dtype), images)
