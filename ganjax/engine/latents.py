"""Latents of some of many samples, drawn without those of the others.

JAX's default generator, Threefry, makes each number of an array from the key and from the number's
position alone. A key of the generator that is defined here also holds a position from which it
counts. So what it draws for a few samples are the rows of these in a draw for many.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import random as generators

from ganjax.engine.algorithm import Latent

THREEFRY = "threefry2x32"


def rows(latent: Latent, key: jax.Array, num: int) -> Callable[[np.ndarray], np.ndarray] | None:
    """Returns a function that draws rows of what `latent(key, num)` draws.

    Args:
      latent: the function that draws latents.
      key: its key.
      num: the number of latents, N.

    Returns:
      A function from the indices of n rows, of which each is at most one more than that before, to
      these rows, (n, ...). None if the generator of random numbers is another one, or if `latent`
      draws otherwise than by one array of 32-bit numbers, so that all rows are to be drawn at once.
    """
    if (
        not getattr(jax.config, "jax_threefry_partitionable", True)
        or str(jax.random.key_impl(key)) != THREEFRY
    ):
        return None
    words = jax.random.key_data(key)
    of_one = math.prod(jax.eval_shape(lambda: latent(jax.random.key(0), 1)).shape)

    def draw(indices: np.ndarray) -> np.ndarray:
        first = int(indices[0])
        position = np.array(divmod(first * of_one, 1 << 32), np.uint32)
        of_rows = jax.random.wrap_key_data(jnp.concatenate([words, position]), impl=FROM)
        return np.asarray(latent(of_rows, len(indices)))[indices - first]

    # Nothing says that another algorithm draws so, hence the ends of a few rows are compared.
    few = min(num, 5)
    part = max(1, few // 2)
    whole = np.asarray(latent(jax.random.wrap_key_data(words, impl=THREEFRY), few))
    alike = all(
        np.array_equal(draw(np.arange(first, first + part)), whole[first : first + part])
        for first in (0, few - part)
    )
    return draw if alike else None


def _random_bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    """Returns random numbers, as Threefry's of the positions from that of the key on."""
    low = key[3] + jnp.arange(math.prod(shape), dtype=jnp.uint32)
    high = key[2] + (low < key[3]).astype(jnp.uint32)
    counts = jnp.concatenate([high, low])
    one, other = jnp.split(generators.threefry_2x32(key[:2], counts), 2)
    return (one ^ other).astype(f"uint{bit_width}").reshape(shape)


def _fold_in(key: jax.Array, data: int) -> jax.Array:
    plain = jax.random.wrap_key_data(key[:2], impl=THREEFRY)
    return jnp.concatenate([jax.random.key_data(jax.random.fold_in(plain, data)), key[2:]])


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    plain = jax.random.wrap_key_data(key[:2], impl=THREEFRY)
    words = jax.random.key_data(jax.random.split(plain, shape))
    return jnp.concatenate([words, jnp.broadcast_to(key[2:], words.shape)], axis=-1)


def _seed(seed: jax.Array) -> jax.Array:
    raise NotImplementedError("keys from a position are made from other keys")


# A key's words are those of Threefry's key, and the upper and lower 32 bits of a position.
FROM = generators.define_prng_impl(
    key_shape=(4,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="threefry2x32_from",
    tag="frm",
)
