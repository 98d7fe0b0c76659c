"""Matrix products of kernel gradients on CPUs: sums over all axes of two arrays but their last.

Both functions take arrays (..., A) and (..., B) with the same leading axes and return (A, B) in
float32 or wider, since the products of several chunks are summed, which half precision should not
do. They differ in the library to which XLA hands the product.
"""

import jax
import jax.numpy as jnp
from jax import lax


def product_flattened(x: jax.Array, y: jax.Array) -> jax.Array:
    """Multiplies the arrays as two matrices, (..., A), (..., B) -> (A, B), by Eigen.

    XLA hands this form to Eigen, which reads x without a transposed copy.
    """
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    return _product(x, y, (0,))


def product_transposed(x: jax.Array, y: jax.Array) -> jax.Array:
    """Multiplies the arrays over several axes, (..., A), (..., B) -> (A, B), by YNNPACK.

    XLA first writes a transposed copy of x and then hands the product to YNNPACK, which is faster
    where x is narrow and y wide.
    """
    return _product(x, y, tuple(range(x.ndim - 1)))


def _product(x, y, axes):
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return lax.dot_general(x, y, ((axes, axes), ((), ())), preferred_element_type=wide)
