"""Adversarial losses, which are pure functions of the discriminator's scores, and their fields.

`real` and `fake` are the scores (N,) of real and of generated images: a discriminator's logits or a
critic's values. Losses are means over the batch, in nats where they are cross entropies. To add a
loss, write its functions and list them by name in `LOSSES`.
"""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ganjax.config import ConfigError, Fields, Fraction, OneOf
from ganjax.engine.algorithm import DiscriminatorLoss, GeneratorLoss
from ganjax.engine.meanings import Meaning
from ganjax.keys import fold

Scores = Float[Array, " n"]
Scalar = Float[Array, ""]
# The targets of real and of fake scores: for each kind one number, or one number per score.
Targets = tuple[Scores | float, Scores | float] | Float[Array, "2 n"]
# The logits of the probabilities 1e-7 and 1 - 1e-7, computed in float32: 16.118095.
LEAST = np.float32(1e-7)
LOGIT_BOUND = float(np.log((1 - LEAST) / LEAST))
# The metrics of losses with logits and, last, of those without.
MEANINGS = {
    "d_real_acc": Meaning(
        "the share of reals that D takes for real",
        least=0,
        most=1,
        reading="far above val_d_real_acc, that of held-out images, where D overfits",
    ),
    "d_fake_acc": Meaning("the share of fakes that D takes for fake", least=0, most=1),
    "d_acc": Meaning(
        "the share of images that D is right about, the mean of d_real_acc and d_fake_acc",
        least=0,
        most=1,
        healthy=(0.80, 0.95),
        reading="above, D is too strong for G to learn from, and below too weak to teach it (Béres "
        "2021); lower where penalties, spectral normalisation, dropout or label noise hold D back",
    ),
    "g_acc": Meaning(
        "the share of fakes that D takes for real, in G's update",
        least=0,
        most=1,
        reading="near 0 D is too strong for G to learn from",
    ),
    "c_wass_loss": Meaning(
        "the critic's loss without its penalty, mean D(fake) - mean D(real): minus an estimate of "
        "the Wasserstein-1 distance, up to the critic's Lipschitz constant",
        reading="negative, and rising towards 0 as samples get better (Arjovsky et al. 2017, "
        "section 3.1)",
    ),
}


class Loss(NamedTuple):
    """The losses of the discriminator and of the generator.

    Attributes:
      d: (real, fake, targets) -> the discriminator's loss, the sum of its halves on reals and on
        fakes. Without label noise the targets are 1 for reals and 0 for fakes.
      g: (real, fake) -> the generator's loss.
      logits: (real, fake) -> the scores shifted such that D takes an image for real where they are
        above 0; None for a critic, whose scores decide nothing.
      uses_targets: whether `d` depends on its targets.
      compares_batches: whether a score is compared with the mean score of the whole batch, which
        a micro-batch does not know.
      pairs: whether the i-th real is compared with the i-th fake. Both then need one label, and G's
        update takes reals of its own.
      d_beyond: takes the place of `d` where targets may leave [0, 1]; None where `d` has a minimum
        for these too.
      gives_probability: whether the sigmoid of an image's score is D's probability that the image
        is real.
      meaning: what an image's score is if it gives no probability, in words for the user.
    """

    d: Callable[[Scores, Scores, Targets], Scalar]
    g: Callable[[Scores, Scores], Scalar]
    logits: Callable[[Scores, Scores], tuple[Scores, Scores]] | None
    uses_targets: bool
    compares_batches: bool = False
    pairs: bool = False
    d_beyond: Callable[[Scores, Scores, Targets], Scalar] | None = None
    gives_probability: bool = False
    meaning: str = "D's output"


def binary_cross_entropy(logits: Scores, target: Scores | float) -> Scalar:
    """Computes the mean of -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), stable for all logits.

    The value is linear in the targets t. For targets outside [0, 1] it falls without end, unless
    the logits are `clipped`.

    Goodfellow et al. 2014 (arXiv:1406.2661), equation 1: target 1 on reals and target 0 on fakes
    give the halves of D's loss; target 1 on fakes gives G's non-saturating loss (section 3).

    Args:
      logits: (N,) the x.
      target: (N,), or one number for all logits.
    """
    target = jnp.broadcast_to(target, logits.shape)
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, target))


def logistic_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes D's cross entropy on reals plus its cross entropy on fakes.

    Goodfellow et al. 2014, equation 1.
    """
    return binary_cross_entropy(real, targets[0]) + binary_cross_entropy(fake, targets[1])


def clipped(logits: Scores) -> Scores:
    """Clips logits to those of probabilities in [1e-7, 1 - 1e-7]; the gradient beyond is 0.

    Keras clips probabilities so before their cross entropy, which then has a minimum for targets
    outside [0, 1] too.
    """
    return jnp.clip(logits, -LOGIT_BOUND, LOGIT_BOUND)


def clipped_logistic_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes `logistic_d` of clipped logits, for targets that may leave [0, 1]."""
    return logistic_d(clipped(real), clipped(fake), targets)


