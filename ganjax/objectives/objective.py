"""The fields of the adversarial objective, and D's and G's losses as an algorithm has them."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from ganjax.config import ConfigError, Fields, Fraction
from ganjax.engine.algorithm import DiscriminatorLoss, GeneratorLoss
from ganjax.keys import fold
from ganjax.objectives.losses import LOSSES, Targets


class TargetsFields(Fields):
    """Changes to the discriminator's targets, which otherwise are 1 for reals and 0 for fakes.

    Attributes:
      smoothing: s; the target of reals is 1 - s (one-sided label smoothing, Salimans et al. 2016,
        arXiv:1606.03498, section 3.4).
      noise: c; the targets of reals are c u more and those of fakes c u less, u ~ U[0, 1) for each
        sample.
      flip: share of the samples that have the target of the other kind.
    """

    smoothing: Fraction = 0.0
    noise: Fraction = 0.0
    flip: Fraction = 0.0


class ObjectiveGroup(Fields):
    """Fields of algorithms that take their losses from `discriminator_loss` and `generator_loss`.

    Attributes:
      loss: a name in `ganjax.objectives.losses.LOSSES`.
      d_halves: whether D's losses on reals and on fakes are their "sum" or their "mean".
      targets: changes to D's targets, to weaken it.
    """

    loss: Literal[tuple(LOSSES)] = "non_saturating"
    d_halves: Literal["sum", "mean"] = "sum"
    targets: TargetsFields = TargetsFields()


def check(config: ObjectiveGroup) -> None:
    """Refuses fields of the objective that do not go together.

    Raises:
      ConfigError: the loss has no targets, or no two halves.
    """
    loss = LOSSES[config.loss]
    if not loss.uses_targets:
        for name, value in config.targets:
            if value:
                raise ConfigError(
                    f"config.targets.{name}={value}: the loss {config.loss!r} has no targets; set "
                    "it to 0 or take another config.loss"
                )
    if config.d_halves == "mean" and loss.logits is None:
        raise ConfigError(
            f"config.d_halves='mean': the loss {config.loss!r} is a difference, not two halves; "
            "set 'sum'"
        )


def discriminator_loss(config: ObjectiveGroup) -> DiscriminatorLoss:
    """Returns D's loss, with its targets changed as the config says.

    Its metrics are d_real_acc, d_fake_acc and d_acc, D's accuracies on reals, on fakes and their
    mean, where the loss has logits; c_wass_loss, the critic's loss without its penalty, elsewhere.
    """
    loss = LOSSES[config.loss]
    scale = {"sum": 1.0, "mean": 0.5}[config.d_halves]
    noisy = config.targets.noise or config.targets.flip
    targets = partial(_noisy_targets if noisy else _plain_targets, config.targets)

    def d_loss(scores, context):
        value = loss.d(*scores, targets(context.key, scores[0].shape))
        if loss.logits is None:
            return value, {"c_wass_loss": value}
        real, fake = loss.logits(*scores)
        d_real_acc, d_fake_acc = jnp.mean(real > 0), jnp.mean(fake < 0)
        return scale * value, {
            "d_real_acc": d_real_acc,
            "d_fake_acc": d_fake_acc,
            "d_acc": (d_real_acc + d_fake_acc) / 2,
        }

    return d_loss


def generator_loss(config: ObjectiveGroup) -> GeneratorLoss:
    """Returns G's loss. Its metric is g_acc, the share of fakes that D takes for real, where the
    loss has logits."""
    loss = LOSSES[config.loss]

    def g_loss(scores, context):
        del context
        metrics = {}
        if loss.logits is not None:
            metrics["g_acc"] = jnp.mean(loss.logits(*scores)[1] > 0)
        return loss.g(*scores), metrics

    return g_loss


def _plain_targets(fields: TargetsFields, key: jax.Array, shape: tuple[int, ...]) -> Targets:
    """The targets of reals and of fakes, one number each."""
    return 1.0 - fields.smoothing, 0.0


def _noisy_targets(fields: TargetsFields, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The targets of reals and of fakes, each an array of `shape`."""
    u = jax.random.uniform(fold(key, "noise"), (2, *shape))
    flip = jax.random.bernoulli(fold(key, "flip"), fields.flip, (2, *shape))
    noisy = jnp.stack([1 - fields.smoothing + fields.noise * u[0], -fields.noise * u[1]])
    return jnp.where(flip, noisy[::-1], noisy)
