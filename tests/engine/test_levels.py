"""Images as levels and as networks see them."""

import jax.numpy as jnp
import pytest

from ganjax.engine import levels


def test_levels_are_rounded_and_clipped():
    x = jnp.array([-1.5, -1.0, 0.0, 1.0, 2.0])
    assert levels.to_uint8(x, (-1.0, 1.0)).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("ends", [(-1.0, 1.0), (0.0, 1.0)])
def test_levels_come_back(ends):
    every = jnp.arange(256, dtype=jnp.uint8)
    seen = levels.from_uint8(every, ends)
    assert (seen[0], seen[-1]) == ends
    assert levels.to_uint8(seen, ends).tolist() == list(range(256))
