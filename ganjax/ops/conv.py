"""Two-dimensional convolutions that stay closed under reverse differentiation.

A convolution is one trilinear form in (input x, kernel k, output cotangent g). Its
three partial maps are

    conv(x, k) -> g        kernel_grad(x, g) -> k        input_grad(g, k) -> x

and each of the three is bilinear, with the other two as its derivatives. Written
once with ``jax.custom_vjp``, every order of reverse differentiation (a gradient
penalty is of second order) stays inside these three maps, each of which XLA lowers
well. Left to JAX, the kernel gradient of a transposed convolution, and so the second
order of any strided one, is a convolution whose left side is dilated: tens of times
slower on CPU, and no pattern that cuDNN's backward-filter matches. A transposed
convolution is `input_grad` with its arguments named anew.

Forward-mode differentiation (``jax.jvp``, ``jax.hessian``) is refused by JAX for
custom_vjp functions; gradient penalties and Hessian-vector products are had by reverse
over reverse.

Layout: NHWC images, HWIO kernels. Arguments of one call share one dtype.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ganjax.ops.geometry import Geometry
from ganjax.ops.lowering import after, lower

Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]


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
    """The forward rule that all three share: a bilinear map's residuals are its arguments."""
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


def conv(x: jax.Array, kernel: jax.Array, strides=(1, 1), padding: Padding = "SAME") -> jax.Array:
    """Cross-correlation of images with a kernel, as `flax.linen.Conv` computes it.

    Args:
      x: (N, H, W, I) images.
      kernel: (h, w, I, O), of x's dtype.
      strides: an int or (vertical, horizontal).
      padding: "SAME", "VALID", an int for every side, or ((top, bottom), (left, right)).

    Returns:
      (N, H', W', O) with H' = (H + top + bottom - h) // stride + 1.

    Raises:
      ValueError: the shapes do not fit, or the output would be empty.
    """
    _check(x, kernel, "(h, w, I, O)", kernel.shape[2:3])
    strides = _pair(strides)
    size, window = x.shape[1:3], kernel.shape[:2]
    if isinstance(padding, str):
        _check_name(padding)
        padding = lax.padtype_to_pads(size, window, strides, padding)
    geometry = Geometry(strides, _pads(padding), size, window)
    if min(geometry.out) < 1:
        raise ValueError(f"conv: a {window} window with padding {padding} is larger than {size}")
    return _conv(x, after(x, kernel, "conv", geometry), geometry)


def conv_transpose(
    x: jax.Array, kernel: jax.Array, strides=(1, 1), padding: Padding = "SAME"
) -> jax.Array:
    """Transposed convolution: the input gradient of the convolution with the same kernel.

    As `flax.linen.ConvTranspose(transpose_kernel=True)`, Keras and PyTorch have it. Flax's
    default turns the kernel by half and swaps its channels, which costs copies of it in every
    step. "SAME" gives H' = H * stride, "VALID" gives
    H' = H * stride + max(h - stride, 0); numbers pad the stride-dilated input, as in
    `jax.lax.conv_transpose` (they are not PyTorch's `padding`, which is h - 1 - pad).

    Args:
      x: (N, H, W, I) images.
      kernel: (h, w, O, I), of x's dtype.
      strides: an int or (vertical, horizontal).
      padding: "SAME", "VALID", an int for every side, or ((top, bottom), (left, right)).

    Returns:
      (N, H', W', O).

    Raises:
      ValueError: the shapes do not fit, or the output would be empty.
    """
    _check(x, kernel, "(h, w, O, I)", kernel.shape[3:])
    strides = _pair(strides)
    window = kernel.shape[:2]
    if isinstance(padding, str):
        padding = [_transpose_pads(k, s, padding) for k, s in zip(window, strides, strict=True)]
    pads = _pads(padding)
    size = tuple(
        (n - 1) * s + 2 + low + high - k
        for n, k, s, (low, high) in zip(x.shape[1:3], window, strides, pads, strict=True)
    )
    if min(size) < 1:
        raise ValueError(f"conv_transpose: padding {padding} leaves nothing of {x.shape[1:3]}")
    forward = tuple((k - 1 - lo, k - 1 - hi) for k, (lo, hi) in zip(window, pads, strict=True))
    geometry = Geometry(strides, forward, size, window)
    return _input_grad(x, after(x, kernel, "input_grad", geometry), geometry)


