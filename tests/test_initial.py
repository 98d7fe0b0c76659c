"""What tests draw with few programs is what JAX draws with a program of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from initial import DRAWS, with_few_programs


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize(
    ("shape", "dtype"), [((5, 3), np.float32), ((), np.float32), (9, jnp.bfloat16)]
)
@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
def test_draws_with_few_programs_are_the_draws(draw, shape, dtype, implementation):
    one, other = (
        function(jax.random.key(7, impl=implementation), shape, dtype)
        for function in (with_few_programs(draw), draw)
    )
    assert one.dtype == other.dtype == dtype
    np.testing.assert_array_equal(one, other)
