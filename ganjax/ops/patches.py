"""Computes convolutions on CPUs as matrix products with patches, also known as im2col.

This suits strided convolutions and those of few channels. A patch holds all pixels under a window,
side by side, and each of the three maps (`ganjax.ops.convolutions`) is one product with the
patches. They are made in chunks of the batch that stay in the cache. A run of as many columns as
the horizontal stride is taken as one pixel with as many times the channels, which makes the copies
fewer and longer.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops.chunks import count_chunks, sum_chunks, write_chunks
from ganjax.ops.geometry import Geometry
from ganjax.ops.products import product_transposed

# Bytes of the patches of one chunk: more falls out of the cache (docs/speed.md).
CHUNK_BYTES = 4 << 20


def conv(x: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the forward map: (N, H, W, I), (h, w, I, O) -> (N, H', W', O)."""
    matrix = _kernel_matrix(k, geometry)

    def conv_chunk(x):
        return lax.dot_general(_patches(x, geometry), matrix, (((3,), (0,)), ((), ())))

    return write_chunks(conv_chunk, x, _count(geometry, *x.shape[::3]), k)


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    matrix = _kernel_matrix(k, geometry)

    def input_grad_of_chunk(g):
        return _add_patches(lax.dot_general(g, matrix, (((3,), (1,)), ((), ()))), geometry)

    return write_chunks(input_grad_of_chunk, g, _count(geometry, g.shape[0], k.shape[2]), k)


def kernel_grad(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""

    def kernel_grad_of_chunk(x, g):
        return product_transposed(_patches(x, geometry), g)

    kernel = sum_chunks(kernel_grad_of_chunk, x, g, _count(geometry, *x.shape[::3]))
    h, w = geometry.window
    kernel = kernel.astype(x.dtype).reshape(h, -1, x.shape[3], g.shape[3])
    return kernel[:, :w]


def patch_bytes(geometry: Geometry, batch: int, channels: int) -> int:
    """Returns the bytes of all patches of a batch in float32."""
    (h, w), rows, columns = geometry.out, geometry.window[0], geometry.shifts[1]
    return 4 * batch * h * w * rows * columns * geometry.strides[1] * channels


def _count(geometry, batch: int, channels: int) -> int:
    """Returns the number of chunks of a batch of images with this number of channels."""
    return count_chunks(batch, patch_bytes(geometry, batch, channels), CHUNK_BYTES)


def _kernel_matrix(k, geometry):
    """Flattens a kernel, w rounded up to whole strides with zeros: (h, w, I, O) -> (patch, O)."""
    extra = geometry.shifts[1] * geometry.strides[1] - k.shape[1]
    return jnp.pad(k, ((0, 0), (0, extra), (0, 0), (0, 0))).reshape(-1, k.shape[3])


def _patches(x, geometry):
    """Copies the pixels under every window into a patch: (N, H, W, I) -> (N, H', W', patch)."""
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


def _add_patches(p, geometry):
    """Computes the transpose of `_patches`, which adds up the pixels that patches share."""
    (s, t), (a, b), rows = geometry.strides, geometry.shifts, geometry.window[0]
    size = p.shape[3] // (rows * b)

    def every_sth_row(first):
        """Returns rows number first, first + s, first + 2 * s, ... of the padded input."""
        return sum(
            jnp.pad(
                p[..., (i * b + j) * size : (i * b + j + 1) * size],
                ((0, 0), (i // s, a - 1 - i // s), (j, b - 1 - j), (0, 0)),
            )
            for i in range(first, rows, s)
            for j in range(b)
        )

    # Where the stride is longer than the window, no window touches the remaining rows.
    interleaved = [every_sth_row(i) for i in range(min(s, rows))]
    interleaved += [jnp.zeros_like(interleaved[0])] * (s - len(interleaved))
    x = jnp.stack(interleaved, axis=2)
    x = x.reshape(p.shape[0], s * x.shape[1], t * x.shape[3], size // t)
    crop = [(-low, -high, 0) for low, high in geometry.whole_padding]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *crop, (0, 0, 0)])
