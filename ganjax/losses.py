"""Adversarial losses: pure functions of the discriminator's outputs, each a scalar.

`real` and `fake` are (N,) outputs of the discriminator (logits) or critic (scores).
"""

import jax
import jax.numpy as jnp


def wasserstein_d(real: jax.Array, fake: jax.Array) -> jax.Array:
    """The critic's loss mean D(fake) - mean D(real), minus the Wasserstein-1 estimate.

    Arjovsky et al. 2017 (arXiv:1701.07875), equation 2 with its sign turned.
    """
    return jnp.mean(fake) - jnp.mean(real)


def wasserstein_g(fake: jax.Array) -> jax.Array:
    """The generator's loss -mean D(fake). Arjovsky et al. 2017, algorithm 1, line 10."""
    return -jnp.mean(fake)
