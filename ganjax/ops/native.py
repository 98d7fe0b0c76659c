"""XLA's own convolutions, in the forms that it lowers best on GPUs and TPUs and well on CPUs."""

import jax
from jax import lax

from ganjax.ops.geometry import Geometry

LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(x: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the forward map: (N, H, W, I), (h, w, I, O) -> (N, H', W', O)."""
    return lax.conv_general_dilated(
        x,
        k,
        geometry.strides,
        geometry.padding,
        dimension_numbers=LAYOUT,
    )


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    return lax.conv_general_dilated(
        g,
        lax.rev(k, (0, 1)),
        (1, 1),
        geometry.input_grad_padding(),
        lhs_dilation=geometry.strides,
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )


def kernel_grad(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""
    return lax.conv_general_dilated(
        x,
        g,
        (1, 1),
        geometry.kernel_grad_padding(),
        rhs_dilation=geometry.strides,
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
    )
