"""Computes convolutions of groups of channels on CPUs one group after another.

This is for wide groups, each of which is computed as a convolution of its own, and for any geometry
that has no better form. One loop computes all groups, so that the program holds a group once.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.ops.geometry import Geometry


def compute(a: jax.Array, b: jax.Array, geometry: Geometry, function) -> jax.Array:
    """Computes a map of two arrays group by group.

    Args:
      a: the map's first array.
      b: the map's second array.
      geometry: the geometry of the convolution.
      function: the map of one group, a `ganjax.ops.lowering.Lowering`.

    Returns:
      The map's value. The last axis of every array runs over all groups.
    """

    def part(array):
        array = array.reshape(*array.shape[:3], geometry.groups, -1)
        return jnp.moveaxis(array, 3, 0)

    one_group = geometry._replace(groups=1)
    parts = lax.map(lambda pair: function(*pair, geometry=one_group), (part(a), part(b)))
    joined = jnp.moveaxis(parts, 0, 3)
    return joined.reshape(*joined.shape[:3], -1)
