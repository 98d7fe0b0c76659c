"""The fields of the penalties on D's gradient, and their sum as an algorithm has it."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import jax
from pydantic import NonNegativeFloat, PositiveInt

from ganjax.config import ConfigError, Fields
from ganjax.engine.algorithm import Batch, Context, Penalty, no_penalty
from ganjax.keys import fold
from ganjax.objectives import penalties
from ganjax.objectives.penalties import Critic


class PenaltyFields(Fields):
    """Penalties on D's gradient with respect to images; see `ganjax.objectives.penalties`.

    Attributes:
      weight: factor of the gradient penalty; 0 leaves it out.
      target: the norm of the gradient that it aims at.
      side: whether it punishes norms on "two" sides of the target, or on "one": above it.
      points: where it is taken: between reals and fakes by "uniform" weights (paper) or "normal"
        ones, or around the reals ("dragan").
      r1: gamma; gamma / 2 times the squared norm at reals is added (Mescheder et al. 2018); 0
        leaves it out.
      r2: the same at fakes.
      interval: steps between penalties, which then are as many times as large (lazy
        regularisation); see `ganjax.engine.algorithm.Algorithm.penalty_interval`.
    """

    weight: NonNegativeFloat = 0.0
    target: NonNegativeFloat = 1.0
    side: Literal["two", "one"] = "two"
    points: Literal["uniform", "normal", "dragan"] = "uniform"
    r1: NonNegativeFloat = 0.0
    r2: NonNegativeFloat = 0.0
    interval: PositiveInt = 1


class PenaltyGroup(Fields):
    """Fields of algorithms that take their penalty from `penalty`.

    Attributes:
      penalty: penalties on D's gradient.
    """

    penalty: PenaltyFields = PenaltyFields()


class CriticOfLabel(Protocol):
    """The discriminator of an update, given the labels of its images."""

    def __call__(self, label: jax.Array) -> Critic:
        """Returns D as a function of images (N, H, W, C) with labels (N,)."""
        ...


Term = Callable[[CriticOfLabel, Batch, Batch, jax.Array], jax.Array]


class WeightedPenalty(NamedTuple):
    """One penalty of a config.

    Attributes:
      metric: its name in the metrics, without its weight.
      weight: the field of `PenaltyFields` that is its weight.
      make: fields -> (critic of label, real, fake, key) -> float32 scalar.
    """

    metric: str
    weight: str
    make: Callable[[PenaltyFields], Term]


def _gradient_penalty(fields: PenaltyFields) -> Term:
    side = {"two": penalties.two_sided, "one": penalties.one_sided}[fields.side]
    points = {
        "uniform": penalties.interpolates,
        "normal": partial(penalties.interpolates, alpha=penalties.normal_alpha),
        "dragan": penalties.perturbed,
    }[fields.points]

    def gradient_penalty(critic, real, fake, key):
        at = points(real["image"], fake["image"], key)
        return penalties.gradient_penalty(
            critic(real["label"]), at, target=fields.target, side=side
        )

    return gradient_penalty


def _r1(fields: PenaltyFields) -> Term:
    return lambda critic, real, fake, key: penalties.zero_centred(
        critic(real["label"]), real["image"]
    )


def _r2(fields: PenaltyFields) -> Term:
    return lambda critic, real, fake, key: penalties.zero_centred(
        critic(fake["label"]), fake["image"]
    )


# To add a penalty, write its function in `penalties`, its fields above, and its line here.
PENALTIES = (
    WeightedPenalty("c_gp", "weight", _gradient_penalty),
    WeightedPenalty("r1", "r1", _r1),
    WeightedPenalty("r2", "r2", _r2),
)


def penalty(
    fields: PenaltyFields,
    *,
    prepare: Callable[[Any, Any], tuple[Any, Any]],
    discriminate: Callable[..., tuple[jax.Array, Any]],
    augment: Callable[[jax.Array, Context], jax.Array] | None = None,
) -> Penalty:
    """Returns the sum of all penalties that have a weight.

    With augmentation T, they are of the gradient of D(T(x)) with respect to x.

    Args:
      fields: the penalties.
      prepare: (params, vars) of D -> those that `discriminate` takes.
      discriminate: (params, vars, images, label, key) -> (scores (N,), vars) of D in training.
      augment: (images, context) -> images as D sees them; None where it sees them as they are.
    """
    terms = [
        (term.metric, getattr(fields, term.weight), term.make(fields))
        for term in PENALTIES
        if getattr(fields, term.weight)
    ]
    if not terms:
        return no_penalty

    def weighted_sum(params, vars, fake, context):
        params, vars = prepare(params, vars)
        key = fold(context.key, "dropout")

        def seen(x):
            return x if augment is None else augment(x, context)

        def critic(label):
            return lambda x: discriminate(params, vars, seen(x), label, key)[0]

        values = {name: value(critic, context.batch, fake, context.key) for name, _, value in terms}
        return sum(weight * values[name] for name, weight, _ in terms), values

    return weighted_sum


def check(
    fields: PenaltyFields, *, uses_batch_norm: bool, batch_norm: Any, fake_labels: str | None
) -> None:
    """Refuses penalties that cannot be had beside the other fields of a config.

    Args:
      fields: the penalties.
      uses_batch_norm: whether D has BatchNorm.
      batch_norm: the value of config.discriminator.batch_norm, for the message.
      fake_labels: config.conditioning.fake_labels where D takes labels, else None.

    Raises:
      ConfigError: in one line: the field, its value and the mend.
    """
    weights = {term.weight: getattr(fields, term.weight) for term in PENALTIES}
    for name, value in weights.items():
        if value and uses_batch_norm:
            raise ConfigError(
                f"config.penalty.{name}={value}: it holds each sample's own gradient, but "
                f"config.discriminator.batch_norm={batch_norm!r} ties the samples of a batch "
                "together; set batch_norm='none' or the penalty to 0"
            )
    for name in ("points", "side", "target"):
        value, plain = getattr(fields, name), PenaltyFields.model_fields[name].default
        if value != plain and not fields.weight:
            raise ConfigError(
                f"config.penalty.{name}={value!r}: it does nothing where config.penalty.weight is "
                f"0; set a weight, such as 10, or {name}={plain!r}"
            )
    if fields.weight and fields.points != "dragan" and fake_labels not in (None, "reals"):
        raise ConfigError(
            f"config.conditioning.fake_labels={fake_labels!r}: points between a real and a fake "
            "need one label for both; set 'reals', or config.penalty.points='dragan'"
        )
    if fields.interval > 1 and not any(weights.values()):
        raise ConfigError(
            f"config.penalty.interval={fields.interval}: there is no penalty; set weight, r1 or "
            "r2, or interval=1"
        )
