"""How what a GAN makes and is trained on is stored outside of its networks.

Images are stored as uint8 and seen by networks as floats. Other things, such as the vectors of
`ganjax.algorithms.tagging`, are floats in both places.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ganjax.engine.pixels import ValueRange, from_uint8, to_uint8


class Conversion(Protocol):
    """A function that converts an array (N, ...) between storage and networks."""

    def __call__(self, array: jax.Array, value_range: ValueRange, /) -> jax.Array:
        """Converts an array, given the values of black and of white in the networks' images."""
        ...


class Storage(NamedTuple):
    """The two conversions between storage and networks.

    Attributes:
      read: converts each array of a batch of reals to what the networks see.
      write: converts samples to what is stored.
    """

    read: Conversion
    write: Conversion


def read_pixels(array: jax.Array, value_range: ValueRange) -> jax.Array:
    """Converts uint8 pixels to floats in `value_range`, and leaves any other array unchanged."""
    return from_uint8(array, value_range) if array.dtype == jnp.uint8 else array


def unchanged(array: jax.Array, value_range: ValueRange) -> jax.Array:
    """Returns the array unchanged."""
    del value_range
    return array


IMAGES = Storage(read_pixels, to_uint8)
FLOATS = Storage(unchanged, unchanged)
