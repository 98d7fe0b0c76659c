"""Between the levels of images, uint8, and the range in which networks see them."""

import jax
import jax.numpy as jnp

# Black and white, as the networks see them.
Range = tuple[float, float]


def from_uint8(images: jax.Array, value_range: Range) -> jax.Array:
    """uint8 levels, black 0 and white 255 -> float32 images in `value_range`."""
    low, high = value_range
    return images / 255.0 * (high - low) + low


def to_uint8(images: jax.Array, value_range: Range) -> jax.Array:
    """Images in `value_range` -> uint8 levels, rounded; what lies outside is clipped."""
    low, high = value_range
    levels = jnp.round((images.astype(jnp.float32) - low) / (high - low) * 255.0)
    return jnp.clip(levels, 0, 255).astype(jnp.uint8)