def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv`, stride 1 and "SAME", of images with every pixel repeated to 2x2.

    Every pixel meets up to two neighbouring taps of the kernel, so the sums of those are the kernel
    of a transposed convolution of stride 2: for a 3x3 window 4 products a pixel of the output, not
    9, and no repeated pixels in memory. Only the order of sums differs.

    Args:
      x: (N, H, W, I) images.
      kernel: (h, w, I, O), of x's dtype.

    Returns:
      (N, 2 H, 2 W, O).

    Raises:
      ValueError: the shapes do not fit.
    """
    _check(x, kernel, "(h, w, I, O)", kernel.shape[2:3])
    height, width = x.shape[1:3]
    pads = tuple((k // 2, (k - 1) // 2) for k in kernel.shape[:2])
    kernel = _neighbours_summed(kernel[::-1, ::-1].swapaxes(2, 3))
    geometry = Geometry((2, 2), pads, (2 * height, 2 * width), kernel.shape[:2])
    return _input_grad(x, after(x, kernel, "input_grad", geometry), geometry)


def conv_downsample(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The means of 2x2 pixels of `conv`, stride 1 and "SAME".

    One convolution of stride 2, as in `upsample_conv`.

    Args:
      x: (N, H, W, I) images, H and W even.
      kernel: (h, w, I, O), of x's dtype.

    Returns:
      (N, H / 2, W / 2, O).

    Raises:
      ValueError: the shapes do not fit.
    """
    _check(x, kernel, "(h, w, I, O)", kernel.shape[2:3])
    if any(n % 2 for n in x.shape[1:3]):
        raise ValueError(
            f"conv_downsample: an image of {x.shape[1:3]} has no 2x2 pixels throughout"
        )
    pads = tuple(((k - 1) // 2, k // 2) for k in kernel.shape[:2])
    kernel = _neighbours_summed(kernel) / 4
    geometry = Geometry((2, 2), pads, x.shape[1:3], kernel.shape[:2])
    return _conv(x, after(x, kernel, "conv", geometry), geometry)


def _neighbours_summed(kernel):
    """(h, w, ...) -> (h + 1, w + 1, ...): each tap and those before it, down, across and both."""
    for axis in (0, 1):
        zeros = jnp.zeros_like(lax.slice_in_dim(kernel, 0, 1, axis=axis))
        kernel = jnp.concatenate([kernel, zeros], axis) + jnp.concatenate([zeros, kernel], axis)
    return kernel


def _transpose_pads(k: int, s: int, padding: str) -> tuple[int, int]:
    """Padding of one dilated axis, as `jax.lax.conv_transpose` defines it."""
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


def _pair(value) -> tuple[int, int]:
    if isinstance(value, (int, np.integer)):
        return (int(value), int(value))
    if len(value) != 2:
        raise ValueError(f"convolution: {value} is neither one number nor (vertical, horizontal)")
    return tuple(value)


def _pads(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    return tuple(_pair(p) for p in _pair(padding))


def _check(x, kernel, layout: str, inputs: tuple[int, ...]) -> None:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3:] != inputs:
        raise ValueError(
            f"convolution: images (N, H, W, I) and a kernel {layout} are needed, "
            f"not {x.shape} and {kernel.shape}"
        )
    if x.dtype != kernel.dtype:
        raise ValueError(f"convolution: images are {x.dtype} but the kernel is {kernel.dtype}")
