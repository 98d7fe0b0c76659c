"""Adversarial losses: pure functions of the discriminator's outputs, each a scalar.

`real` and `fake` are (N,) outputs of the discriminator (logits) or critic (scores).
"""

import jax
import jax.numpy as jnp
import optax


def binary_cross_entropy(logits: jax.Array, target: jax.Array | float) -> jax.Array:
    """Mean of -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), stable for all logits.

    Targets outside [0, 1], as noisy labels give them, extend it linearly.

    Goodfellow et al. 2014 (arXiv:1406.2661), equation 1: with target 1 for reals and 0 for
    fakes D's two halves; with target 1 for fakes G's non-saturating loss (section 3).
    """
    target = jnp.broadcast_to(target, logits.shape)
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, target))


def wasserstein_d(real: jax.Array, fake: jax.Array) -> jax.Array:
    """The critic's loss mean D(fake) - mean D(real), minus the Wasserstein-1 estimate.

    Arjovsky et al. 2017 (arXiv:1701.07875), equation 2 with its sign turned.
    """
    return jnp.mean(fake) - jnp.mean(real)


def wasserstein_g(fake: jax.Array) -> jax.Array:
    """The generator's loss -mean D(fake). Arjovsky et al. 2017, algorithm 1, line 10."""
    return -jnp.mean(fake)
