"""Controllers of the augmentation's probability p, which are pure functions from state to state.

A state is a dict of float32 scalars, one of which is "p". Controllers watch the statistic
r_t = E[sign(D(real))] in [-1, 1] (Karras et al. 2020, arXiv:2006.06676, equation 1). It is the mean
over the reals of an update, under jit and sharding those of all devices.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field, PositiveFloat

from ganjax.config import ConfigError, Fields, PositiveInt, Probability, may_change_if_named
from ganjax.engine.schedules import Schedule, ScheduledProbability

State = dict[str, Float[Array, ""]]


class Controller(NamedTuple):
    """A rule by which the probability of augmentation changes.

    Attributes:
      init: () -> the state before the first update.
      update: (state, r_t of an update of D) -> the state after it.
      p: (state, number of real images that D has seen) -> the probability p.
    """

    init: Callable[[], State]
    update: Callable[[State, Float[Array, ""]], State]
    p: Callable[[State, Float[Array, ""]], Float[Array, ""]] = lambda state, images: state["p"]


def fixed(p: float | Schedule) -> Controller:
    """Returns the controller whose p is a number or a schedule, whatever D does."""
    if not isinstance(p, Schedule):
        return Controller(lambda: {"p": jnp.float32(p)}, lambda state, r_t: state)
    # The state keeps the first p, so that a run may go on with a number, which is read from there.
    return Controller(
        lambda: {"p": jnp.float32(p.start)},
        lambda state, r_t: state,
        lambda state, images: p.at(images),
    )


def accuracy_target(p: float, target: float, speed: float, p_max: float) -> Controller:
    """Returns an integral controller of D's accuracy on reals, acc = (1 + r_t) / 2.

    After each update p <- clip(p + speed (acc - target), 0, p_max), as in Keras' example of
    adaptive discriminator augmentation.

    Args:
      p: the probability at the start.
      target: the accuracy in [0, 1] that the controller aims at.
      speed: the gain of the controller.
      p_max: the largest p.
    """

    def update(state, r_t):
        step = speed * ((1 + r_t) / 2 - target)
        return {"p": jnp.clip(state["p"] + step, 0.0, p_max).astype(jnp.float32)}

    return Controller(lambda: {"p": jnp.float32(p)}, update)


def r_t_target(p: float, target: float, interval: int, step: float, p_max: float) -> Controller:
    """Returns the controller of Karras et al. 2020, section 3, which holds r_t at a target.

    After every `interval` updates p <- clip(p + sign(r_t - target) step, 0, p_max), where r_t is
    the mean over these updates. The paper takes steps such that p could rise from 0 to 1 over
    500,000 reals. It has no p_max; but augmentations leak where p is near 1 (section 2.2).

    Args:
      p: the probability at the start.
      target: the r_t in [-1, 1] that the controller aims at.
      interval: the number of updates of D from one change of p to the next.
      step: the size of a change of p.
      p_max: the largest p.
    """

    def init():
        return {"p": jnp.float32(p), "signs": jnp.float32(0), "updates": jnp.float32(0)}

    def update(state, r_t):
        signs, updates = state["signs"] + r_t.astype(jnp.float32), state["updates"] + 1
        moves = updates >= interval
        moved = jnp.clip(state["p"] + step * jnp.sign(signs / updates - target), 0.0, p_max)
        return {
            "p": jnp.where(moves, moved, state["p"]),
            "signs": jnp.where(moves, 0.0, signs),
            "updates": jnp.where(moves, 0.0, updates),
        }

    return Controller(init, update)


class ControllerFields(Fields):
    """The fields of one kind of controller, with its checks and its construction.

    Attributes:
      watches_signs: whether the controller reads r_t, which needs a loss whose scores are logits.
      name: the name of the kind, a Literal in each subclass.
      p: the probability of augmentation at the start.
    """

    watches_signs: ClassVar[bool] = False

    name: str
    p: ScheduledProbability

    def check(self) -> None:
        """Refuses fields that do not go together.

        Raises:
          ConfigError: the fields do not go together.
        """

    def build(self, batch_size: int) -> Controller:
        """Returns the controller that these fields describe.

        Args:
          batch_size: the number of reals in an update of D.
        """
        raise NotImplementedError


class FixedFields(ControllerFields):
    """The fields of `fixed`, the controller that looks at nothing.

    Attributes:
      p: the probability of augmentation, a number or a schedule.
    """

    name: Literal["fixed"] = "fixed"
    p: ScheduledProbability = 1.0

    def build(self, batch_size: int) -> Controller:
        del batch_size
        return fixed(self.p)


class _AdaptiveFields(ControllerFields):
    """The fields that all controllers which change p share.

    Attributes:
      p_max: the largest p.
    """

    watches_signs: ClassVar[bool] = True

    p: Probability = 0.0
    p_max: Probability = may_change_if_named(1.0)

    def check(self) -> None:
        if self.p > self.p_max:
            raise ConfigError(
                f"config.augment.controller.p={self.p}: it is above p_max={self.p_max}; set "
                f"p={self.p_max} or lower, or p_max={self.p} or higher"
            )


class AccuracyTargetFields(_AdaptiveFields):
    """The fields of `accuracy_target`.

    Attributes:
      target: the accuracy of D on reals that the controller aims at.
      speed: the gain of the controller.
    """

    name: Literal["accuracy"] = "accuracy"
    target: Probability = may_change_if_named(0.85)
    speed: PositiveFloat = may_change_if_named(1e-3)

    def build(self, batch_size: int) -> Controller:
        del batch_size
        return accuracy_target(self.p, self.target, self.speed, self.p_max)


class RtTargetFields(_AdaptiveFields):
    """The fields of `r_t_target`.

    Attributes:
      target: the r_t = E[sign(D(real))] that the controller aims at.
      interval: the number of updates of D from one change of p to the next.
      reals_to_one: the number of reals over which p could rise from 0 to 1.
    """

    name: Literal["r_t"] = "r_t"
    target: Annotated[float, Field(ge=-1, le=1)] = may_change_if_named(0.6)
    interval: PositiveInt = may_change_if_named(4)
    reals_to_one: PositiveInt = may_change_if_named(500_000)

    def build(self, batch_size: int) -> Controller:
        step = self.interval * batch_size / self.reals_to_one
        return r_t_target(self.p, self.target, self.interval, step, self.p_max)


# To add a controller, write its fields with their `build` and list them here.
AnyController = Annotated[
    FixedFields | AccuracyTargetFields | RtTargetFields, Field(discriminator="name")
]
