"""XLA's own convolutions, in the forms that it lowers best on GPUs and TPUs and well on CPUs.

With groups, the I input channels of a kernel are those of one group.
"""

import jax
import jax.numpy as jnp
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
        feature_group_count=geometry.groups,
    )


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    return lax.conv_general_dilated(
        g,
        lax.rev(swap_within_groups(k, geometry.groups), (0, 1)),
        (1, 1),
        geometry.input_grad_padding(),
        lhs_dilation=geometry.strides,
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
        feature_group_count=geometry.groups,
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
        batch_group_count=geometry.groups,
    )


def swap_within_groups(k: jax.Array, groups: int) -> jax.Array:
    """Swaps the groups' parts: (h, w, I, groups * O) -> (h, w, groups * I, O).

    The result is the kernel of the input gradient, whose inputs are this kernel's outputs.
    """
    if groups == 1:
        return k
    h, w, inputs, outputs = k.shape
    k = k.reshape(h, w, inputs, groups, outputs // groups)
    return jnp.swapaxes(k, 2, 3).reshape(h, w, groups * inputs, outputs // groups)
