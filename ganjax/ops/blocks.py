"""Gradients of strided convolutions as stride 1 on blocks of pixels, for CPUs.

The padded input is cut into blocks of one stride by one stride, and a block is one pixel of
as many times the channels. A window of k pixels then reaches over ceil(k / s) blocks and
moves by one: of the 16 pixels of a 4x4 window of stride 2, 4 blocks are left. Unlike the
patches of `ganjax.ops.fold` no pixel is copied twice, and it is the cotangent, smaller by
the strides, that is shifted. The price are blocks at the border, multiplied by zeros.

The forward map is not here: XLA's own is as fast.
"""

import jax.numpy as jnp
from jax import lax

from ganjax.ops import canonical

# Shifted cotangents of one piece of the kernel gradient; to bound memory, all sizes are alike.
PIECE_BYTES = 16 << 20


def input_grad(g, k, geometry):
    """The input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    # The output is higher than the input: XLA leaves those to Eigen, which is twice as fast
    # here as YNNPACK, to which it gives all others.
    padding = [(a - 1, a - 1) for a in geometry.shifts]
    blocks = canonical.turned(g, block_kernel(k, geometry), padding)
    return unblock(blocks, geometry)


def kernel_grad(x, g, geometry):
    """The kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""
    a, b = geometry.shifts
    outputs = g.shape[3]
    size = max(1, PIECE_BYTES // (4 * a * b * g[0].size))
    kernel = sum(
        lax.dot_general(
            _shifted(g[i : i + size], geometry),
            block(x[i : i + size], geometry),
            (((1, 2, 3), (0, 1, 2)), ((), ())),
            # Pieces are summed, which half precision should not do.
            preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
        )
        for i in range(0, x.shape[0], size)
    )
    kernel = kernel.astype(x.dtype).reshape(a, b, outputs, -1).swapaxes(2, 3)
    return unblock_kernel(kernel, geometry)


def work(geometry) -> float:
    """Products as a multiple of those that the convolution needs."""
    more = 1.0
    for k, s, o, a in zip(
        geometry.window, geometry.strides, geometry.out, geometry.shifts, strict=True
    ):
        more *= a * s / k * (o + a - 1) / o
    return more


def block_kernel(k, geometry):
    """(h, w, I, O) -> (a, b, s * t * I, O), the window rounded up to whole strides."""
    (a, b), (s, t) = geometry.shifts, geometry.strides
    k = jnp.pad(k, ((0, a * s - k.shape[0]), (0, b * t - k.shape[1]), (0, 0), (0, 0)))
    k = k.reshape(a, s, b, t * k.shape[2], k.shape[3]).swapaxes(1, 2)
    return k.reshape(a, b, -1, k.shape[4])


def unblock_kernel(k, geometry):
    """The transpose of `block_kernel`: (a, b, s * t * I, O) -> (h, w, I, O)."""
    (a, b), (s, t), (h, w) = geometry.shifts, geometry.strides, geometry.window
    k = k.reshape(a, b, s, t, -1, k.shape[3]).swapaxes(1, 2)
    return k.reshape(a * s, b * t, -1, k.shape[5])[:h, :w]


def block(x, geometry):
    """(N, H, W, I) -> (N, H' + a - 1, W' + b - 1, s * t * I)."""
    s, t = geometry.strides
    padding = [(0, 0, 0), *((*p, 0) for p in geometry.whole_padding), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), padding)
    n, h, w, c = x.shape
    x = x.reshape(n, h // s, s, w // t, t * c).swapaxes(2, 3)
    return x.reshape(n, h // s, w // t, s * t * c)


def unblock(x, geometry):
    """The inverse of `block`."""
    s, t = geometry.strides
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, s, c // s).swapaxes(2, 3).reshape(n, h * s, w * t, c // (s * t))
    crop = [(-low, -high, 0) for low, high in geometry.whole_padding]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *crop, (0, 0, 0)])


def _shifted(g, geometry):
    """(N, H', W', O) -> (a * b * O, N, H' + a - 1, W' + b - 1): by (i, j) for i < a, j < b."""
    a, b = geometry.shifts
    # Transposed first: the product needs it so, and each shift then is long copies.
    g = g.transpose(3, 0, 1, 2)
    return jnp.concatenate(
        [
            jnp.pad(g, ((0, 0), (0, 0), (i, a - 1 - i), (j, b - 1 - j)))
            for i in range(a)
            for j in range(b)
        ]
    )