def non_saturating_g(real: Scores, fake: Scores) -> Scalar:
    """Computes -mean log sigmoid(D(fake)). Goodfellow et al. 2014, section 3."""
    return binary_cross_entropy(fake, 1.0)


def minimax_g(real: Scores, fake: Scores) -> Scalar:
    """Computes mean log(1 - sigmoid(D(fake))), which saturates.

    Goodfellow et al. 2014, equation 1.
    """
    return -binary_cross_entropy(fake, 0.0)


def least_squares_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes half the sum of D's mean squared errors on reals and on fakes.

    Mao et al. 2017 (arXiv:1611.04076), equation 9.
    """
    return 0.5 * (jnp.mean((real - targets[0]) ** 2) + jnp.mean((fake - targets[1]) ** 2))


def least_squares_g(real: Scores, fake: Scores) -> Scalar:
    """Computes half the mean squared distance of D(fake) to 1. Mao et al. 2017, equation 9."""
    return 0.5 * jnp.mean((fake - 1.0) ** 2)


def hinge_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes mean max(0, 1 - D(real)) + mean max(0, 1 + D(fake)).

    Lim & Ye 2017 (arXiv:1705.02894); Miyato et al. 2018 (arXiv:1802.05957), equation 16.
    """
    return jnp.mean(jax.nn.relu(1.0 - real)) + jnp.mean(jax.nn.relu(1.0 + fake))


def wasserstein_d(real: Scores, fake: Scores, targets: Targets = (1.0, 0.0)) -> Scalar:
    """Computes the critic's loss mean D(fake) - mean D(real).

    Its negative estimates the Wasserstein-1 distance. Arjovsky et al. 2017
    (arXiv:1701.07875), equation 2.
    """
    return jnp.mean(fake) - jnp.mean(real)


def wasserstein_g(real: Scores, fake: Scores) -> Scalar:
    """Computes the generator's loss -mean D(fake). Arjovsky et al. 2017, algorithm 1, line 10."""
    return -jnp.mean(fake)


def relativistic_logits(real: Scores, fake: Scores) -> tuple[Scores, Scores]:
    """Subtracts from each score the mean score of the other kind: (N,), (N,) -> (N,), (N,).

    Jolicoeur-Martineau 2018 (arXiv:1807.00734), section 4.2, the relativistic average.
    """
    return real - jnp.mean(fake), fake - jnp.mean(real)


def relativistic_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes D's cross entropy of relativistic logits.

    Jolicoeur-Martineau 2018, equation 8 (RaSGAN).
    """
    return logistic_d(*relativistic_logits(real, fake), targets)


def clipped_relativistic_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes `relativistic_d` of clipped logits, for targets that may leave [0, 1]."""
    return clipped_logistic_d(*relativistic_logits(real, fake), targets)


def relativistic_g(real: Scores, fake: Scores) -> Scalar:
    """Computes `relativistic_d` with the targets exchanged, so that G's loss depends on reals too.

    Jolicoeur-Martineau 2018, equation 9 (RaSGAN).
    """
    return logistic_d(*relativistic_logits(real, fake), (0.0, 1.0))


def paired_d(real: Scores, fake: Scores, targets: Targets) -> Scalar:
    """Computes mean softplus(-(D(x_i) - D(G(z_i)))), pair by pair.

    Jolicoeur-Martineau 2018, equation 6 (RSGAN); Huang et al. 2024 (arXiv:2501.05441), equation 2.
    """
    return jnp.mean(jax.nn.softplus(fake - real))


def paired_g(real: Scores, fake: Scores) -> Scalar:
    """Computes mean softplus(-(D(G(z_i)) - D(x_i))), on reals of G's own update.

    Jolicoeur-Martineau 2018, equation 7.
    """
    return jnp.mean(jax.nn.softplus(real - fake))


def paired_logits(real: Scores, fake: Scores) -> tuple[Scores, Scores]:
    """Computes by how much each score exceeds that of its pair: (N,), (N,) -> (N,), (N,)."""
    return real - fake, fake - real


def _unshifted(real, fake):
    return real, fake


_DIFFERENCE = "larger for reals; only differences between images have a meaning"

LOSSES = {
    "non_saturating": Loss(
        logistic_d,
        non_saturating_g,
        _unshifted,
        True,
        d_beyond=clipped_logistic_d,
        gives_probability=True,
    ),
    "minimax": Loss(
        logistic_d,
        minimax_g,
        _unshifted,
        True,
        d_beyond=clipped_logistic_d,
        gives_probability=True,
    ),
    "least_squares": Loss(
        least_squares_d,
        least_squares_g,
        lambda real, fake: (real - 0.5, fake - 0.5),
        True,
        meaning="an estimate of D's target, 1 for reals and 0 for fakes, without bounds",
    ),
    "hinge": Loss(
        hinge_d, wasserstein_g, _unshifted, False, meaning="above 0 where D takes it for real"
    ),
    "wasserstein": Loss(wasserstein_d, wasserstein_g, None, False, meaning=_DIFFERENCE),
    "relativistic": Loss(
        relativistic_d,
        relativistic_g,
        relativistic_logits,
        True,
        compares_batches=True,
        d_beyond=clipped_relativistic_d,
        meaning=_DIFFERENCE,
    ),
    "relativistic_paired": Loss(
        paired_d,
        paired_g,
        paired_logits,
        False,
        pairs=True,
        meaning=_DIFFERENCE,
    ),
}


