"""Convolutions in the forms that XLA lowers well everywhere, and best on GPUs and TPUs."""

from jax import lax

LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(x, k, geometry):
    """The forward map: (N, H, W, I), (h, w, I, O) -> (N, H', W', O)."""
    return lax.conv_general_dilated(
        x,
        k,
        geometry.strides,
        geometry.padding,
        dimension_numbers=LAYOUT,
    )


def input_grad(g, k, geometry):
    """The input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    return lax.conv_general_dilated(
        g,
        lax.rev(k, (0, 1)),
        (1, 1),
        geometry.input_grad_padding(),
        lhs_dilation=geometry.strides,
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )


def kernel_grad(x, g, geometry):
    """The kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""
    return lax.conv_general_dilated(
        x,
        g,
        (1, 1),
        geometry.kernel_grad_padding(),
        rhs_dilation=geometry.strides,
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
    )
