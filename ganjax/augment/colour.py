"""Colour transforms, which are composed into one 4x4 matrix that acts on (red, green, blue, 1).

Karras et al. 2020 (arXiv:2006.06676), appendix B, algorithm 1, lines 48 to 68. Maps of colours are
matrices (N, 4, 4) for values in [-1, 1]; in a product, the last transform stands left.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ganjax.augment.affine import compose
from ganjax.augment.gate import differs, gated, lognormal, only_where, uniform
from ganjax.augment.shapes import ColourMaps, Images, PerSample, Probabilities, RandomKey
from ganjax.engine.pixels import ValueRange
from ganjax.keys import fold

# The standard deviations of a shift, and of log2 of the two factors.
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0
TRANSFORMS = ("brightness", "contrast", "luma_flip", "hue", "saturation")
# The axis of greys, and the projection onto it.
LUMA = np.array([1.0, 1.0, 1.0, 0.0], np.float32) / np.float32(3**0.5)
ONTO_LUMA = np.outer(LUMA, LUMA)
# Any, since NumPy says that its sum with a JAX array is an array of its own.
EYE: Any = np.eye(4, dtype=np.float32)
# The vector product with LUMA: the generator of rotations about it.
AROUND_LUMA = np.zeros((4, 4), np.float32)
AROUND_LUMA[:3, :3] = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5


def matrix(key: RandomKey, n: int, p: Probabilities) -> ColourMaps:
    """Draws n maps that change brightness, contrast, luma, hue and saturation, in this order.

    A luma flip happens to half of the images for which it is drawn.

    Args:
      key: the random key of this family.
      n: the number of samples.
      p: the probability of each of TRANSFORMS, for each sample on its own.

    Returns:
      The maps (n, 4, 4).
    """
    keys = {
        name: fold(key, name) for name in ("brightness", "contrast", "luma_flip", "hue", "saturate")
    }
    value_keys = {name: fold(keys[name], "value") for name in keys}
    shifts = BRIGHTNESS * jax.random.normal(value_keys["brightness"], (n,), jnp.float32)
    flips = jax.random.randint(value_keys["luma_flip"], (n,), 0, 2).astype(jnp.float32)
    contrasts = lognormal(value_keys["contrast"], n, CONTRAST)
    angles = uniform(value_keys["hue"], n, -jnp.pi, jnp.pi)
    saturations = lognormal(value_keys["saturate"], n, SATURATION)
    return compose(
        saturation(gated(keys["saturate"], p["saturation"], saturations, 1.0)),
        hue(gated(keys["hue"], p["hue"], angles, 0.0)),
        luma_flip(gated(keys["luma_flip"], p["luma_flip"], flips, 0.0)),
        contrast(gated(keys["contrast"], p["contrast"], contrasts, 1.0)),
        brightness(gated(keys["brightness"], p["brightness"], shifts, 0.0)),
    )


def brightness(shift: PerSample) -> ColourMaps:
    """Returns maps that add `shift` (n,) to all channels."""
    column = jnp.array([[0, 0, 0, 1]] * 3 + [[0] * 4], jnp.float32)
    return EYE[None] + _expanded(shift) * column[None]


def contrast(factor: PerSample) -> ColourMaps:
    """Returns maps that multiply all channels by `factor` (n,)."""
    colours = np.diag([1, 1, 1, 0]).astype(np.float32)
    return EYE[None] + (_expanded(factor) - 1) * colours[None]


def luma_flip(flip: PerSample) -> ColourMaps:
    """Returns maps that exchange black and white where `flip` (n,) is 1; 0 changes nothing."""
    return EYE[None] - 2 * _expanded(flip) * ONTO_LUMA[None]


def hue(angle: PerSample) -> ColourMaps:
    """Returns rotations about the axis of greys by `angle` (n,) in radians (Rodrigues' formula)."""
    across = (AROUND_LUMA @ AROUND_LUMA)[None]
    return (
        EYE[None]
        + jnp.sin(_expanded(angle)) * AROUND_LUMA[None]
        + (1 - jnp.cos(_expanded(angle))) * across
    )


def saturation(factor: PerSample) -> ColourMaps:
    """Returns maps that multiply the distance from the axis of greys by `factor` (n,)."""
    across = EYE - ONTO_LUMA
    across[3, 3] = 0
    return EYE[None] + (_expanded(factor) - 1) * across[None]


def apply(images: Images, matrix: ColourMaps, value_range: ValueRange) -> Images:
    """Maps the colours of images; those whose map is the identity stay bit for bit as they are.

    Args:
      images: (N, H, W, C) of 3 channels, or of 1: a grey then becomes the mean of its mapped
        colour.
      matrix: (N, 4, 4), the maps of colours in [-1, 1].
      value_range: the values of black and of white in `images`.

    Returns:
      The mapped images, in `value_range` and beyond.
    """
    middle, half = sum(value_range) / 2, (value_range[1] - value_range[0]) / 2
    linear, shift = matrix[:, :3, :3], half * matrix[:, :3, 3]
    if images.shape[-1] == 1:
        linear = linear.sum((1, 2), keepdims=True) / 3
        shift = shift.mean(1, keepdims=True)
    # Written out, since a 3x3 product is too small for a matrix unit.
    mapped = sum(
        linear[:, None, None, :, j] * (images[..., j : j + 1] - middle)
        for j in range(images.shape[-1])
    )
    mapped = mapped + shift[:, None, None] + middle
    return only_where(differs(matrix, EYE), mapped.astype(images.dtype), images)


def _expanded(value: PerSample) -> Float[Array, "n 1 1"]:
    return value[:, None, None]
