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
from ganjax.engine.schedules import (
    Reals,
    Schedule,
    ScheduledFraction,
    ScheduledNonNegative,
    ScheduledPositive,
    has_schedules,
    number_at,
)
from ganjax.models.fields import NetworkFields
from ganjax.training.schema import LoopConfig

# The values of `SgdFields` that Mirza & Osindero 2014 (arXiv:1411.1784), section 4.1, train with.
PAPER_SGD = {
    "learning_rate": 0.1,
    "decay_factor": 1.00004,
    "min_learning_rate": 1e-6,
    "momentum": 0.5,
    "final_momentum": 0.7,
    "momentum_updates": 125_000,
}


class OptimiserFields(Fields):
    """The base class of all optimisers' fields, which build the optimiser that they describe.

    Attributes:
      name: the name by which a config chooses the optimiser.
      learning_rate: the learning rate, a number or a schedule.
    """

    name: str
    learning_rate: ScheduledPositive = may_change_if_named(2e-4)

    @property
    def depends_on_length(self) -> bool:
        """Whether the schedule depends on the number of steps in the run."""
        return False

    def check(self, at: str) -> None:
        """Refuses fields that do not go together.

        Args:
          at: the place of these fields in the config, such as "config.g_optimiser".

        Raises:
          ConfigError: the fields do not go together.
        """

    def build(self, updates: int, reals: Reals) -> optax.GradientTransformation:
        """Builds the optimiser as an optax transform.

        Args:
          updates: the number of the player's updates in the whole run, which a linear decay spans.
          reals: the number of reals that D has seen, by the number of the player's updates.
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

    def check(self, at: str) -> None:
        super().check(at)
        if self.decay != "none" and isinstance(self.learning_rate, Schedule):
            raise ConfigError(
                f"{at}.decay={self.decay!r}: {at}.learning_rate is a schedule, which says how it "
                "changes; set decay='none', or the rate to a number"
            )

    def _rate(self, updates: int, reals: Reals) -> float | optax.Schedule:
        if isinstance(self.learning_rate, Schedule) or self.decay == "none":
            return of_updates(self.learning_rate, reals)
        return optax.linear_schedule(self.learning_rate, 0.0, updates)


class AdamFields(_DecayingFields):
    """The fields of Adam (Kingma & Ba 2014, arXiv:1412.6980), with DCGAN's defaults.

    Attributes:
      b1: the decay of the mean gradient.
      b2: the decay of the mean squared gradient, a number or a schedule.
    """

    name: Literal["adam"] = "adam"
    b1: Fraction = may_change_if_named(0.5)
    b2: ScheduledFraction = may_change_if_named(0.999)

    def build(self, updates: int, reals: Reals) -> optax.GradientTransformation:
        rate, b2 = self._rate(updates, reals), self.b2
        if isinstance(b2, Schedule):
            moments = scheduled_adam(self.b1, lambda n: b2.at(reals.at(n)), self.eps)
            return optax.chain(moments, optax.scale_by_learning_rate(rate))
        return optax.adam(rate, self.b1, b2, self.eps)


class RmspropFields(_DecayingFields):
    """The fields of RMSProp (Tieleman & Hinton 2012).

    As in `torch.optim.RMSprop`, eps is added outside the square root.

    Attributes:
      b2: the decay of the mean squared gradient (PyTorch's alpha).
    """

    name: Literal["rmsprop"] = "rmsprop"
    b2: Fraction = may_change_if_named(0.99)

    def build(self, updates: int, reals: Reals) -> optax.GradientTransformation:
        return optax.rmsprop(self._rate(updates, reals), self.b2, self.eps, eps_in_sqrt=False)


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

    def check(self, at: str) -> None:
        super().check(at)
        if self.decay_factor > 1 and isinstance(self.learning_rate, Schedule):
            raise ConfigError(
                f"{at}.decay_factor={self.decay_factor}: {at}.learning_rate is a schedule, which "
                "says how it changes; set decay_factor=1, or the rate to a number"
            )

    def build(self, updates: int, reals: Reals) -> optax.GradientTransformation:
        del updates  # No schedule depends on the length of the run.
        rate, momentum = of_updates(self.learning_rate, reals), self.momentum
        if self.decay_factor > 1:
            assert not callable(rate)  # `check` refuses such a schedule.
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
        on the batch size, a number or a schedule; 0 with `decay`. A schedule from 0 soon forgets
        the first steps.
      warm_up: whether the decay after t steps is at most (1 + t) / (10 + t), as TensorFlow's
        `ExponentialMovingAverage` bounds it, so that the average soon forgets the initial
        parameters; without it a share of decay ** t of them is left. Idle without an average.
    """

    decay: Fraction = may_change_if_named(0.0)
    half_life: ScheduledNonNegative = may_change_if_named(0.0)
    warm_up: bool = may_change(True)

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        if not (self.decay or self.half_life):
            yield Idle("warm_up")


class PlayersGroup(LoopConfig):
    """The fields of algorithms whose optimisers and average this module builds.

    Attributes:
      g_optimiser: the fields of the generator's optimiser.
      d_optimiser: the fields of the discriminator's optimiser, without the bound `weight_clip`.
      ema: the fields of the generator's moving average, with which samples are drawn.
    """

    g_optimiser: AnyOptimiser = AdamFields()
    d_optimiser: AnyOptimiser = AdamFields()
    ema: EmaFields = EmaFields()

    @property
    def continuable(self) -> frozenset[str]:
        # A linear decay spans total_steps, so more steps are another schedule from the start.
        if self.g_optimiser.depends_on_length or self.d_optimiser.depends_on_length:
            return super().continuable - {"config.total_steps"}
        return super().continuable

    @property
    def nameable(self) -> frozenset[str]:
        named = super().nameable | ({"config.total_steps"} - self.continuable)
        # Schedules count the reals seen as if every step had had batches of this size.
        return named - {"config.batch_size"} if has_schedules(self) else named


class OptimiserGroup(PlayersGroup):
    """The fields of algorithms whose D may have bounded parameters.

    Attributes:
      weight_clip: the bound on the absolute values of D's parameters; 0 sets none.
    """

    weight_clip: NonNegativeFloat = 0.0


def discriminator_optimiser(
    config: OptimiserGroup, discriminator: NetworkFields, updates: int, reals: Reals
) -> optax.GradientTransformation:
    """Builds D's optimiser, which also bounds D's parameters if `config.weight_clip` is set.

    Args:
      config: the optimisers' fields.
      discriminator: the discriminator's fields.
      updates: the number of D's updates in the whole run.
      reals: the number of reals that D has seen, by the number of its updates.

    Raises:
      ConfigError: `config.weight_clip` would bound kernels that are normalised.
    """
    if config.weight_clip and discriminator.normalises_spectrum:
        raise ConfigError(
            f"config.weight_clip={config.weight_clip}: it bounds no kernel that "
            "config.discriminator.spectral_norm divides by its norm; set config.weight_clip=0, or "
            "config.discriminator.spectral_norm=False"
        )
    tx = config.d_optimiser.build(updates, reals)
    return optax.chain(tx, clip_weights(config.weight_clip)) if config.weight_clip else tx


def scheduled_adam(b1: float, b2: optax.Schedule, eps: float) -> optax.GradientTransformation:
    """Returns `optax.scale_by_adam` whose b2 changes with the number of updates before.

    The correction for the start of the moments is by the b2 of each update, as in PyTorch where
    `betas` are set between steps. The state is that of `optax.scale_by_adam`.
    """

    def update(updates, state, params=None):
        return optax.scale_by_adam(b1, b2(state.count), eps).update(updates, state, params)

    return optax.GradientTransformation(optax.scale_by_adam(b1, 0.0, eps).init, update)


def of_updates(number: float | Schedule, reals: Reals) -> float | optax.Schedule:
    """Returns a number, or a schedule's as a function of the updates of a player."""
    if not isinstance(number, Schedule):
        return number
    return lambda count: number.at(reals.at(count))


def clip_weights(limit: float) -> optax.GradientTransformation:
    """Returns a transform that changes updates such that parameters end within +-limit.

    It must be the last in a chain (Arjovsky et al. 2017, arXiv:1701.07875, algorithm 1, line 7).

    Args:
      limit: the bound on the absolute values of the parameters, positive.
    """

    def update(updates, state, params=None):
        return jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def ema_decay(fields: EmaFields, reals: Reals) -> EmaDecay:
    """Returns the decay of the generator's average as a function of the step.

    With a half-life the decay is 0.5 ** (reals per step / half-life), as in Karras et al. 2020
    (arXiv:2006.06676), appendix B. `fields.warm_up` bounds it in either case.

    Args:
      fields: the fields of the average.
      reals: the number of reals that D has seen.

    Raises:
      ConfigError: both decay and half_life are given.
    """
    if fields.decay and fields.half_life:
        raise ConfigError(
            f"config.ema.half_life={fields.half_life}: config.ema.decay={fields.decay} is set "
            "too; set one of them to 0"
        )
    if not (fields.decay or fields.half_life):
        return lambda step: 0.0

    def by_reals(step):
        seen = reals.at(step)
        half_life = jnp.asarray(number_at(fields.half_life, seen), jnp.float32)
        return 0.5 ** (reals.per_step / jnp.maximum(half_life, 1e-8))

    decay = by_reals if fields.half_life else lambda step: fields.decay

    def warmed_up(step):
        done = jnp.asarray(step, jnp.float32)
        return jnp.minimum(decay(step), (1 + done) / (10 + done))

    return warmed_up if fields.warm_up else decay
