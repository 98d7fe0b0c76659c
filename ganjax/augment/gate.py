"""Draws for each sample of a batch, gated: with probability p a value, else what does nothing."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ganjax.keys import fold

# Of each transform, by its name.
Probabilities = Mapping[str, jax.Array | float]


def gated(key: jax.Array, p: jax.Array | float, value: jax.Array, nothing) -> jax.Array:
    """`value` with probability p, else `nothing`, for each sample.

    Args:
      key: of this transform.
      p: probability of `value`.
      value: (N, ...).
      nothing: (...), or a scalar.
    """
    chosen = jax.random.bernoulli(fold(key, "gate"), p, value.shape[:1])
    return jnp.where(_beside(chosen, value), value, jnp.asarray(nothing, value.dtype)[None])


def only_where(changed: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """`new` for the samples of `changed`, bool (N,), and `old` bit for bit for the others."""
    return jnp.where(_beside(changed, new), new, old)


def differs(parameters: jax.Array, nothing) -> jax.Array:
    """bool (N,): for which samples `parameters` (N, ...) are not `nothing` (...)."""
    other = parameters != jnp.asarray(nothing, parameters.dtype)[None]
    return other.reshape(len(other), -1).any(-1)


def lognormal(key: jax.Array, n: int, sigma: float) -> jax.Array:
    """2 ** N(0, sigma), (n,): Karras et al. 2020 (arXiv:2006.06676) write Lognormal(0, (sigma
    ln 2)^2)."""
    return jnp.exp2(sigma * jax.random.normal(key, (n,), jnp.float32))


def uniform(key: jax.Array, n: int, low: float, high: float) -> jax.Array:
    """U[low, high), (n,)."""
    return jax.random.uniform(key, (n,), jnp.float32, low, high)


def _beside(chosen: jax.Array, value: jax.Array) -> jax.Array:
    return chosen.reshape(-1, *(1,) * (value.ndim - 1))
