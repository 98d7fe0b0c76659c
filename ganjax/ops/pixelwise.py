"""Computes convolutions of one pixel's window on CPUs as matrix products of all pixels.

XLA hands a product to its libraries in a faster form than a convolution (docs/speed.md).
"""

import jax
from jax import lax

from ganjax.ops.geometry import Geometry
from ganjax.ops.products import product_flattened


def fits(geometry: Geometry) -> bool:
    """Returns whether the output has the input's pixels, and all channels are one group."""
    unpadded = geometry.padding == ((0, 0), (0, 0))
    return geometry.window == geometry.strides == (1, 1) and unpadded and geometry.groups == 1


def conv(x: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the forward map: (N, H, W, I), (1, 1, I, O) -> (N, H, W, O)."""
    del geometry
    return _product(x, k[0, 0])


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H, W, O), (1, 1, I, O) -> (N, H, W, I)."""
    del geometry
    return _product(g, k[0, 0].T)


def kernel_grad(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the kernel gradient: (N, H, W, I), (N, H, W, O) -> (1, 1, I, O)."""
    del geometry
    # The narrower array comes first, which is up to four times as fast. Without the barrier XLA
    # makes the transposed product one of the arrays in the other order.
    if g.shape[3] < x.shape[3]:
        kernel = lax.optimization_barrier(product_flattened(g, x)).T
    else:
        kernel = product_flattened(x, g)
    return kernel[None, None].astype(x.dtype)


def _product(x, matrix):
    return lax.dot_general(x, matrix, (((3,), (0,)), ((), ())))
