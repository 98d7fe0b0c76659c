"""Convolutions as matrix products: how CPUs like strided ones, and few channels.

All pixels under a window, side by side, are a patch; each of the three maps (see
`ganjax.ops.conv`) is one product with the patches. They are made in pieces of the batch, so
that a piece stays in the cache. As many columns as the horizontal stride are taken as one
pixel of as many times the channels: fewer and longer copies.
"""

import jax.numpy as jnp
from jax import lax

from ganjax.ops import chunks
from ganjax.ops.products import transposed_first

# Patches of one piece. Between 2 and 8 MiB all is alike; larger falls out of the cache.
PIECE_BYTES = 4 << 20


def conv(x, k, geometry):
    """The forward map: (N, H, W, I), (h, w, I, O) -> (N, H', W', O)."""
    kernel = _fold_kernel(k, geometry)

    def piece(x):
        return lax.dot_general(_patches(x, geometry), kernel, (((3,), (0,)), ((), ())))

    return chunks.placed(piece, x, _count(geometry, *x.shape[::3]), k)


def input_grad(g, k, geometry):
    """The input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    kernel = _fold_kernel(k, geometry)

    def piece(g):
        return _unpatch(lax.dot_general(g, kernel, (((3,), (1,)), ((), ()))), geometry)

    return chunks.placed(piece, g, _count(geometry, g.shape[0], k.shape[2]), k)


def kernel_grad(x, g, geometry):
    """The kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""

    def piece(x, g):
        return transposed_first(_patches(x, geometry), g)

    kernel = chunks.summed(piece, x, g, _count(geometry, *x.shape[::3]))
    h, w = geometry.window
    kernel = kernel.astype(x.dtype).reshape(h, -1, x.shape[3], g.shape[3])
    return kernel[:, :w]


def patch_bytes(geometry, batch: int, channels: int) -> int:
    """Of all patches, in float32."""
    (h, w), rows, columns = geometry.out, geometry.window[0], geometry.shifts[1]
    return 4 * batch * h * w * rows * columns * geometry.strides[1] * channels


def _count(geometry, batch: int, channels: int) -> int:
    return chunks.count(batch, patch_bytes(geometry, batch, channels), PIECE_BYTES)


def _fold_kernel(k, geometry):
    """(h, w, I, O) -> (patch, O), w rounded up to whole strides."""
    extra = geometry.shifts[1] * geometry.strides[1] - k.shape[1]
    return jnp.pad(k, ((0, 0), (0, extra), (0, 0), (0, 0))).reshape(-1, k.shape[3])


def _patches(x, geometry):
    """(N, H, W, I) -> (N, H', W', patch)."""
    (s, t), (h, w), rows = geometry.strides, geometry.out, geometry.window[0]
    padding = [(0, 0, 0), *((*p, 0) for p in geometry.whole_padding), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), padding)
    x = x.reshape(*x.shape[:2], x.shape[2] // t, t * x.shape[3])
    windows = [
        x[:, i : i + (h - 1) * s + 1 : s, j : j + w]
        for i in range(rows)
        for j in range(geometry.shifts[1])
    ]
    return jnp.concatenate(windows, axis=3)


def _unpatch(p, geometry):
    """The transpose of `_patches`: adds up what the patches share."""
    (s, t), (a, b), rows = geometry.strides, geometry.shifts, geometry.window[0]
    size = p.shape[3] // (rows * b)

    def phase(first):
        """The rows first, first + s, ... of the padded input."""
        return sum(
            jnp.pad(
                p[..., (i * b + j) * size : (i * b + j + 1) * size],
                ((0, 0), (i // s, a - 1 - i // s), (j, b - 1 - j), (0, 0)),
            )
            for i in range(first, rows, s)
            for j in range(b)
        )

    # A stride longer than the window leaves rows that no window touches.
    phases = [phase(i) for i in range(min(s, rows))]
    phases += [jnp.zeros_like(phases[0])] * (s - len(phases))
    x = jnp.stack(phases, axis=2)
    x = x.reshape(p.shape[0], s * x.shape[1], t * x.shape[3], size // t)
    crop = [(-low, -high, 0) for low, high in geometry.whole_padding]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *crop, (0, 0, 0)])
