"""Computes convolutions of narrow groups of channels on CPUs, at stride 1.

XLA's own kernel gradient of groups takes a hundred times as long as a matrix product on CPUs, and
patches of a group have too few columns to multiply: 9 * 16 rows by 16 columns for 3x3 taps of 16
channels. Here the columns of the window are laid side by side in the input, and its rows in the
output. The product of a group then is one of 3 * 16 rows by 3 * 16 columns with no product in vain,
and each side is copied 3 times instead of one side 9 times:

    conv:         the columns of the input times the kernel make the parts of each row, which are
                  added up, shifted by the row
    input_grad:   the forward map of the cotangent with the kernel turned round
    kernel_grad:  the columns of the input times the cotangent shifted by each row

All groups are a batch of products. Chunks of the batch of images stay in the cache.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops import strips
from ganjax.ops.chunks import cache_bytes, count_chunks, sum_chunks, write_chunks
from ganjax.ops.geometry import Geometry
from ganjax.ops.native import swap_within_groups

# Bytes of the columns, or of the rows, of one chunk (docs/speed.md). Larger ones keep more threads
# busy, where the cache holds them.
CHUNK_BYTES = min(max(2 << 20, cache_bytes() // 16), 16 << 20)
# Stride 1, every window on the image and no padding negative.
fits = strips.fits


def conv(x: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the forward map: (N, H, W, I), (h, w, I / groups, O) -> (N, H', W', O)."""
    h, groups, (out_rows, out_columns) = geometry.window[0], geometry.groups, geometry.out
    outputs, top = k.shape[3] // groups, geometry.padding[0][0]
    kernel = _split(k, groups).transpose(3, 1, 2, 0, 4)
    matrices = kernel.reshape(groups, -1, h * outputs)

    def conv_chunk(x):
        rows = lax.dot_general(_columns(x, geometry), matrices, (((4,), (1,)), ((0,), (0,))))
        first, *others = (
            _moved(rows[..., i * outputs : (i + 1) * outputs], top - i, out_rows) for i in range(h)
        )
        y = sum(others, first)
        return y.transpose(1, 2, 3, 0, 4).reshape(-1, out_rows, out_columns, k.shape[3])

    return write_chunks(conv_chunk, x, _count(geometry, x, k.shape[3]), k)


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H', W', O), (h, w, I / groups, O) -> (N, H, W, I)."""
    reverse = geometry._replace(padding=geometry.input_grad_padding(), size=geometry.out)
    k = swap_within_groups(k[::-1, ::-1], geometry.groups)
    return conv(g, k.swapaxes(2, 3), reverse)


def kernel_grad(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I / groups, O)."""
    (h, w), groups, (top, bottom) = geometry.window, geometry.groups, geometry.padding[0]
    height = x.shape[1]

    def kernel_grad_of_chunk(x, g):
        g = jnp.pad(g, ((0, 0), (h - 1 - top, h - 1 - bottom), (0, 0), (0, 0)))
        g = _split(g, groups)
        shifted = [g[:, i : i + height].transpose(3, 0, 1, 2, 4) for i in reversed(range(h))]
        rows, columns = jnp.concatenate(shifted, 4), _columns(x, geometry)
        rows, columns = (a.reshape(groups, -1, a.shape[4]) for a in (rows, columns))
        return lax.dot_general(columns, rows, (((1,), (1,)), ((0,), (0,))))

    kernel = sum_chunks(kernel_grad_of_chunk, x, g, _count(geometry, x, g.shape[3]))
    kernel = kernel.reshape(groups, w, -1, h, g.shape[3] // groups).transpose(3, 1, 2, 0, 4)
    return kernel.reshape(h, w, -1, g.shape[3])


def _moved(rows, by: int, height: int):
    """Moves the parts (groups, N, H, W', O) of rows down, and cuts or fills them to a height.

    XLA pads each part as it adds them up; a padded array of all parts would be written first.
    """
    vertical = (by, height - rows.shape[2] - by, 0)
    unmoved = (0, 0, 0)
    return lax.pad(rows, jnp.zeros((), rows.dtype), (unmoved, unmoved, vertical, unmoved, unmoved))


def _columns(x, geometry):
    """Lays the columns of the window side by side: (N, H, W, I) -> (groups, N, H, W', w * I)."""
    x = _split(jnp.pad(x, ((0, 0), (0, 0), geometry.padding[1], (0, 0))), geometry.groups)
    width = geometry.out[1]
    shifted = [x[:, :, j : j + width].transpose(3, 0, 1, 2, 4) for j in range(geometry.window[1])]
    return jnp.concatenate(shifted, 4)


def _split(array, groups: int):
    """Splits the last of four axes into the groups and the channels of one."""
    return array.reshape(*array.shape[:3], groups, -1)


def _count(geometry, x, outputs: int) -> int:
    """Returns the number of chunks of the batch x."""
    h, w = geometry.window
    pixels = x.shape[0] * x.shape[1] * geometry.out[1]
    return count_chunks(x.shape[0], 4 * pixels * max(w * x.shape[3], h * outputs), CHUNK_BYTES)
