"""XLA's own input gradient, in the order of axes that its CPU hands to a library in any program.

XLA's CPU brings other orders of the axes into this one only in a program's entry
(xla/service/cpu/conv_canonicalization.cc). Within loops and branches it computes such a convolution
by plain loops instead, which are far slower (docs/speed.md).
"""

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops import native
from ganjax.ops.geometry import Geometry


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    return rotated_conv(g, k, geometry.input_grad_padding(), geometry.strides)


def rotated_conv(g: jax.Array, k: jax.Array, padding, dilation=(1, 1)) -> jax.Array:
    """Convolves with the kernel rotated by 180 degrees and its channels swapped.

    Args:
      g: (N, H', W', O), whose pixels are spread `dilation` apart.
      k: (h, w, I, O).
      padding: ((top, bottom), (left, right)) of the spread pixels.
      dilation: (vertical, horizontal).

    Returns:
      (N, H, W, I).
    """
    return lax.conv_general_dilated(
        g,
        jnp.swapaxes(lax.rev(k, (0, 1)), 2, 3),
        (1, 1),
        padding,
        lhs_dilation=dilation,
        dimension_numbers=native.LAYOUT,
    )
