"""Pixels: uint8 where images are stored and shown, floats in a range where networks see them."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

# The values of black and of white, as the networks see them.
ValueRange = tuple[float, float]


def from_uint8(images: UInt8[Array, "*shape"], value_range: ValueRange) -> Float[Array, "*shape"]:
    """Maps black, 0, and white, 255, to the ends of `value_range`."""
    low, high = value_range
    return images / 255.0 * (high - low) + low


def to_uint8(images: Float[Array, "*shape"], value_range: ValueRange) -> UInt8[Array, "*shape"]:
    """Maps the ends of `value_range` to 0 and 255, rounded; values outside it are clipped."""
    low, high = value_range
    values = jnp.round((images.astype(jnp.float32) - low) / (high - low) * 255.0)
    return jnp.clip(values, 0, 255).astype(jnp.uint8)