class TargetsFields(Fields):
    """Changes to the discriminator's targets, which otherwise are 1 for reals and 0 for fakes.

    Attributes:
      smoothing: s in [0, 1); the target of reals is 1 - s (one-sided label smoothing, Salimans et
        al. 2016, arXiv:1606.03498, section 3.4).
      noise: c in [0, 1); the targets of reals are raised by c u and those of fakes lowered by c u,
        with u ~ U[0, 1) for each sample. Cross entropies are then of logits clipped to +-16.1, as
        Keras clips probabilities.
      flip: the share of samples in [0, 1) that are given the target of the other kind.
    """

    smoothing: Fraction = 0.0
    noise: Fraction = 0.0
    flip: Fraction = 0.0


class LossGroup(Fields):
    """The fields of algorithms that use `discriminator_loss` and `generator_loss`.

    Attributes:
      loss: a name in `LOSSES`.
      d_halves: whether D's loss is the "sum" or the "mean" of its losses on reals and on fakes.
      targets: changes to D's targets.
    """

    loss: Annotated[str, OneOf(LOSSES)] = "non_saturating"
    d_halves: Literal["sum", "mean"] = "sum"
    targets: TargetsFields = TargetsFields()


def check(config: LossGroup) -> None:
    """Refuses fields of the losses that do not go together.

    Raises:
      ConfigError: targets are changed or halves averaged, but the loss has none.
    """
    loss = LOSSES[config.loss]
    if not loss.uses_targets:
        for name, value in config.targets:
            if value:
                raise ConfigError(
                    f"config.targets.{name}={value}: the loss {config.loss!r} has no targets; set "
                    "it to 0 or take another config.loss"
                )
    if config.d_halves == "mean" and (loss.logits is None or loss.pairs):
        raise ConfigError(
            f"config.d_halves='mean': the loss {config.loss!r} is a difference, not two halves; "
            "set 'sum'"
        )


def discriminator_loss(config: LossGroup) -> DiscriminatorLoss:
    """Returns D's loss, with its targets changed as the config says.

    Where the loss has logits, its metrics are D's accuracies in [0, 1] on reals (d_real_acc), on
    fakes (d_fake_acc) and on both (d_acc); elsewhere the critic's loss without its penalty
    (c_wass_loss).
    """
    loss = LOSSES[config.loss]
    scale = 0.5 if config.d_halves == "mean" else 1.0
    noisy = config.targets.noise or config.targets.flip
    make_targets = _noisy_targets if noisy else _plain_targets
    compute = loss.d_beyond if config.targets.noise and loss.d_beyond else loss.d

    def d_loss(scores, context):
        real, fake = scores
        value = compute(real, fake, make_targets(config.targets, context.key, real.shape))
        if loss.logits is None:
            return value, {"c_wass_loss": value}
        real, fake = loss.logits(real, fake)
        d_real_acc, d_fake_acc = jnp.mean(real > 0), jnp.mean(fake < 0)
        return scale * value, {
            "d_real_acc": d_real_acc,
            "d_fake_acc": d_fake_acc,
            "d_acc": (d_real_acc + d_fake_acc) / 2,
        }

    return d_loss


def generator_loss(config: LossGroup) -> GeneratorLoss:
    """Returns G's loss, which is the config's `loss.g`.

    Where the loss has logits, its metric is g_acc, the share of fakes that D takes for real.
    """
    loss = LOSSES[config.loss]

    def g_loss(scores, context):
        del context
        metrics = {}
        if loss.logits is not None:
            metrics["g_acc"] = jnp.mean(loss.logits(*scores)[1] > 0)
        return loss.g(*scores), metrics

    return g_loss


def _plain_targets(fields: TargetsFields, key: Key[Array, ""], shape: tuple[int, ...]) -> Targets:
    """Returns the targets of reals and of fakes, each one number."""
    del key, shape
    return 1.0 - fields.smoothing, 0.0


def _noisy_targets(fields: TargetsFields, key: Key[Array, ""], shape: tuple[int, ...]) -> Targets:
    """Draws the targets of reals and of fakes: an array (2, *shape), reals first."""
    u = jax.random.uniform(fold(key, "noise"), (2, *shape))
    flip = jax.random.bernoulli(fold(key, "flip"), fields.flip, (2, *shape))
    noisy = jnp.stack([1 - fields.smoothing + fields.noise * u[0], -fields.noise * u[1]])
    return jnp.where(flip, noisy[::-1], noisy)
