"""Optimisers, weight clipping and the generator's moving average, each with its config fields."""

from collections.abc import Iterator
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import optax
from pydantic import Field, NonNegativeFloat, PositiveFloat

from ganjax.config import (
    ConfigError,
    Fields,
    Fraction,
    Idle,
    NonNegativeInt,
    may_change,
    may_change_if_named,
)
from ganjax.engine.algorithm import EmaDecay
from ganjax.models.fields import NetworkFields


class OptimiserFields(Fields):
    """The base class of all optimisers' fields, which build the optimiser that they describe.

    Attributes:
      name: the name by which a config chooses the optimiser.
      learning_rate: the learning rate at the first update.
    """

    name: str
    learning_rate: PositiveFloat = may_change_if_named(2e-4)

    @property
    def depends_on_length(self) -> bool:
        """Whether the schedule depends on the number of steps in the run."""
        return False

    def build(self, updates: int) -> optax.GradientTransformation:
        """Builds the optimiser as an optax transform.

        Args:
          updates: the number of the player's updates in the whole run, which a linear decay spans.
        """
        raise NotImplementedError


class _DecayingFields(OptimiserFields):
    """The fields that Adam and RMSProp share.

    Attributes:
      eps: the constant that is added to the denominator.
      decay: the decay of the learning rate: "none", or "linear" to 0 at the end of the run.
    """

    eps: PositiveFloat = may_change_if_named(1e-8)
    decay: Literal["none", "linear"] = "none"

    @property
    def depends_on_length(self) -> bool:
        return self.decay == "linear"

    def _rate(self, updates: int) -> float | optax.Schedule:
        if self.decay == "none":
            return self.learning_rate
        return optax.linear_schedule(self.learning_rate, 0.0, updates)


class AdamFields(_DecayingFields):
    """The fields of Adam (Kingma & Ba 2014, arXiv:1412.6980), with DCGAN's defaults.

    Attributes:
      b1: the decay of the mean gradient.
      b2: the decay of the mean squared gradient.
    """

    name: Literal["adam"] = "adam"
    b1: Fraction = may_change_if_named(0.5)
    b2: Fraction = may_change_if_named(0.999)

    def build(self, updates: int) -> optax.GradientTransformation:
        return optax.adam(self._rate(updates), self.b1, self.b2, self.eps)


class RmspropFields(_DecayingFields):
    """The fields of RMSProp (Tieleman & Hinton 2012).

    As in `torch.optim.RMSprop`, eps is added outside the square root.

    Attributes:
      b2: the decay of the mean squared gradient (PyTorch's alpha).
    """

    name: Literal["rmsprop"] = "rmsprop"
    b2: Fraction = may_change_if_named(0.99)

    def build(self, updates: int) -> optax.GradientTransformation:
        return optax.rmsprop(self._rate(updates), self.b2, self.eps, eps_in_sqrt=False)


class SgdFields(OptimiserFields):
    """The fields of gradient descent with the schedules of Mirza & Osindero 2014, section 4.1.

    Attributes:
      decay_factor: the factor by which each update divides the learning rate; 1 keeps it.
      min_learning_rate: the smallest learning rate; at `decay_factor` 1 it has no effect.
      momentum: the momentum at the first update, in Polyak's form, as in PyTorch.
      final_momentum: the momentum after `momentum_updates`, towards which it changes linearly.
      momentum_updates: the number of updates in which the momentum changes; 0 keeps it, and
        `final_momentum` then has no effect.
    """

    name: Literal["sgd"] = "sgd"
    decay_factor: Annotated[float, Field(ge=1)] = 1.0
    min_learning_rate: NonNegativeFloat = may_change_if_named(0.0)
    momentum: Fraction = 0.0
    final_momentum: Fraction = 0.0
    momentum_updates: NonNegativeInt = 0

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        if self.decay_factor == 1:
            yield Idle("min_learning_rate")
        if not self.momentum_updates:
            yield Idle("final_momentum")

    def build(self, updates: int) -> optax.GradientTransformation:
        del updates  # Neither schedule depends on the length of the run.
        rate, momentum = self.learning_rate, self.momentum
        if self.decay_factor > 1:
            rate = optax.exponential_decay(
                rate, 1, 1 / self.decay_factor, end_value=self.min_learning_rate
            )
        if self.momentum_updates:
            momentum = optax.linear_schedule(momentum, self.final_momentum, self.momentum_updates)
        return optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=momentum)


# To add an optimiser, write its fields and their `build`, and name them here.
AnyOptimiser = Annotated[AdamFields | RmspropFields | SgdFields, Field(discriminator="name")]


