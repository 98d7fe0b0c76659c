"""XLA's own input gradient in the one form that its CPU hands to a library in any program.

XLA's CPU turns other orders of the axes into this one only in a program's entry, not within its
loops and branches (xla/service/cpu/conv_canonicalization.cc), where it leaves such a convolution
to plain loops: forty times as slow.
"""

import jax.numpy as jnp
from jax import lax

from ganjax.ops import native


def input_grad(g, k, geometry):
    """The input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    return turned(g, k, geometry.input_grad_padding(), geometry.strides)


def turned(g, k, padding, dilation=(1, 1)):
    """(N, H', W', O), its pixels `dilation` apart, over a kernel (h, w, I, O) by half a turn."""
    return lax.conv_general_dilated(
        g,
        jnp.swapaxes(lax.rev(k, (0, 1)), 2, 3),
        (1, 1),
        padding,
        lhs_dilation=dilation,
        dimension_numbers=native.LAYOUT,
    )
