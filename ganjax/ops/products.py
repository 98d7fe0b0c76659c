"""The products of kernel gradients, on CPUs: sums over all axes but the last of two arrays,
(..., A), (..., B) -> (A, B), in float32 at least.

Pieces of a batch are summed, which half precision should not do.
"""

import jax
import jax.numpy as jnp
from jax import lax


def read_in_columns(x: jax.Array, y: jax.Array) -> jax.Array:
    """Of x as it lies: XLA gives such a product of two matrices to Eigen."""
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    return _product(x, y, (0,))


def transposed_first(x: jax.Array, y: jax.Array) -> jax.Array:
    """XLA writes x transposed if the sum is over several axes. Then it gives the product to
    YNNPACK: the faster way where x is narrow and y wide.
    """
    return _product(x, y, tuple(range(x.ndim - 1)))


def _product(x, y, axes):
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return lax.dot_general(x, y, ((axes, axes), ((), ())), preferred_element_type=wide)
