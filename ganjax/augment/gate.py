"""Random parameters of transforms, drawn for each sample, that take effect with probability p."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Num

from ganjax.augment.shapes import PerSample, Probability, RandomKey
from ganjax.keys import fold

# The parameters (...) with which a transform changes nothing, or one number for all of them.
Identity = ArrayLike | Sequence[int | float]


def gated(
    key: RandomKey, p: Probability, value: Num[Array, "n ..."], identity: Identity
) -> Num[Array, "n ..."]:
    """Keeps each sample's value with probability p, and otherwise replaces it by `identity`.

    Args:
      key: the random key of the transform, from which the gates are drawn.
      p: the probability of keeping a value.
      value: (N, ...), the parameters that were drawn for each sample.
      identity: (...), the parameters with which the transform changes nothing.
    """
    kept = jax.random.bernoulli(fold(key, "gate"), p, value.shape[:1])
    return jnp.where(_expanded(kept, value), value, jnp.asarray(identity, value.dtype)[None])


def only_where(
    changed: Bool[Array, " n"], new: Num[Array, "n ..."], old: Num[Array, "n ..."]
) -> Num[Array, "n ..."]:
    """Returns `new` for the changed samples, and `old` bit for bit for the others."""
    return jnp.where(_expanded(changed, new), new, old)


def differs(parameters: Num[Array, "n ..."], identity: Identity) -> Bool[Array, " n"]:
    """Returns whether each sample's parameters differ from `identity`: (N, ...), (...) -> (N,)."""
    other = parameters != jnp.asarray(identity, parameters.dtype)[None]
    return other.reshape(len(other), -1).any(-1)


def lognormal(key: RandomKey, n: int, sigma: float) -> PerSample:
    """Draws n numbers 2 ** N(0, sigma^2).

    Karras et al. 2020 (arXiv:2006.06676), appendix B, write it as Lognormal(0, (sigma ln 2)^2).
    """
    return jnp.exp2(sigma * jax.random.normal(key, (n,), jnp.float32))


def uniform(key: RandomKey, n: int, low: float, high: float) -> PerSample:
    """Draws n numbers from U[low, high)."""
    return jax.random.uniform(key, (n,), jnp.float32, low, high)


def _expanded(chosen: Bool[Array, " n"], values: Num[Array, "n ..."]) -> Bool[Array, "n ..."]:
    """Returns `chosen` with the number of axes of `values`, so that the two broadcast."""
    return chosen.reshape(-1, *(1,) * (values.ndim - 1))
