"""The fields of optimisers and averages, and the optax transforms that they describe."""

from collections.abc import Callable
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import optax
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ganjax.config import ConfigError, Fields, Fraction


class AdamConfig(Fields):
    """Adam (Kingma & Ba 2014), the fields of `optax.adam`.

    Attributes:
      decay: "none", or "linear" to 0 at the end of the run.
    """

    name: Literal["adam"]
    learning_rate: PositiveFloat
    b1: Fraction
    b2: Fraction
    eps: PositiveFloat
    decay: Literal["none", "linear"]


class RmspropConfig(Fields):
    """RMSProp (Tieleman & Hinton 2012), as `torch.optim.RMSprop`: eps outside the root.

    Attributes:
      b2: decay of the mean square (PyTorch's alpha).
      decay: as in `AdamConfig`.
    """

    name: Literal["rmsprop"]
    learning_rate: PositiveFloat
    b2: Fraction
    eps: PositiveFloat
    decay: Literal["none", "linear"]


class SgdConfig(Fields):
    """Gradient descent with the schedules of Mirza & Osindero 2014, section 4.1.

    Attributes:
      learning_rate: at the first update.
      decay_factor: by which each update divides it.
      min_learning_rate: it falls no lower.
      momentum: at the first update (of Polyak's form, as in PyTorch).
      final_momentum: reached linearly,
      momentum_updates: after as many updates.
    """

    name: Literal["sgd"]
    learning_rate: PositiveFloat
    decay_factor: Annotated[float, Field(ge=1)]
    min_learning_rate: NonNegativeFloat
    momentum: Fraction
    final_momentum: Fraction
    momentum_updates: PositiveInt


OptimiserConfig = Annotated[AdamConfig | RmspropConfig | SgdConfig, Field(discriminator="name")]


class EmaConfig(Fields):
    """The generator's moving average, which is what is sampled.

    Attributes:
      decay: of a step; or, 0 here,
      half_life: in reals that D has seen: whatever the batch size, the same memory.
      ramp_up: with half_life: it is at most this share of the reals seen so far, so that the
        average forgets the first steps soon; 0 turns it off.
    """

    decay: Fraction
    half_life: NonNegativeInt
    ramp_up: NonNegativeFloat


def optimiser(config, updates: int) -> optax.GradientTransformation:
    """The optax transform.

    Args:
      config: an OptimiserConfig.
      updates: of this player in the whole run, over which a linear decay goes.
    """
    if config.name == "sgd":
        rate = optax.exponential_decay(
            config.learning_rate, 1, 1 / config.decay_factor, end_value=config.min_learning_rate
        )
        momentum = optax.linear_schedule(
            config.momentum, config.final_momentum, config.momentum_updates
        )
        return optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=momentum)
    rate = config.learning_rate
    if config.decay == "linear":
        rate = optax.linear_schedule(rate, 0.0, updates)
    if config.name == "rmsprop":
        return optax.rmsprop(rate, config.b2, config.eps, eps_in_sqrt=False)
    return optax.adam(rate, config.b1, config.b2, config.eps)


def clip_weights(limit: float) -> optax.GradientTransformation:
    """Updates such that every parameter ends within +-limit; the last of a chain.

    Arjovsky et al. 2017 (arXiv:1701.07875), algorithm 1, line 7.
    """

    def update(updates, state, params):
        return jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def ema_decay(config: EmaConfig, reals_per_step: int) -> Callable[[jax.Array], jax.Array]:
    """step -> decay of the generator's average.

    By half-life: 0.5 ** (reals of a step / half-life). Karras et al. 2020, appendix B.

    Args:
      config: its fields.
      reals_per_step: that D sees in a step.

    Raises:
      ConfigError: both decay and half_life are given, or ramp_up without half_life.
    """
    if config.decay and config.half_life:
        raise ConfigError(
            f"config.ema.half_life={config.half_life}: config.ema.decay={config.decay} is set "
            "too; set one of them to 0"
        )
    if not config.half_life:
        if config.ramp_up:
            raise ConfigError(
                f"config.ema.ramp_up={config.ramp_up}: it bounds config.ema.half_life, which is "
                "0; set that, or ramp_up=0"
            )
        return lambda step: config.decay

    def decay(step):
        half_life = jnp.asarray(config.half_life, jnp.float32)
        if config.ramp_up:
            half_life = jnp.minimum(half_life, config.ramp_up * step * reals_per_step)
        return 0.5 ** (reals_per_step / jnp.maximum(half_life, 1e-8))

    return decay
