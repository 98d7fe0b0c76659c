"""Computes depthwise convolutions on CPUs as sums of shifted images times the kernel's taps.

Each channel has a kernel of its own, so that nothing is a matrix product. XLA makes each sum in one
loop over the output.
"""

from typing import cast

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops.geometry import Geometry


def conv(x: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the forward map: (N, H, W, C), (h, w, 1, C) -> (N, H', W', C)."""
    terms = (k[i : i + 1, j : j + 1] * image for (i, j), image in _shifted(x, geometry))
    return cast(jax.Array, sum(terms))


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, H', W', C), (h, w, 1, C) -> (N, H, W, C)."""
    gaps = [(0, 0, 0), *((0, 0, s - 1) for s in geometry.strides), (0, 0, 0)]
    g = lax.pad(g, jnp.zeros((), g.dtype), gaps)
    height, width = g.shape[1:3]
    reverse = Geometry((1, 1), geometry.input_grad_padding(), (height, width), geometry.window)
    return conv(g, k[::-1, ::-1], reverse)


def kernel_grad(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the kernel gradient: (N, H, W, C), (N, H', W', C) -> (h, w, 1, C)."""
    taps = [jnp.sum(image * g, (0, 1, 2)) for _, image in _shifted(x, geometry)]
    return jnp.stack(taps).reshape(*geometry.window, 1, -1)


def _shifted(x, geometry):
    """Yields for each tap its place (i, j) and the pixels (N, H', W', C) that it meets."""
    (s, t), (h, w), (rows, columns) = geometry.strides, geometry.window, geometry.out
    (top, bottom), (left, right) = geometry.padding
    padding = [(0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), padding)
    for i in range(h):
        for j in range(w):
            yield (i, j), x[:, i : i + (rows - 1) * s + 1 : s, j : j + (columns - 1) * t + 1 : t]
