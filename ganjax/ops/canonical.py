"""XLA's own input gradient, in the order of axes that is fast on CPUs in every program.

XLA on CPU brings other orders of the axes into this one only in a program's entry computation
(xla/service/cpu/conv_canonicalization.cc). Within loops and branches it computes them by plain
loops instead of its libraries' convolutions, which is far slower (docs/speed.md).
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
    """Convolves images with a kernel that is rotated by 180 degrees and whose channels are swapped.

    Args:
      g: the images (N, H', W', O).
      k: the kernel (h, w, I, O).
      padding: ((top, bottom), (left, right)) pixels around the dilated images.
      dilation: the (vertical, horizontal) distances to which the images' pixels are spread, with
        zeros between them.

    Returns:
      Images (N, H, W, I).
    """
    return lax.conv_general_dilated(
        g,
        jnp.swapaxes(lax.rev(k, (0, 1)), 2, 3),
        (1, 1),
        padding,
        lhs_dilation=dilation,
        dimension_numbers=native.LAYOUT,
    )
