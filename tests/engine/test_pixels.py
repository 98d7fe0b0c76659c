"""Images as uint8 and as networks see them."""

import jax.numpy as jnp
import pytest

from ganjax.engine import pixels


def test_floats_become_uint8_rounded_and_clipped():
    x = jnp.array([-1.5, -1.0, 0.0, 1.0, 2.0])
    assert pixels.to_uint8(x, (-1.0, 1.0)).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0)])
def test_every_uint8_value_comes_back(value_range):
    every = jnp.arange(256, dtype=jnp.uint8)
    seen = pixels.from_uint8(every, value_range)
    assert (seen[0], seen[-1]) == value_range
    assert pixels.to_uint8(seen, value_range).tolist() == list(range(256))
