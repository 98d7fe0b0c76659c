"""Computes convolutions of stride 1 on CPUs with all images of a batch side by side in one strip.

XLA's library, YNNPACK, computes tiles of outputs along a row of pixels. The rows of small images
are too short for its full rate, which it reaches along one row through all images with zeros
between them (docs/speed.md).

For the kernel gradient a strip would gain nothing, since there the cotangent is the window and the
kernel's few taps are the output. Instead each row of the kernel is one matrix product: of the rows
of the input that it reaches with the cotangent shifted by every column of the window, side by side.
For 3x3 taps that copies the cotangent three times and the input once, where patches copy the input
nine times.

Where several CPU devices share a batch, the strip is cut between images, and the forward map sends
only the columns at the cuts from one device to the next.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops import native
from ganjax.ops.chunks import count_chunks, sum_chunks
from ganjax.ops.geometry import Geometry
from ganjax.ops.products import product_flattened

# XLA's library takes no convolution of fewer channels, and XLA's own is slower in a strip.
LEAST_CHANNELS = 17
# The channels to which fewer are filled up: a multiple of four, which is faster than 17.
FILLED_CHANNELS = 20
# Bytes of the rows and columns of a chunk of the kernel gradient, which should fit the cache.
CHUNK_BYTES = 4 << 20


def fits(geometry: Geometry) -> bool:
    """Returns whether this module computes the convolution.

    It does at stride 1 if every window covers at least one pixel and no padding is negative.
    """
    return geometry.strides == (1, 1) and all(
        0 <= pad < k
        for k, pads in zip(geometry.window, geometry.padding, strict=True)
        for pad in pads
    )


def conv(x: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the forward map: (N, H, W, I), (h, w, I, O) -> (N, H', W', O)."""
    n, height, width, inputs = x.shape
    vertical, (left, right) = geometry.padding
    fill = FILLED_CHANNELS - inputs if max(inputs, k.shape[3]) < LEAST_CHANNELS else 0
    gap = max(left, right)
    x = jnp.pad(x.swapaxes(0, 1), ((0, 0), (0, 0), (0, gap), (0, fill)))
    y = lax.conv_general_dilated(
        x.reshape(1, height, n * (width + gap), inputs + fill),
        jnp.pad(k, ((0, 0), (0, 0), (0, fill), (0, 0))),
        (1, 1),
        # As many outputs as pixels; those of windows between two images are dropped below.
        (vertical, (left, k.shape[1] - 1 - left)),
        dimension_numbers=native.LAYOUT,
    )
    rows, columns = geometry.out
    return y.reshape(rows, n, width + gap, -1)[:, :, :columns].swapaxes(0, 1)


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    reverse = Geometry((1, 1), geometry.input_grad_padding(), geometry.out, geometry.window)
    return conv(g, k[::-1, ::-1].swapaxes(2, 3), reverse)


def kernel_grad(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""
    (h, w), (rows, _) = geometry.window, geometry.out
    width, (left, right) = x.shape[2], geometry.padding[1]

    def kernel_grad_of_chunk(x, g):
        x = jnp.pad(x, ((0, 0), geometry.padding[0], (0, 0), (0, 0)))
        g = jnp.pad(g, ((0, 0), (0, 0), (w - 1 - left, w - 1 - right), (0, 0)))
        columns = jnp.concatenate([g[:, :, j : j + width] for j in reversed(range(w))], 3)
        return jnp.stack([product_flattened(x[:, i : i + rows], columns) for i in range(h)])

    image_bytes = 4 * rows * width * (h * x.shape[3] + w * g.shape[3])
    count = count_chunks(x.shape[0], x.shape[0] * image_bytes, CHUNK_BYTES)
    kernel = sum_chunks(kernel_grad_of_chunk, x, g, count).astype(x.dtype)
    return kernel.reshape(h, x.shape[3], w, g.shape[3]).swapaxes(1, 2)
