"""Two-dimensional convolutions that stay closed under differentiation.

Their derivatives of every order and in every mode are the three maps of `ganjax.ops.trilinear`,
each of which XLA lowers well; a gradient penalty is of second order. Left to JAX, the kernel
gradient of a transposed convolution, and so the second order of any strided one, is a convolution
whose left side is dilated. That is slow on CPUs (docs/speed.md), and on GPUs it is no pattern that
cuDNN's backward-filter matches. A transposed convolution is `input_grad` under another name.

The layout is NHWC for images and HWIO for kernels. The arguments of one call share one dtype. With
`feature_group_count` above 1, channels fall into as many groups, each of which is convolved by
itself; as many groups as input channels make a depthwise convolution.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ganjax.ops import trilinear
from ganjax.ops.geometry import Geometry, Pads
from ganjax.ops.lowering import delay_kernel
from ganjax.ops.native import swap_within_groups

Strides = int | Sequence[int]
Padding = str | int | Sequence[int] | Sequence[Sequence[int]]


def conv(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "kh kw i_of_group o"],
    strides: Strides = (1, 1),
    padding: Padding = "SAME",
    feature_group_count: int = 1,
) -> Float[Array, "n _ _ o"]:
    """Computes the cross-correlation of images with a kernel, as `flax.linen.Conv` does.

    Args:
      x: the images.
      kernel: the kernel, of x's dtype, with the input channels of one group.
      strides: an int or (vertical, horizontal), in pixels.
      padding: "SAME", "VALID", an int for every side, or ((top, bottom), (left, right)) in pixels.
      feature_group_count: the number of groups of channels, which divides i and o.

    Returns:
      Images of height (h + top + bottom - kh) // stride + 1, and likewise of width.

    Raises:
      ValueError: the shapes do not fit, a stride is below 1, or the output would be empty.
    """
    _check(x, kernel, 2, feature_group_count)
    strides = _steps("conv", strides)
    size, window = _pair(x.shape[1:3]), _pair(kernel.shape[:2])
    if isinstance(padding, str):
        _check_name(padding)
        padding = lax.padtype_to_pads(size, window, strides, padding)
    geometry = Geometry(strides, _pads(padding), size, window, feature_group_count)
    if min(geometry.out) < 1:
        raise ValueError(f"conv: a {window} window with padding {padding} is larger than {size}")
    return trilinear.conv(x, delay_kernel("conv", x, kernel, geometry), geometry)


def conv_transpose(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "kh kw o_of_group i"],
    strides: Strides = (1, 1),
    padding: Padding = "SAME",
    feature_group_count: int = 1,
) -> Float[Array, "n _ _ o"]:
    """Computes the transposed convolution: the input gradient of the convolution with this kernel.

    This is the transposed convolution of `flax.linen.ConvTranspose(transpose_kernel=True)`, Keras
    and PyTorch. Flax's default rotates the kernel by 180 degrees and swaps its channels, which
    copies it in every step.

    Args:
      x: the images.
      kernel: the kernel of the convolution that is transposed, of x's dtype, whose input channels
        are the output's of one group here.
      strides: an int or (vertical, horizontal).
      padding: "SAME" for a height of h * stride; "VALID" for h * stride + max(kh - stride, 0); or
        an int for every side or ((top, bottom), (left, right)), which pad the stride-dilated input
        as in `jax.lax.conv_transpose`. (PyTorch's `padding` is kh - 1 minus that.)
      feature_group_count: the number of groups of channels, which divides i and o.

    Returns:
      Images of height (h - 1) * stride + 2 + top + bottom - kh, and likewise of width.

    Raises:
      ValueError: the shapes do not fit, a stride is below 1, or the output would be empty.
    """
    _check(x, kernel, 3, feature_group_count)
    strides = _steps("conv_transpose", strides)
    window = _pair(kernel.shape[:2])
    if isinstance(padding, str):
        padding = [_transpose_pads(k, s, padding) for k, s in zip(window, strides, strict=True)]
    pads = _pads(padding)
    height, width = (
        (n - 1) * s + 2 + low + high - k
        for n, k, s, (low, high) in zip(x.shape[1:3], window, strides, pads, strict=True)
    )
    if min(height, width) < 1:
        raise ValueError(f"conv_transpose: padding {padding} leaves nothing of {x.shape[1:3]}")
    forward = _pads([(k - 1 - lo, k - 1 - hi) for k, (lo, hi) in zip(window, pads, strict=True)])
    geometry = Geometry(strides, forward, (height, width), window, feature_group_count)
    return trilinear.input_grad(x, delay_kernel("input_grad", x, kernel, geometry), geometry)


def upsample_conv(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "kh kw i_of_group o"],
    feature_group_count: int = 1,
) -> Float[Array, "n 2*h 2*w o"]:
    """Computes a convolution of images whose pixels are each repeated to 2x2.

    The convolution is `conv` of stride 1 and padding "SAME". In each direction a pixel meets its
    copies under neighbouring taps of the kernel, so the sums of neighbouring taps are the kernel of
    a transposed convolution of stride 2 with the same result. For a 3x3 window that takes 4
    products for each pixel of the output instead of 9, and stores no repeated pixels. Only the
    order of the sums differs.

    Args:
      x: the images.
      kernel: the kernel, of x's dtype, with the input channels of one group.
      feature_group_count: the number of groups of channels, which divides i and o.

    Returns:
      Images of twice the height and width.

    Raises:
      ValueError: the shapes do not fit.
    """
    _check(x, kernel, 2, feature_group_count)
    height, width = x.shape[1:3]
    pads = _pads([(k // 2, (k - 1) // 2) for k in kernel.shape[:2]])
    kernel = swap_within_groups(kernel[::-1, ::-1], feature_group_count).swapaxes(2, 3)
    kernel = _sum_neighbours(kernel)
    size, window = (2 * height, 2 * width), _pair(kernel.shape[:2])
    geometry = Geometry((2, 2), pads, size, window, feature_group_count)
    return trilinear.input_grad(x, delay_kernel("input_grad", x, kernel, geometry), geometry)


def conv_downsample(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "kh kw i_of_group o"],
    feature_group_count: int = 1,
) -> Float[Array, "n h//2 w//2 o"]:
    """Computes a convolution of images and averages its output over 2x2 pixels.

    The convolution is `conv` of stride 1 and padding "SAME". Both together are one convolution of
    stride 2 by the argument of `upsample_conv`.

    Args:
      x: the images, of even height and width.
      kernel: the kernel, of x's dtype, with the input channels of one group.
      feature_group_count: the number of groups of channels, which divides i and o.

    Returns:
      Images of half the height and width.

    Raises:
      ValueError: the shapes do not fit, or a height or width is odd.
    """
    _check(x, kernel, 2, feature_group_count)
    if any(n % 2 for n in x.shape[1:3]):
        raise ValueError(
            f"conv_downsample: an image of {x.shape[1:3]} has no 2x2 pixels throughout"
        )
    pads = _pads([((k - 1) // 2, k // 2) for k in kernel.shape[:2]])
    kernel = _sum_neighbours(kernel) / 4
    size, window = _pair(x.shape[1:3]), _pair(kernel.shape[:2])
    geometry = Geometry((2, 2), pads, size, window, feature_group_count)
    return trilinear.conv(x, delay_kernel("conv", x, kernel, geometry), geometry)


def _sum_neighbours(kernel):
    """Sums the kernel over all windows of 2x2 taps: (h, w, ...) -> (h + 1, w + 1, ...)."""
    for axis in (0, 1):
        zeros = jnp.zeros_like(lax.slice_in_dim(kernel, 0, 1, axis=axis))
        kernel = jnp.concatenate([kernel, zeros], axis) + jnp.concatenate([zeros, kernel], axis)
    return kernel


def _transpose_pads(k: int, s: int, padding: str) -> tuple[int, int]:
    """Returns the (before, after) padding of a dilated axis, as in `jax.lax.conv_transpose`."""
    _check_name(padding)
    if padding == "VALID":
        total, before = k + s - 2 + max(k - s, 0), k - 1
    else:
        total = k + s - 2
        before = k - 1 if s > k - 1 else -(-total // 2)
    return before, total - before


def _check_name(padding: str) -> None:
    if padding not in ("SAME", "VALID"):
        raise ValueError(f'convolution: padding {padding!r} is neither "SAME" nor "VALID"')


def _pair(value: Any) -> tuple[Any, Any]:
    """Returns a tuple of a number twice, or of the two elements of a sequence."""
    if isinstance(value, (int, np.integer)):
        return (int(value), int(value))
    if len(value) != 2:
        raise ValueError(f"convolution: {value} is neither one number nor (vertical, horizontal)")
    first, second = value
    return first, second


def _steps(name: str, strides: Strides) -> tuple[int, int]:
    vertical, horizontal = _pair(strides)
    if min(vertical, horizontal) < 1:
        raise ValueError(f"{name}: strides={strides}: the window moves by 1 pixel or more")
    return vertical, horizontal


def _pads(padding: Padding) -> Pads:
    vertical, horizontal = _pair(padding)
    return _pair(vertical), _pair(horizontal)


def _check(x, kernel, inputs_axis: int, groups: int) -> None:
    """Refuses arrays that do not go together.

    Args:
      x: the images.
      kernel: the kernel.
      inputs_axis: the axis of the kernel, 2 or 3, that belongs to the images' channels.
      groups: the number of groups of channels.
    """
    layout = {2: "(h, w, I / groups, O)", 3: "(h, w, O / groups, I)"}[inputs_axis]
    fits = x.ndim == kernel.ndim == 4 and groups >= 1
    if fits:
        # Axis 2 has the channels of one group, and axis 3 those of all groups.
        inputs = kernel.shape[2] * groups if inputs_axis == 2 else kernel.shape[3]
        fits = x.shape[3] == inputs and kernel.shape[3] % groups == 0
    if not fits:
        raise ValueError(
            f"convolution: images (N, H, W, I) and a kernel {layout} of "
            f"feature_group_count={groups} are needed, not {x.shape} and {kernel.shape}"
        )
    if x.dtype != kernel.dtype:
        raise ValueError(f"convolution: images are {x.dtype} but the kernel is {kernel.dtype}")
