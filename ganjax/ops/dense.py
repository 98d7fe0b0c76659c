"""Convolutions whose window covers the whole image once, which are matrix products.

They are between 1x1 pixels and as many as the window has. With groups there is one product for each
group of channels.
"""

import jax
import jax.numpy as jnp

from ganjax.ops.geometry import Geometry


def conv(x: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the forward map: (N, H, W, I), (H, W, I / groups, O) -> (N, 1, 1, O)."""
    y = jnp.einsum("nhwgi,hwigo->ngo", _split(x, geometry), _split(k, geometry))
    return y.reshape(-1, 1, 1, k.shape[3])


def input_grad(g: jax.Array, k: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the input gradient: (N, 1, 1, O), (H, W, I / groups, O) -> (N, H, W, I)."""
    x = jnp.einsum("ngo,hwigo->nhwgi", _split(g[:, 0, 0], geometry), _split(k, geometry))
    return x.reshape(*x.shape[:3], -1)


def kernel_grad(x: jax.Array, g: jax.Array, geometry: Geometry) -> jax.Array:
    """Computes the kernel gradient: (N, H, W, I), (N, 1, 1, O) -> (H, W, I / groups, O)."""
    k = jnp.einsum("nhwgi,ngo->hwigo", _split(x, geometry), _split(g[:, 0, 0], geometry))
    return k.reshape(*k.shape[:3], -1)


def _split(array, geometry):
    """Splits the last axis into the groups and the channels of one group."""
    return array.reshape(*array.shape[:-1], geometry.groups, -1)
