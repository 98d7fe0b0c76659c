"""The values of pixels: uint8 in files and pictures, floats in a range of values in networks."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

# The values of black and of white in the networks' images.
ValueRange = tuple[float, float]


def from_uint8(images: UInt8[Array, "*shape"], value_range: ValueRange) -> Float[Array, "*shape"]:
    """Maps pixels of any shape linearly from [0, 255] to `value_range`."""
    low, high = value_range
    return images / 255.0 * (high - low) + low


def to_uint8(images: Float[Array, "*shape"], value_range: ValueRange) -> UInt8[Array, "*shape"]:
    """Maps pixels of any shape linearly from `value_range` to [0, 255], rounded and clipped."""
    low, high = value_range
    values = jnp.round((images.astype(jnp.float32) - low) / (high - low) * 255.0)
    return jnp.clip(values, 0, 255).astype(jnp.uint8)
