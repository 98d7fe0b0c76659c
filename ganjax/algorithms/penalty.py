"""The penalties on D's gradient that a config names, as one function of an algorithm."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt

from ganjax.algorithms.networks import Networks
from ganjax.augment.policies import Augmentation
from ganjax.config import ConfigError, Fields
from ganjax.engine.algorithm import no_penalty
from ganjax.keys import fold
from ganjax.objectives import penalties
from ganjax.training.schema import RunConfig


class PenaltyConfig(Fields):
    """Penalties on D's gradient with respect to images; see `ganjax.objectives.penalties`.

    Attributes:
      weight: of the gradient penalty; 0 leaves it out.
      target: the norm that it aims at.
      side: "two", or "one": norms above the target only.
      points: where: between reals and fakes by "uniform" (paper) or "normal" weights, or
        around the reals ("dragan").
      r1: gamma; gamma / 2 times the squared norm at reals (Mescheder et al. 2018); 0 leaves
        it out.
      r2: the same at fakes.
      interval: lazy regularisation; see `Algorithm.penalty_interval`.
    """

    weight: NonNegativeFloat
    target: NonNegativeFloat
    side: Literal["two", "one"]
    points: Literal["uniform", "normal", "dragan"]
    r1: NonNegativeFloat
    r2: NonNegativeFloat
    interval: PositiveInt


def penalty(config: RunConfig, nets: Networks, augment: Augmentation | None = None) -> Callable:
    """All penalties in one function, as `Algorithm.penalty`.

    With augmentation T, they hold the gradient of D(T(x)) with respect to x.

    Args:
      config: has `penalty`, a PenaltyConfig.
      nets: whose discriminator.
      augment: what D's images pass through, if they do.
    """
    fields = config.penalty
    side = {"two": penalties.two_sided, "one": penalties.one_sided}[fields.side]
    points = {
        "uniform": penalties.interpolates,
        "normal": partial(penalties.interpolates, alpha=penalties.normal_alpha),
        "dragan": penalties.perturbed,
    }[fields.points]
    # (metric, weight, (critic of label, real, fake, key) -> value)
    terms = []
    if fields.weight:

        def gradient_penalty(critic, real, fake, key):
            at = points(real["image"], fake["image"], key)
            return penalties.gradient_penalty(
                critic(real["label"]), at, target=fields.target, side=side
            )

        terms.append(("c_gp", fields.weight, gradient_penalty))
    if fields.r1:

        def r1(critic, real, fake, key):
            return penalties.zero_centred(critic(real["label"]), real["image"])

        terms.append(("r1", fields.r1, r1))
    if fields.r2:

        def r2(critic, real, fake, key):
            return penalties.zero_centred(critic(fake["label"]), fake["image"])

        terms.append(("r2", fields.r2, r2))
    if not terms:
        return no_penalty

    def every(params, vars, fake, context):
        params, vars = nets.prepare_d(params, vars)
        key = fold(context.key, "dropout")

        def seen(x):
            return x if augment is None else augment.images(x, context)

        def critic(label):
            return lambda x: nets.discriminate(params, vars, seen(x), label, key)[0]

        values = {name: value(critic, context.batch, fake, context.key) for name, _, value in terms}
        return sum(weight * values[name] for name, weight, _ in terms), values

    return every


def check_penalty(config: RunConfig) -> None:
    """Raises ConfigError if a penalty cannot be had beside the other fields."""
    weights = {name: getattr(config.penalty, name) for name in ("weight", "r1", "r2")}
    for name, value in weights.items():
        if value and getattr(config.discriminator, "batch_norm", "none") != "none":
            raise ConfigError(
                f"config.penalty.{name}={value}: it holds each sample's own gradient, but "
                f"config.discriminator.batch_norm={config.discriminator.batch_norm!r} ties the "
                "samples of a batch together; set batch_norm='none' or the penalty to 0"
            )
    for name, plain in (("points", "uniform"), ("side", "two"), ("target", 1.0)):
        value = getattr(config.penalty, name)
        if value != plain and not config.penalty.weight:
            raise ConfigError(
                f"config.penalty.{name}={value!r}: it does nothing where config.penalty.weight is "
                f"0; set a weight, such as 10, or {name}={plain!r}"
            )
    conditioning = config.conditioning
    if (
        config.penalty.weight
        and config.penalty.points != "dragan"
        and conditioning.discriminator != "none"
        and conditioning.fake_labels != "reals"
    ):
        raise ConfigError(
            f"config.conditioning.fake_labels={conditioning.fake_labels!r}: points between a real "
            "and a fake need one label for both; set 'reals', or config.penalty.points='dragan'"
        )
    if config.penalty.interval > 1 and not any(weights.values()):
        raise ConfigError(
            f"config.penalty.interval={config.penalty.interval}: there is no penalty; set weight, "
            "r1 or r2, or interval=1"
        )
