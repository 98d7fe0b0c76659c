"""Corruption, the family of additive noise and cutout.

Karras et al. 2020 (arXiv:2006.06676), appendix B, "additional corruptions".
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ganjax.augment.gate import differs, gated, only_where
from ganjax.augment.shapes import Images, Probabilities, Probability, RandomKey
from ganjax.engine.pixels import ValueRange
from ganjax.keys import fold

# Each image's noise has the standard deviation |N(0, NOISE^2)|, for values in [-1, 1].
NOISE = 0.1
# The height and width of the rectangle, as a share of the image's.
CUTOUT = 0.5
TRANSFORMS = ("noise", "cutout")


def noise(images: Images, key: RandomKey, p: Probabilities, value_range: ValueRange) -> Images:
    """Adds noise N(0, sigma^2) to each value of an image, with probability p["noise"].

    For values in [-1, 1] sigma is |N(0, 0.1^2)|, drawn for each image.

    Args:
      images: (N, H, W, C).
      key: the random key of this family.
      p: the probability of each of TRANSFORMS.
      value_range: the values of black and of white in the images.
    """
    key, half = fold(key, "noise"), (value_range[1] - value_range[0]) / 2
    sigma = jnp.abs(NOISE * jax.random.normal(fold(key, "sigma"), images.shape[:1], jnp.float32))
    sigma = gated(key, p["noise"], sigma, 0.0)
    values = jax.random.normal(fold(key, "value"), images.shape, images.dtype)
    noisy = images + half * sigma[:, None, None, None].astype(images.dtype) * values
    return only_where(differs(sigma, 0.0), noisy, images)


def cutout(images: Images, key: RandomKey, p: Probabilities, value_range: ValueRange) -> Images:
    """Fills a rectangle of half an image's size with mid-grey, with probability p["cutout"].

    The arguments are those of `noise`.
    """
    return cut_anywhere(images, fold(key, "cutout"), p["cutout"], CUTOUT, sum(value_range) / 2)


def cut_anywhere(
    images: Images, key: RandomKey, p: Probability, size: float, value: float
) -> Images:
    """Fills a rectangle of each image with a value, with probability p.

    The rectangle's centre is uniform over the image.

    Args:
      images: (N, H, W, C).
      key: the random key of the gates and of the centres.
      p: the probability for each image.
      size: the height and width of the rectangle, as a share of the image's.
      value: the value that fills the rectangle.
    """
    centre = jax.random.uniform(fold(key, "centre"), (images.shape[0], 2), jnp.float32)
    outside = [-9.0, -9.0]
    return cut(images, gated(key, p, centre, outside), size, value)


def cut(images: Images, centre: Float[Array, "n 2"], size: float, value: float) -> Images:
    """Fills a rectangle of each image with a value.

    Args:
      images: (N, H, W, C).
      centre: (N, 2), the rectangles' centres (x, y), which run from 0 to 1 over the image.
      size: the height and width of the rectangle, as a share of the image's.
      value: the value that fills the rectangle.
    """

    def inside(at, extent):
        first, last = (jnp.round((at + side * size / 2) * extent)[:, None] for side in (-1, 1))
        pixel = jnp.arange(extent, dtype=jnp.float32)[None]
        return (pixel >= first) & (pixel < last)

    height, width = images.shape[1:3]
    rows, columns = inside(centre[:, 1], height), inside(centre[:, 0], width)
    inside_both = (rows[:, :, None] & columns[:, None, :])[..., None]
    return jnp.where(inside_both, jnp.asarray(value, images.dtype), images)
