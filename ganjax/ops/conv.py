"""Two-dimensional convolutions that stay closed under reverse differentiation.

A convolution is a trilinear form of its input x, its kernel k and the cotangent g of its output.
Its three partial maps are

    conv(x, k) -> g        kernel_grad(x, g) -> k        input_grad(g, k) -> x

and each of the three is bilinear, with the other two as its derivatives. Written once with
`jax.custom_vjp`, every order of reverse differentiation stays inside these three maps, each of
which XLA lowers well; a gradient penalty is of second order. Left to JAX, the kernel gradient of a
transposed convolution, and so the second order of any strided one, is a convolution whose left side
is dilated. That is slow on CPUs (docs/speed.md), and on GPUs it is no pattern that cuDNN's
backward-filter matches. A transposed convolution is `input_grad` under another name.

JAX refuses forward-mode differentiation (`jax.jvp`, `jax.hessian`) of custom_vjp functions;
gradient penalties and Hessian-vector products are computed by reverse over reverse.

The layout is NHWC for images and HWIO for kernels. The arguments of one call share one dtype.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ganjax.ops.geometry import Geometry, Pads
from ganjax.ops.lowering import delay_kernel, lower

Strides = int | Sequence[int]
Padding = str | int | Sequence[int] | Sequence[Sequence[int]]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x, k, geometry):
    if geometry.is_dense:
        y = lax.dot_general(x, k, (((1, 2, 3), (0, 1, 2)), ((), ())))
        return y[:, None, None, :]
    return lower("conv", x, k, geometry, k.shape[2:])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _input_grad(g, k, geometry):
    if geometry.is_dense:
        return lax.dot_general(g[:, 0, 0], k, (((1,), (3,)), ((), ())))
    return lower("input_grad", g, k, geometry, k.shape[2:])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _kernel_grad(x, g, geometry):
    if geometry.is_dense:
        return lax.dot_general(x, g[:, 0, 0], (((0,), (0,)), ((), ())))
    return lower("kernel_grad", x, g, geometry, (x.shape[3], g.shape[3]))


def _save(bilinear):
    """Returns the forward rule of a bilinear map, whose residuals are its two arguments."""
    return lambda a, b, geometry: (bilinear(a, b, geometry), (a, b))


_conv.defvjp(
    _save(_conv),
    lambda geometry, args, g: (
        _input_grad(g, args[1], geometry),
        _kernel_grad(args[0], g, geometry),
    ),
)
_input_grad.defvjp(
    _save(_input_grad),
    lambda geometry, args, x: (
        _conv(x, args[1], geometry),
        _kernel_grad(x, args[0], geometry),
    ),
)
_kernel_grad.defvjp(
    _save(_kernel_grad),
    lambda geometry, args, k: (
        _input_grad(args[1], k, geometry),
        _conv(args[0], k, geometry),
    ),
)


def conv(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "kh kw i o"],
    strides: Strides = (1, 1),
    padding: Padding = "SAME",
) -> Float[Array, "n _ _ o"]:
    """Computes the cross-correlation of images with a kernel, as `flax.linen.Conv` does.

    Args:
      x: the images.
      kernel: the kernel, of x's dtype.
      strides: an int or (vertical, horizontal), in pixels.
      padding: "SAME", "VALID", an int for every side, or ((top, bottom), (left, right)) in pixels.

    Returns:
      Images of height (h + top + bottom - kh) // stride + 1, and likewise of width.

    Raises:
      ValueError: the shapes do not fit, a stride is below 1, or the output would be empty.
    """
    _check(x, kernel, "(h, w, I, O)", kernel.shape[2:3])
    strides = _steps("conv", strides)
    size, window = _pair(x.shape[1:3]), _pair(kernel.shape[:2])
    if isinstance(padding, str):
        _check_name(padding)
        padding = lax.padtype_to_pads(size, window, strides, padding)
    geometry = Geometry(strides, _pads(padding), size, window)
    if min(geometry.out) < 1:
        raise ValueError(f"conv: a {window} window with padding {padding} is larger than {size}")
    return _conv(x, delay_kernel("conv", x, kernel, geometry), geometry)


def conv_transpose(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "kh kw o i"],
    strides: Strides = (1, 1),
    padding: Padding = "SAME",
) -> Float[Array, "n _ _ o"]:
    """Computes the transposed convolution: the input gradient of the convolution with this kernel.

    This is the transposed convolution of `flax.linen.ConvTranspose(transpose_kernel=True)`, Keras
    and PyTorch. Flax's default rotates the kernel by 180 degrees and swaps its channels, which
    copies it in every step.

    Args:
      x: the images.
      kernel: the kernel of the convolution that is transposed, of x's dtype.
      strides: an int or (vertical, horizontal).
      padding: "SAME" for a height of h * stride; "VALID" for h * stride + max(kh - stride, 0); or
        an int for every side or ((top, bottom), (left, right)), which pad the stride-dilated input
        as in `jax.lax.conv_transpose`. (PyTorch's `padding` is kh - 1 minus that.)

    Returns:
      Images of height (h - 1) * stride + 2 + top + bottom - kh, and likewise of width.

    Raises:
      ValueError: the shapes do not fit, a stride is below 1, or the output would be empty.
    """
    _check(x, kernel, "(h, w, O, I)", kernel.shape[3:])
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
    geometry = Geometry(strides, forward, (height, width), window)
    return _input_grad(x, delay_kernel("input_grad", x, kernel, geometry), geometry)


def upsample_conv(
    x: Float[Array, "n h w i"], kernel: Float[Array, "kh kw i o"]
) -> Float[Array, "n 2*h 2*w o"]:
    """Computes a convolution of images whose pixels are each repeated to 2x2.

    The convolution is `conv` of stride 1 and padding "SAME". In each direction a pixel meets its
    copies under neighbouring taps of the kernel, so the sums of neighbouring taps are the kernel of
    a transposed convolution of stride 2 with the same result. For a 3x3 window that takes 4
    products for each pixel of the output instead of 9, and stores no repeated pixels. Only the
    order of the sums differs.

    Args:
      x: the images.
      kernel: the kernel, of x's dtype.

    Returns:
      Images of twice the height and width.

    Raises:
      ValueError: the shapes do not fit.
    """
    _check(x, kernel, "(h, w, I, O)", kernel.shape[2:3])
    height, width = x.shape[1:3]
    pads = _pads([(k // 2, (k - 1) // 2) for k in kernel.shape[:2]])
    kernel = _sum_neighbours(kernel[::-1, ::-1].swapaxes(2, 3))
    geometry = Geometry((2, 2), pads, (2 * height, 2 * width), _pair(kernel.shape[:2]))
    return _input_grad(x, delay_kernel("input_grad", x, kernel, geometry), geometry)


def conv_downsample(
    x: Float[Array, "n h w i"], kernel: Float[Array, "kh kw i o"]
) -> Float[Array, "n h//2 w//2 o"]:
    """Computes a convolution of images and averages its output over 2x2 pixels.

    The convolution is `conv` of stride 1 and padding "SAME". Both together are one convolution of
    stride 2 by the argument of `upsample_conv`.

    Args:
      x: the images, of even height and width.
      kernel: the kernel, of x's dtype.

    Returns:
      Images of half the height and width.

    Raises:
      ValueError: the shapes do not fit, or a height or width is odd.
    """
    _check(x, kernel, "(h, w, I, O)", kernel.shape[2:3])
    if any(n % 2 for n in x.shape[1:3]):
        raise ValueError(
            f"conv_downsample: an image of {x.shape[1:3]} has no 2x2 pixels throughout"
        )
    pads = _pads([((k - 1) // 2, k // 2) for k in kernel.shape[:2]])
    kernel = _sum_neighbours(kernel) / 4
    geometry = Geometry((2, 2), pads, _pair(x.shape[1:3]), _pair(kernel.shape[:2]))
    return _conv(x, delay_kernel("conv", x, kernel, geometry), geometry)


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


def _check(x, kernel, layout: str, inputs: tuple[int, ...]) -> None:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3:] != inputs:
        raise ValueError(
            f"convolution: images (N, H, W, I) and a kernel {layout} are needed, "
            f"not {x.shape} and {kernel.shape}"
        )
    if x.dtype != kernel.dtype:
        raise ValueError(f"convolution: images are {x.dtype} but the kernel is {kernel.dtype}")
