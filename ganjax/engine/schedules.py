"""Schedules: numbers of a config that change with the real images that D has seen.

A field of a type such as `ScheduledPositive` holds a number, or in its place a `Schedule`:

    config.g_optimiser.learning_rate = schedule(start=2e-4, end=5e-5, over=20_000_000)

A flag that sets one of a schedule's fields, such as --config.penalty.r1.over=100000, makes a
schedule of a number, and one that sets the field itself a number of a schedule.
"""

from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from pydantic import Discriminator, NonNegativeFloat, PositiveFloat, Tag

from ganjax.config import Fields, Fraction, PositiveInt, Probability
from ganjax.config_file import GROUP, NUMBER

N = TypeVar("N", bound=float)
Scalar = Float[Array, ""]


class Schedule(Fields, Generic[N]):
    """A number that changes over the first images of a run, and then stays.

    Attributes:
      start: the number at the first step.
      end: the number after `over` images and from then on.
      over: the number of real images that D sees while the number changes.
      form: the curve between the two: a "cosine", half a period from one to the other, or a
        "linear" one.
    """

    start: N
    end: N
    over: PositiveInt
    form: Literal["cosine", "linear"] = "cosine"

    def at(self, images: Scalar | float) -> Scalar:
        """Computes the number after D has seen so many real images, in float32."""
        done = jnp.clip(jnp.asarray(images, jnp.float32) / self.over, 0.0, 1.0)
        if self.form == "cosine":
            done = (1.0 - jnp.cos(jnp.pi * done)) / 2.0
        return (1.0 - done) * self.start + done * self.end

    @staticmethod
    def constant(number: Any) -> dict[str, Any]:
        """Returns the fields of a schedule that keeps a number, but for `over`, to be set."""
        return schedule(start=float(number), end=float(number), over=0)


def _kind(value: Any) -> str:
    return GROUP if isinstance(value, dict | Schedule) else NUMBER


_BY_KIND = Discriminator(_kind)
# A number above 0, or a schedule, which may end at 0.
ScheduledPositive = Annotated[
    Annotated[PositiveFloat, Tag(NUMBER)] | Annotated[Schedule[NonNegativeFloat], Tag(GROUP)],
    _BY_KIND,
]
ScheduledNonNegative = Annotated[
    Annotated[NonNegativeFloat, Tag(NUMBER)] | Annotated[Schedule[NonNegativeFloat], Tag(GROUP)],
    _BY_KIND,
]
ScheduledFraction = Annotated[
    Annotated[Fraction, Tag(NUMBER)] | Annotated[Schedule[Fraction], Tag(GROUP)], _BY_KIND
]
ScheduledProbability = Annotated[
    Annotated[Probability, Tag(NUMBER)] | Annotated[Schedule[Probability], Tag(GROUP)], _BY_KIND
]


def schedule(*, start: float, end: float, over: int, form: str = "cosine") -> dict[str, Any]:
    """Returns a schedule as a config file gives it in place of a number.

    Args:
      start: the number at the first step.
      end: the number after `over` images and from then on.
      over: the number of real images that D sees while the number changes.
      form: the curve between the two, "cosine" or "linear".
    """
    return {"start": start, "end": end, "over": over, "form": form}


class Reals(NamedTuple):
    """The number of real images that D has seen, as a function of the step or of updates.

    Attributes:
      per_step: the reals that D sees in a step, from `first_step` on.
      first_step: the step at which D began to see as many.
      before: the reals that D had seen by then.
    """

    per_step: int
    first_step: int = 0
    before: int = 0

    def at(self, step: ArrayLike) -> Scalar:
        """Computes the reals that D has seen before a step, in float32."""
        steps = (jnp.asarray(step) - self.first_step).astype(jnp.float32)
        return self.before + steps * self.per_step

    def of_updates(self, per_step: int) -> "Reals":
        """Returns the number as a function of a player's updates since `first_step`.

        Args:
          per_step: the number of that player's updates in a step.
        """
        return Reals(self.per_step // per_step, 0, self.before)


def has_schedules(group: Fields) -> bool:
    """Returns whether any field of a group, or of a group inside it, is a schedule."""
    return any(
        isinstance(value, Schedule) or (isinstance(value, Fields) and has_schedules(value))
        for _, value in group
    )


def number_at(number: float | Schedule, images: Scalar | float) -> float | Scalar:
    """Returns what a field holds after D has seen so many real images: a number or a schedule's."""
    return number.at(images) if isinstance(number, Schedule) else number
