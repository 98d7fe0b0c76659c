"""Colour transforms, composed to one 4x4 matrix of (red, green, blue, 1).

Karras et al. 2020 (arXiv:2006.06676), appendix B, algorithm 1, lines 48 to 68, for values in
[-1, 1]. A map of colours is (N, 4, 4); the last transform stands left.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.augment.affine import compose
from ganjax.augment.gate import (
    Probabilities,
    differs,
    gated,
    lognormal,
    only_where,
    uniform,
)
from ganjax.keys import fold

# Standard deviations: of a shift, and of log2 of factors.
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0
TRANSFORMS = ("brightness", "contrast", "luma_flip", "hue", "saturation")
# The axis of greys, and the projection onto it.
LUMA = np.array([1.0, 1.0, 1.0, 0.0], np.float32) / np.float32(3**0.5)
ONTO_LUMA = np.outer(LUMA, LUMA)
EYE = np.eye(4, dtype=np.float32)
# The vector product with LUMA: the generator of rotations about it.
AROUND_LUMA = np.zeros((4, 4), np.float32)
AROUND_LUMA[:3, :3] = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5


def matrix(key: jax.Array, n: int, p: Probabilities) -> jax.Array:
    """Brightness, contrast, luma flip, hue, saturation, in turn -> (n, 4, 4).

    Each of each sample with probability p, the luma flip being one in half of those.
    """
    keys = {
        name: fold(key, name) for name in ("brightness", "contrast", "luma_flip", "hue", "saturate")
    }
    draws = {name: fold(one, "value") for name, one in keys.items()}
    shift = BRIGHTNESS * jax.random.normal(draws["brightness"], (n,), jnp.float32)
    flips = jax.random.randint(draws["luma_flip"], (n,), 0, 2).astype(jnp.float32)
    factors = lognormal(draws["contrast"], n, CONTRAST)
    around = uniform(draws["hue"], n, -jnp.pi, jnp.pi)
    away = lognormal(draws["saturate"], n, SATURATION)
    return compose(
        saturation(gated(keys["saturate"], p["saturation"], away, 1.0)),
        hue(gated(keys["hue"], p["hue"], around, 0.0)),
        luma_flip(gated(keys["luma_flip"], p["luma_flip"], flips, 0.0)),
        contrast(gated(keys["contrast"], p["contrast"], factors, 1.0)),
        brightness(gated(keys["brightness"], p["brightness"], shift, 0.0)),
    )


def brightness(shift: jax.Array) -> jax.Array:
    """(N,) -> (N, 4, 4): adds it to all channels."""
    column = jnp.array([[0, 0, 0, 1]] * 3 + [[0] * 4], jnp.float32)
    return EYE[None] + _each(shift) * column[None]


def contrast(factor: jax.Array) -> jax.Array:
    """(N,) -> (N, 4, 4): multiplies all channels by it."""
    colours = np.diag([1, 1, 1, 0]).astype(np.float32)
    return EYE[None] + (_each(factor) - 1) * colours[None]


def luma_flip(flip: jax.Array) -> jax.Array:
    """0 or 1 (N,) -> (N, 4, 4): the reflection that exchanges black and white."""
    return EYE[None] - 2 * _each(flip) * ONTO_LUMA[None]


def hue(angle: jax.Array) -> jax.Array:
    """Radians (N,) -> (N, 4, 4): the rotation about the axis of greys (Rodrigues' formula)."""
    across = (AROUND_LUMA @ AROUND_LUMA)[None]
    return (
        EYE[None] + jnp.sin(_each(angle)) * AROUND_LUMA[None] + (1 - jnp.cos(_each(angle))) * across
    )


def saturation(factor: jax.Array) -> jax.Array:
    """(N,) -> (N, 4, 4): multiplies the distance from the axis of greys by it."""
    across = EYE - ONTO_LUMA
    across[3, 3] = 0
    return EYE[None] + (_each(factor) - 1) * across[None]


def apply(images: jax.Array, matrix: jax.Array, value_range: tuple[float, float]) -> jax.Array:
    """images (N, H, W, C) with colours mapped by (N, 4, 4).

    Of grey images (C = 1) the mapped colour's mean. Images whose map is the identity come
    out bit for bit.

    Args:
      images: of 1 or 3 channels.
      matrix: of colours in [-1, 1].
      value_range: black and white in `images`.
    """
    middle, half = sum(value_range) / 2, (value_range[1] - value_range[0]) / 2
    linear, shift = matrix[:, :3, :3], half * matrix[:, :3, 3]
    if images.shape[-1] == 1:
        linear = linear.sum((1, 2), keepdims=True) / 3
        shift = shift.mean(1, keepdims=True)
    # Written out: a product of 3x3 is too small for a matrix unit.
    mapped = sum(
        linear[:, None, None, :, j] * (images[..., j : j + 1] - middle)
        for j in range(images.shape[-1])
    )
    mapped = mapped + shift[:, None, None] + middle
    return only_where(differs(matrix, EYE), mapped.astype(images.dtype), images)


def _each(value: jax.Array) -> jax.Array:
    return value[:, None, None]
