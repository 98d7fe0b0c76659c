"""Computes gradients of strided convolutions on CPUs at stride 1, on blocks of pixels.

The padded input is cut into blocks of one stride by one stride, and each block becomes one pixel
with s * s times the channels. A window of k pixels then spans ceil(k / s) blocks and moves by one
block: a 4x4 window of stride 2 becomes a 2x2 window of stride 1. Unlike in `ganjax.ops.patches` no
pixel is copied twice, and the array that is shifted is the cotangent, which is smaller by the
strides. In return some products at the border are with zeros.

The module has no forward map, since XLA's own is as fast.
"""

from typing import cast

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops import canonical
from ganjax.ops.geometry import Geometry

# Bytes of the shifted cotangents in one chunk of the kernel gradient. It bounds the memory alone:
# every size is as fast.
CHUNK_BYTES = 16 << 20


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    # The output is higher than the input. XLA leaves such convolutions to Eigen, which here is
    # faster than YNNPACK, to which it gives all others (docs/speed.md).
    padding = [(a - 1, a - 1) for a in geometry.shifts]
    blocks = canonical.rotated_conv(g, block_kernel(k, geometry), padding)
    return unblock(blocks, geometry)


def kernel_grad(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""
    a, b = geometry.shifts
    outputs = g.shape[3]
    chunk = max(1, CHUNK_BYTES // (4 * a * b * g[0].size))
    chunks = (
        lax.dot_general(
            _shifted(g[i : i + chunk], geometry),
            block(x[i : i + chunk], geometry),
            (((1, 2, 3), (0, 1, 2)), ((), ())),
            # The chunks are summed, which half precision should not do.
            preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
        )
        for i in range(0, x.shape[0], chunk)
    )
    kernel = cast(jax.Array, sum(chunks)).astype(x.dtype).reshape(a, b, outputs, -1).swapaxes(2, 3)
    return unblock_kernel(kernel, geometry)


def relative_work(geometry: Geometry) -> float:
    """Returns the factor by which blocks need more products than the convolution itself, >= 1."""
    ratio = 1.0
    for k, s, o, a in zip(
        geometry.window, geometry.strides, geometry.out, geometry.shifts, strict=True
    ):
        ratio *= a * s / k * (o + a - 1) / o
    return ratio


def block_kernel(k: jax.Array, geometry: Geometry) -> jax.Array:
    """Turns a kernel into one of blocks, its window rounded up to whole strides with zeros.

    (h, w, I, O) -> (a, b, s * t * I, O). Here and below (a, b) are the geometry's shifts and (s, t)
    its strides.
    """
    (a, b), (s, t) = geometry.shifts, geometry.strides
    k = jnp.pad(k, ((0, a * s - k.shape[0]), (0, b * t - k.shape[1]), (0, 0), (0, 0)))
    k = k.reshape(a, s, b, t * k.shape[2], k.shape[3]).swapaxes(1, 2)
    return k.reshape(a, b, -1, k.shape[4])


def unblock_kernel(k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the transpose of `block_kernel`: (a, b, s * t * I, O) -> (h, w, I, O)."""
    (a, b), (s, t), (h, w) = geometry.shifts, geometry.strides, geometry.window
    k = k.reshape(a, b, s, t, -1, k.shape[3]).swapaxes(1, 2)
    return k.reshape(a * s, b * t, -1, k.shape[5])[:h, :w]


def block(x: jax.Array, geometry: Geometry) -> jax.Array:
    """Pads images and cuts them into blocks.

    (N, H, W, I) -> (N, H' + a - 1, W' + b - 1, s * t * I).
    """
    s, t = geometry.strides
    padding = [(0, 0, 0), *((*p, 0) for p in geometry.whole_padding), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), padding)
    n, h, w, c = x.shape
    x = x.reshape(n, h // s, s, w // t, t * c).swapaxes(2, 3)
    return x.reshape(n, h // s, w // t, s * t * c)


def unblock(x: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the inverse of `block`: lays out the blocks' pixels and crops the padding.

    (N, H' + a - 1, W' + b - 1, s * t * I) -> (N, H, W, I).
    """
    s, t = geometry.strides
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, s, c // s).swapaxes(2, 3).reshape(n, h * s, w * t, c // (s * t))
    crop = [(-low, -high, 0) for low, high in geometry.whole_padding]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *crop, (0, 0, 0)])


def _shifted(g, geometry):
    """Stacks all shifts of a cotangent, by i < a rows and j < b columns, along its channels.

    (N, H', W', O) -> (a * b * O, N, H' + a - 1, W' + b - 1).
    """
    a, b = geometry.shifts
    # Transposed first, as the product needs it: each shift then is a few long copies.
    g = g.transpose(3, 0, 1, 2)
    return jnp.concatenate(
        [
            jnp.pad(g, ((0, 0), (0, 0), (i, a - 1 - i), (j, b - 1 - j)))
            for i in range(a)
            for j in range(b)
        ]
    )