class EmaFields(Fields):
    """The fields of the moving average of the generator's parameters, from which samples are drawn.

    Attributes:
      decay: the decay of the average in a step; 0 with `half_life`, or without an average.
      half_life: the half-life of the average, in reals that D has seen, so that it does not depend
        on the batch size; 0 with `decay`.
      ramp_up: the largest half-life as a share of the reals seen so far, so that the average soon
        forgets the first steps; 0 sets no bound. It needs `half_life`.
      warm_up: whether the decay after t steps is at most (1 + t) / (10 + t), as TensorFlow's
        `ExponentialMovingAverage` bounds it, so that the average soon forgets the initial
        parameters; without it a share of decay ** t of them is left. Idle without an average.
    """

    decay: Fraction = may_change_if_named(0.0)
    half_life: NonNegativeInt = may_change_if_named(0)
    ramp_up: NonNegativeFloat = may_change_if_named(0.0)
    warm_up: bool = may_change(True)

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        if not (self.decay or self.half_life):
            yield Idle("warm_up")


class OptimiserGroup(Fields):
    """The fields of algorithms whose optimisers and average this module builds.

    Attributes:
      g_optimiser: the fields of the generator's optimiser.
      d_optimiser: the fields of the discriminator's optimiser; see `discriminator_optimiser`.
      weight_clip: the bound on the absolute values of D's parameters; 0 sets none.
      ema: the fields of the generator's moving average; see `ema_decay`.
    """

    g_optimiser: AnyOptimiser = AdamFields()
    d_optimiser: AnyOptimiser = AdamFields()
    weight_clip: NonNegativeFloat = 0.0
    ema: EmaFields = EmaFields()


def discriminator_optimiser(
    config: OptimiserGroup, discriminator: NetworkFields, updates: int
) -> optax.GradientTransformation:
    """Builds D's optimiser, which also bounds D's parameters if `config.weight_clip` is set.

    Args:
      config: the optimisers' fields.
      discriminator: the discriminator's fields.
      updates: the number of D's updates in the whole run.

    Raises:
      ConfigError: `config.weight_clip` would bound kernels that are normalised.
    """
    if config.weight_clip and discriminator.normalises_spectrum:
        raise ConfigError(
            f"config.weight_clip={config.weight_clip}: it bounds no kernel that "
            "config.discriminator.spectral_norm divides by its norm; set config.weight_clip=0, or "
            "config.discriminator.spectral_norm=False"
        )
    tx = config.d_optimiser.build(updates)
    return optax.chain(tx, clip_weights(config.weight_clip)) if config.weight_clip else tx


def clip_weights(limit: float) -> optax.GradientTransformation:
    """Returns a transform that changes updates such that parameters end within +-limit.

    It must be the last in a chain (Arjovsky et al. 2017, arXiv:1701.07875, algorithm 1, line 7).

    Args:
      limit: the bound on the absolute values of the parameters, positive.
    """

    def update(updates, state, params=None):
        return jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def ema_decay(
    fields: EmaFields, reals_per_step: int, *, first_step: int = 0, reals_before: int = 0
) -> EmaDecay:
    """Returns the decay of the generator's average as a function of the step.

    With a half-life the decay is 0.5 ** (reals_per_step / half-life), as in Karras et al. 2020
    (arXiv:2006.06676), appendix B. `fields.warm_up` bounds it in either case.

    Args:
      fields: the fields of the average.
      reals_per_step: the number of reals that D sees in a step, from `first_step` on.
      first_step: the step at which D began to see as many.
      reals_before: the reals that D had seen by then.

    Raises:
      ConfigError: both decay and half_life are given, or ramp_up without half_life.
    """
    if fields.decay and fields.half_life:
        raise ConfigError(
            f"config.ema.half_life={fields.half_life}: config.ema.decay={fields.decay} is set "
            "too; set one of them to 0"
        )
    if fields.ramp_up and not fields.half_life:
        raise ConfigError(
            f"config.ema.ramp_up={fields.ramp_up}: it bounds config.ema.half_life, which is 0; set "
            "half_life to a number of reals, such as 10000, or ramp_up=0"
        )
    if not (fields.decay or fields.half_life):
        return lambda step: 0.0

    def by_reals(step):
        half_life = jnp.asarray(fields.half_life, jnp.float32)
        if fields.ramp_up:
            reals_seen = reals_before + (step - first_step) * reals_per_step
            half_life = jnp.minimum(half_life, fields.ramp_up * reals_seen)
        return 0.5 ** (reals_per_step / jnp.maximum(half_life, 1e-8))

    decay = by_reals if fields.half_life else lambda step: fields.decay

    def warmed_up(step):
        done = jnp.asarray(step, jnp.float32)
        return jnp.minimum(decay(step), (1 + done) / (10 + done))

    return warmed_up if fields.warm_up else decay
