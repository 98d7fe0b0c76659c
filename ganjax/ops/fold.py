"""Strided convolutions as matrix products: how CPUs like them.

Space-to-depth turns a convolution of stride s into one of stride 1 with a window of
ceil(k / s) on s * s times the channels. Its few shifts, side by side, are patches; each of
the three maps (see `ganjax.ops.conv`) is then one product with them. Patches are made in
pieces of the batch, so that a piece stays in the cache.

`python -m experiments.benchmarks.conv` compares these with XLA's own convolutions.
"""

import jax
import jax.numpy as jnp
from jax import lax

# Patches of one piece. Between 2 and 8 MiB all is alike; larger falls out of the cache.
PIECE_BYTES = 4 << 20
# Above this XLA's own convolutions win again: making the patches costs more than it saves.
MOST_BYTES = 24 << 20


def pays(geometry, batch: int, channels: int) -> bool:
    """Whether products beat XLA's CPU convolution, by measurement.

    Args:
      geometry: of the convolution.
      batch: images in it.
      channels: of its input.
    """
    return min(geometry.strides) > 1 and _bytes(geometry, batch, channels) <= MOST_BYTES


def conv(x, k, geometry):
    """The forward map: (N, H, W, I), (h, w, I, O) -> (N, H', W', O)."""
    kernel = _fold_kernel(k, geometry)
    return jnp.concatenate(
        [
            lax.dot_general(_patches(piece, geometry), kernel, (((3,), (0,)), ((), ())))
            for piece in _pieces(geometry, x.shape[3], x)[0]
        ]
    )


def input_grad(g, k, geometry):
    """The input gradient: (N, H', W', O), (h, w, I, O) -> (N, H, W, I)."""
    kernel = _fold_kernel(k, geometry)
    return jnp.concatenate(
        [
            _unpatch(lax.dot_general(piece, kernel, (((3,), (1,)), ((), ()))), geometry)
            for piece in _pieces(geometry, k.shape[2], g)[0]
        ]
    )


def kernel_grad(x, g, geometry):
    """The kernel gradient: (N, H, W, I), (N, H', W', O) -> (h, w, I, O)."""
    axes = ((0, 1, 2), (0, 1, 2))
    kernel = sum(
        lax.dot_general(
            _patches(a, geometry),
            b,
            (axes, ((), ())),
            # Pieces are summed, which half precision should not do.
            preferred_element_type=jnp.float32,
        )
        for a, b in zip(*_pieces(geometry, x.shape[3], x, g), strict=True)
    )
    (s, t), (h, w), (a, b) = geometry.strides, geometry.window, _shifts(geometry)
    kernel = kernel.astype(x.dtype).reshape(a, b, s, t, x.shape[3], g.shape[3])
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(a * s, b * t, x.shape[3], g.shape[3])
    return kernel[:h, :w]


def _shifts(geometry) -> tuple[int, int]:
    """(vertical, horizontal) windows of the folded kernel: ceil(k / s)."""
    return tuple(-(-k // s) for k, s in zip(geometry.window, geometry.strides, strict=True))


def _folded_padding(geometry) -> list[tuple[int, int, int]]:
    """What makes the input as long as the shifts of all outputs reach (crops if negative)."""
    return [
        (low, s * (o + a - 1) - n - low, 0)
        for n, s, o, a, (low, _) in zip(
            geometry.size,
            geometry.strides,
            geometry.out,
            _shifts(geometry),
            geometry.padding,
            strict=True,
        )
    ]


def _bytes(geometry, batch: int, channels: int) -> int:
    (a, b), (s, t), (h, w) = _shifts(geometry), geometry.strides, geometry.out
    return 4 * batch * h * w * a * b * s * t * channels


def _pieces(geometry, channels: int, *arrays: jax.Array) -> list[list[jax.Array]]:
    """Each array cut along its batch so that a piece's patches take `PIECE_BYTES` at most."""
    batch = arrays[0].shape[0]
    count = -(-_bytes(geometry, batch, channels) // PIECE_BYTES)
    size = -(-batch // count)
    return [[array[i : i + size] for i in range(0, batch, size)] for array in arrays]


def _fold_kernel(k, geometry):
    """(h, w, I, O) -> (shifts * strides * I, O), the order of a patch."""
    (a, b), (s, t) = _shifts(geometry), geometry.strides
    h, w, inputs, outputs = k.shape
    k = jnp.pad(k, ((0, a * s - h), (0, b * t - w), (0, 0), (0, 0)))
    k = k.reshape(a, s, b, t, inputs, outputs).transpose(0, 2, 1, 3, 4, 5)
    return k.reshape(-1, outputs)


def _patches(x, geometry):
    """(N, H, W, I) -> (N, H', W', shifts * strides * I)."""
    (a, b), (s, t), (h, w) = _shifts(geometry), geometry.strides, geometry.out
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *_folded_padding(geometry), (0, 0, 0)])
    n, height, width, channels = x.shape
    x = x.reshape(n, height // s, s, width // t, t, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(n, height // s, width // t, s * t * channels)
    shifted = [x[:, i : i + h, j : j + w] for i in range(a) for j in range(b)]
    return jnp.concatenate(shifted, axis=3)


def _unpatch(p, geometry):
    """The transpose of `_patches`: adds up what the patches share."""
    (a, b), (s, t), (h, w) = _shifts(geometry), geometry.strides, geometry.out
    channels = p.shape[3] // (a * b)
    x = sum(
        jnp.pad(
            p[..., (i * b + j) * channels : (i * b + j + 1) * channels],
            ((0, 0), (i, a - 1 - i), (j, b - 1 - j), (0, 0)),
        )
        for i in range(a)
        for j in range(b)
    )
    x = x.reshape(p.shape[0], h + a - 1, w + b - 1, s, t, -1).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(p.shape[0], (h + a - 1) * s, (w + b - 1) * t, -1)
    crop = [(-low, -high, 0) for low, high, _ in _folded_padding(geometry)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *crop, (0, 0, 0)])
