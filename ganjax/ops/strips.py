"""Convolutions of stride 1 with all images side by side in one strip, for CPUs.

XLA's library (YNNPACK) computes tiles of outputs along a row of pixels. Rows of an image are too
short for it: at 32 pixels it runs at half the rate of a matrix product, and at that rate along one
row of all images, with zeros between them.

The kernel gradient of a strip has an image for a window and a few taps for an image, which is no
better than without. Here it is a product for every row of the window: of the rows of the input that
it reaches, with the cotangent shifted by every column, side by side. Of 3x3 taps three copies of
the cotangent and one of the input instead of nine of that.

Of a batch that several CPU devices share, the strip is cut between images, and a forward map sends
the columns at the cuts.
"""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap

from ganjax.ops import chunks, native
from ganjax.ops.geometry import Geometry
from ganjax.ops.products import read_in_columns

# XLA gives the library no convolution of 16 channels or fewer; its own is slower in a strip.
LEAST_CHANNELS = 17
# To which the channels of such are filled up: a multiple of four, which is faster than 17.
FILLED_CHANNELS = 20
# Rows and columns of one piece of the kernel gradient: larger falls out of the cache.
PIECE_BYTES = 4 << 20


def fits(geometry) -> bool:
    """Whether the module has this convolution: stride 1, every window on the image."""
    return geometry.strides == (1, 1) and all(
        0 <= pad < k
        for k, pads in zip(geometry.window, geometry.padding, strict=True)
        for pad in pads
    )


def conv(x, k, geometry):
    """The forward map: (N, H, W, I), (h, w, I, O) -> (N, H', W', O)."""
    # Side by side under `jax.vmap` the kernels of several members of an ensemble would make a
    # convolution of groups, which the library has not.
    return sequential_vmap(partial(_conv, geometry=geometry))(x, k)


def _conv(x, k, geometry):
    n, height, width, inputs = x.shape
    vertical, (left, right) = geometry.padding
    fill = FILLED_CHANNELS - inputs if max(inputs, k.shape[3]) < LEAST_CHANNELS else 0
    gap = max(left, right)
    x = jnp.pad(x.swapaxes(0, 1), ((0, 0), (0, 0), (0, gap), (0, fill)))
    y = lax.conv_general_dilated(
        x.reshape(1, height, n * (width + gap), inputs + fill),
        jnp.pad(k, ((0, 0), (0, 0), (0, fill), (0, 0))),
        (1, 1),
        # As many outputs as pixels: those of windows that are not an image's are left out below.
        (vertical, (left, k.shape[1] - 1 - left)),
        dimension_numbers=native.LAYOUT,
    )
    rows, columns = geometry.out
    return y.reshape(rows, n, width + gap, -1)[:, :, :columns].swapaxes(0, 1)


def input_grad(g, k, geometry):
    """The input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    back = Geometry((1, 1), geometry.input_grad_padding(), geometry.out, geometry.window)
    return conv(g, k[::-1, ::-1].swapaxes(2, 3), back)


def kernel_grad(x, g, geometry):
    """The kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""
    (h, w), (rows, _) = geometry.window, geometry.out
    width, (left, right) = x.shape[2], geometry.padding[1]

    def piece(x, g):
        x = jnp.pad(x, ((0, 0), geometry.padding[0], (0, 0), (0, 0)))
        g = jnp.pad(g, ((0, 0), (0, 0), (w - 1 - left, w - 1 - right), (0, 0)))
        columns = jnp.concatenate([g[:, :, j : j + width] for j in reversed(range(w))], 3)
        return jnp.stack([read_in_columns(x[:, i : i + rows], columns) for i in range(h)])

    total = rows * width * (h * x.shape[3] + w * g.shape[3])
    count = chunks.count(x.shape[0], 4 * x.shape[0] * total, PIECE_BYTES)
    kernel = chunks.summed(piece, x, g, count).astype(x.dtype)
    return kernel.reshape(h, x.shape[3], w, g.shape[3]).swapaxes(1, 2)
