"""Latents of some of many samples are those of a draw of all, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import random as generators

from ganjax.algorithms.networks import LATENTS
from ganjax.engine import latents
from ganjax.keys import fold

NUM = 1_007


def drawn_otherwise(key, n):
    """Draws latents by two arrays of numbers."""
    return jnp.concatenate([jax.random.normal(fold(key, i), (n, 3)) for i in range(2)], axis=1)


def drawn_by_folded_keys(key, n):
    key, _ = jax.random.split(fold(key, "latent", 7))
    return jax.random.uniform(key, (n, 2, 3), jnp.float32, -1, 1)


def stratified(key, n):
    return (jnp.arange(n)[:, None] + jax.random.uniform(key, (n, 1))) / n


@pytest.mark.parametrize(
    "latent",
    [*(lambda key, n, draw=draw: draw(key, (n, 37)) for draw in LATENTS.values()),
     drawn_by_folded_keys],
)  # fmt: skip
def test_rows_are_those_of_all(latent):
    key = jax.random.key(3)
    whole = np.asarray(jax.jit(latent, static_argnums=1)(key, NUM))
    draw = latents.rows(latent, key, NUM)
    assert draw is not None
    for first in range(0, NUM, 256):
        indices = np.minimum(np.arange(first, first + 256), NUM - 1)
        np.testing.assert_array_equal(draw(indices), whole[indices])
    assert draw(np.arange(4)).dtype == whole.dtype


@pytest.mark.parametrize(
    ("latent", "num"), [(drawn_otherwise, 2), (stratified, 2), (stratified, 9)]
)
def test_latents_that_are_drawn_otherwise_are_found_out(latent, num):
    assert latents.rows(latent, jax.random.key(3), num) is None


def test_another_generator_is_found_out():
    assert latents.rows(drawn_by_folded_keys, jax.random.key(3, impl="rbg"), 9) is None


@pytest.mark.parametrize(
    ("position", "upper", "lower"),
    [
        ((1, 17), [1, 1, 1, 1], [17, 18, 19, 20]),
        ((0, 2**32 - 2), [0, 0, 1, 1], [2**32 - 2, 2**32 - 1, 0, 1]),
    ],
)
def test_positions_beyond_32_bits_are_counted(position, upper, lower):
    words = jax.random.key_data(jax.random.key(5))
    counts = jnp.array([*upper, *lower], jnp.uint32)
    one, other = np.split(np.asarray(generators.threefry_2x32(words, counts)), 2)
    position = jnp.array(position, jnp.uint32)
    key = jax.random.wrap_key_data(jnp.concatenate([words, position]), impl=latents.FROM)
    np.testing.assert_array_equal(jax.random.bits(key, (2, 2)).reshape(-1), one ^ other)


def test_the_position_of_a_row_is_counted_in_numbers():
    """Row 2**28 of 17 numbers begins at position 2**32 + 2**28."""
    drawn = []

    def latent(key, n):
        drawn.append(jax.random.key_data(key))
        return jax.random.uniform(key, (n, 17))

    draw = latents.rows(latent, jax.random.key(5), 2**40)
    assert draw is not None
    draw(np.arange(2**28, 2**28 + 2))
    assert drawn[-1][2:].tolist() == [1, 2**28]
