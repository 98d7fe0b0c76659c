"""Adversarial losses: pure functions of the discriminator's outputs, each a scalar.

`real` and `fake` are (N,) scores: the outputs of the discriminator (logits) or of the critic.
`LOSSES` holds the losses by name; to add one, write its functions and its line there.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

Scores = Float[Array, " n"]
Scalar = Float[Array, ""]
# What D should answer for each real and for each fake, or one number for all of a kind.
Targets = tuple[Array | float, Array | float] | Float[Array, "2 n"]


class Loss(NamedTuple):
    """The losses of both players.

    Attributes:
      d: (real, fake, targets) -> the discriminator's loss, the sum of its halves on reals and on
        fakes. `targets` is what D should answer for each real and each fake: 1 and 0, but for
        noise on labels.
      g: (real, fake) -> the generator's loss.
      logits: (real, fake) -> the same, shifted so that D decides for "real" above 0; None where D
        decides nothing, as a critic.
      uses_targets: whether `d` looks at its targets.
      compares_batches: whether scores are compared with the mean of the whole batch, which
        micro-batches do not have.
    """

    d: Callable[[Scores, Scores, Targets], Scalar]
    g: Callable[[Scores, Scores], Scalar]
    logits: Callable[[Scores, Scores], tuple[Scores, Scores]] | None
    uses_targets: bool
    compares_batches: bool = False


def binary_cross_entropy(logits: Scores, target: Scores | float) -> Scalar:
    """Computes the mean of -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), stable for all logits.

    Targets outside [0, 1], as noisy labels give them, extend it linearly.

    Goodfellow et al. 2014 (arXiv:1406.2661), equation 1: with target 1 for reals and 0 for
    fakes D's two halves; with target 1 for fakes G's non-saturating loss (section 3).
    """
    target = jnp.broadcast_to(target, logits.shape)
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, target))


def logistic_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes D's cross entropy on reals plus that on fakes.

    Goodfellow et al. 2014, equation 1.
    """
    return binary_cross_entropy(real, targets[0]) + binary_cross_entropy(fake, targets[1])


def non_saturating_g(real: Scores, fake: Scores) -> Scalar:
    """Computes -mean log sigmoid(D(fake)). Goodfellow et al. 2014, section 3."""
    return binary_cross_entropy(fake, 1.0)


def minimax_g(real: Scores, fake: Scores) -> Scalar:
    """Computes mean log(1 - sigmoid(D(fake))), which saturates.

    Goodfellow et al. 2014, equation 1.
    """
    return -binary_cross_entropy(fake, 0.0)


def least_squares_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes half the squared errors of D's scores.

    Mao et al. 2017 (arXiv:1611.04076), equation 9.
    """
    return 0.5 * (jnp.mean((real - targets[0]) ** 2) + jnp.mean((fake - targets[1]) ** 2))


def least_squares_g(real: Scores, fake: Scores) -> Scalar:
    """Computes half the squared distance of D(fake) to 1. Mao et al. 2017, equation 9."""
    return 0.5 * jnp.mean((fake - 1.0) ** 2)


def hinge_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes mean max(0, 1 - D(real)) + mean max(0, 1 + D(fake)).

    Lim & Ye 2017 (arXiv:1705.02894); Miyato et al. 2018 (arXiv:1802.05957), equation 16.
    """
    return jnp.mean(jax.nn.relu(1.0 - real)) + jnp.mean(jax.nn.relu(1.0 + fake))


def wasserstein_d(real: Scores, fake: Scores, targets: Targets = (1.0, 0.0)) -> Scalar:
    """Computes the critic's loss mean D(fake) - mean D(real).

    With its sign turned it estimates the Wasserstein-1 distance.
    Arjovsky et al. 2017 (arXiv:1701.07875), equation 2.
    """
    return jnp.mean(fake) - jnp.mean(real)


def wasserstein_g(real: Scores, fake: Scores) -> Scalar:
    """Computes the generator's loss -mean D(fake). Arjovsky et al. 2017, algorithm 1, line 10."""
    return -jnp.mean(fake)


def relativistic_logits(real: Scores, fake: Scores) -> tuple[Scores, Scores]:
    """Computes each score less the mean score of the other kind.

    Jolicoeur-Martineau 2018 (arXiv:1807.00734), section 4.2, the relativistic average.
    """
    return real - jnp.mean(fake), fake - jnp.mean(real)


def relativistic_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes D's cross entropy of relativistic logits.

    Jolicoeur-Martineau 2018, equation 8 (RaSGAN).
    """
    return logistic_d(*relativistic_logits(real, fake), targets)


def relativistic_g(real: Scores, fake: Scores) -> Scalar:
    """Computes D's loss with the targets exchanged: reals matter to G too. Equation 9 (RaSGAN)."""
    return logistic_d(*relativistic_logits(real, fake), (0.0, 1.0))


def _as_they_are(real, fake):
    return real, fake


LOSSES = {
    "non_saturating": Loss(logistic_d, non_saturating_g, _as_they_are, True),
    "minimax": Loss(logistic_d, minimax_g, _as_they_are, True),
    "least_squares": Loss(
        least_squares_d, least_squares_g, lambda real, fake: (real - 0.5, fake - 0.5), True
    ),
    "hinge": Loss(hinge_d, wasserstein_g, _as_they_are, False),
    "wasserstein": Loss(wasserstein_d, wasserstein_g, None, False),
    "relativistic": Loss(
        relativistic_d, relativistic_g, relativistic_logits, True, compares_batches=True
    ),
}
