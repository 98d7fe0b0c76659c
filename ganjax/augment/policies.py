"""The fields of the discriminator's augmentation, and the functions that they describe."""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from pydantic import Field, PositiveFloat, PositiveInt

from ganjax.augment import (
    affine,
    blit,
    colour,
    controllers,
    diffaugment,
    geometric,
    keras,
    pipeline,
)
from ganjax.augment.controllers import Controller
from ganjax.augment.gate import uniform
from ganjax.config import ConfigError, Fields, Fraction
from ganjax.keys import fold
from ganjax.objectives.losses import LOSSES
from ganjax.training.schema import RunConfig

Probability = Annotated[float, Field(ge=0, le=1)]


class FixedP(Fields):
    """The probability of augmentation stays `p`."""

    name: Literal["fixed"]
    p: Probability


class AccuracyTarget(Fields):
    """See `ganjax.augment.controllers.accuracy_target`.

    Attributes:
      p: at the start.
      target: of D's accuracy on reals.
      speed: gain of the controller.
      p_max: p rises no higher.
    """

    name: Literal["accuracy"]
    p: Probability
    target: Probability
    speed: PositiveFloat
    p_max: Probability


class RtTarget(Fields):
    """See `ganjax.augment.controllers.r_t_target`.

    Attributes:
      p: at the start.
      target: of r_t = E[sign(D(real))].
      interval: updates of D between changes of p.
      reals_to_one: reals over which p could rise from 0 to 1.
      p_max: p rises no higher.
    """

    name: Literal["r_t"]
    p: Probability
    target: Annotated[float, Field(ge=-1, le=1)]
    interval: PositiveInt
    reals_to_one: PositiveInt
    p_max: Probability


ControllerConfig = Annotated[FixedP | AccuracyTarget | RtTarget, Field(discriminator="name")]


class NoAugment(Fields):
    """D sees images as they are."""

    policy: Literal["none"]


class _Augment(Fields):
    """What all policies share.

    Attributes:
      measure_leaks: whether each evaluation measures the share of samples that are rotated and
        of those with altered colours (leak_rotation, leak_colour; see `ganjax.training.leaks`).
      controller: of the probability.
    """

    measure_leaks: bool
    controller: ControllerConfig


class KerasAugment(_Augment):
    """See `ganjax.augment.keras`."""

    policy: Literal["keras"]
    translation: Fraction
    rotation: Fraction
    zoom: Fraction


Transform = Literal[pipeline.transforms(tuple(pipeline.FAMILIES))]
Multiplier = Annotated[tuple[Transform, Annotated[float, Field(ge=0)]], Field(strict=False)]


class AdaAugment(_Augment):
    """See `ganjax.augment.pipeline`.

    Attributes:
      families: "blit", "geometric", "colour", "filter", "corrupt".
      multipliers: of the probability of single transforms, as pairs: (("hue", 0.5), ...); those
        that are not named have 1.
    """

    policy: Literal["ada"]
    families: Annotated[
        tuple[Literal[tuple(pipeline.FAMILIES)], ...], Field(min_length=1, strict=False)
    ]
    multipliers: Annotated[tuple[Multiplier, ...], Field(strict=False)]


class DiffAugment(_Augment):
    """See `ganjax.augment.diffaugment`.

    Attributes:
      families: "colour", "translation", "cutout".
    """

    policy: Literal["diffaugment"]
    families: Annotated[
        tuple[Literal[tuple(diffaugment.FAMILIES)], ...], Field(min_length=1, strict=False)
    ]


AugmentConfig = Annotated[
    NoAugment | KerasAugment | AdaAugment | DiffAugment, Field(discriminator="policy")
]


class Augmentation(NamedTuple):
    """What D's images pass through, and what moves its probability.

    Attributes:
      images: (images, context) -> images, with the probability of context.aug and keys below
        context.key.
      controller: of that probability.
      leaks: as `Algorithm.leaks`.
    """

    images: Callable
    controller: Controller
    leaks: dict[str, Callable]


def augmentation(config: RunConfig, value_range: tuple[float, float]) -> Augmentation | None:
    """The augmentation that a config describes; None for the policy "none".

    Args:
      config: has `augment`, an AugmentConfig, and `batch_size`.
      value_range: black and white in the images.

    Raises:
      ConfigError: its controller does not go with the other fields.
    """
    fields = config.augment
    if fields.policy == "none":
        return None
    _check(config)
    if fields.policy == "keras":
        function = keras.keras(fields.translation, fields.rotation, fields.zoom)
    elif fields.policy == "ada":
        function = pipeline.pipeline(fields.families, value_range, dict(fields.multipliers))
    else:
        function = diffaugment.diffaugment(fields.families, value_range)

    def images(x, context):
        return function(x, context.aug["p"], fold(context.key, "augment"))

    controller = _controller(fields.controller, config.batch_size)
    leaks = _leaks(fields, value_range) if fields.measure_leaks else {}
    return Augmentation(images, controller, leaks)


def augmented_discriminate(discriminate: Callable, augment: Augmentation) -> Callable:
    """`Algorithm.discriminate` with reals and fakes augmented, each with draws of its own."""

    def augmented(params, vars, fake, context):
        def seen(batch, name):
            key = fold(context.key, name)
            return {**batch, "image": augment.images(batch["image"], context._replace(key=key))}

        reals = seen(context.batch, "real")
        return discriminate(params, vars, seen(fake, "fake"), context._replace(batch=reals))

    return augmented


def with_r_t(d_loss: Callable, logits: Callable | None) -> Callable:
    """`Algorithm.d_loss` with the metrics aug_p and, of losses with logits, r_t."""

    def measured(scores, context):
        value, metrics = d_loss(scores, context)
        metrics = {**metrics, "aug_p": context.aug["p"]}
        if logits is not None:
            metrics["r_t"] = jnp.mean(jnp.sign(logits(*scores)[0]))
        return value, metrics

    return measured


def _controller(fields, batch_size: int) -> Controller:
    if fields.name == "fixed":
        return controllers.fixed(fields.p)
    if fields.name == "accuracy":
        return controllers.accuracy_target(fields.p, fields.target, fields.speed, fields.p_max)
    step = fields.interval * batch_size / fields.reals_to_one
    return controllers.r_t_target(fields.p, fields.target, fields.interval, step, fields.p_max)


def _leaks(fields, value_range) -> dict[str, Callable]:
    """The rotation and the colours of a policy, each alone and always."""
    of = {"keras": _keras_leaks, "ada": _ada_leaks, "diffaugment": _diffaugment_leaks}
    return of[fields.policy](fields, value_range)


def _keras_leaks(fields: KerasAugment, value_range) -> dict[str, Callable]:
    if not fields.rotation:
        return {}

    def rotated(images, key):
        return affine.resample(images, _rotations(images, key, 2 * jnp.pi * fields.rotation))

    return {"rotation": rotated}


def _ada_leaks(fields: AdaAugment, value_range) -> dict[str, Callable]:
    multipliers = dict(fields.multipliers)
    # Half of the images whose greys are turned are as they were: of these a share says nothing.
    shown = {
        "blit": ("rotate_90",),
        "geometric": ("rotation",),
        "colour": [name for name in pipeline.FAMILIES["colour"] if name != "luma_flip"],
    }
    happens = {
        family
        for family in shown.keys() & set(fields.families)
        if any(multipliers.get(name, 1.0) for name in shown[family])
    }

    def rotated(images, key):
        return geometric.apply(images, _rotations(images, key, jnp.pi))

    def turned(images, key):
        turns = jax.random.randint(key, (len(images),), 1, 4)
        return geometric.apply(images, blit.quarter_turns(turns))

    def recoloured(images, key):
        always = {
            name: float(multipliers.get(name, 1.0) > 0) for name in pipeline.FAMILIES["colour"]
        }
        return colour.apply(images, colour.matrix(key, len(images), always), value_range)

    found = {}
    if "geometric" in happens:
        found["rotation"] = rotated
    elif "blit" in happens:
        found["rotation"] = turned
    if "colour" in happens:
        found["colour"] = recoloured
    return found


def _diffaugment_leaks(fields: DiffAugment, value_range) -> dict[str, Callable]:
    if "colour" not in fields.families:
        return {}
    return {"colour": lambda images, key: diffaugment.colour(images, 1.0, key, value_range)}


def _rotations(images, key, most: float):
    return affine.rotate(uniform(fold(key, "rotate"), len(images), -most, most))


def _check(config: RunConfig) -> None:
    if config.augment.policy == "ada":
        _check_multipliers(config.augment)
    controller = config.augment.controller
    if controller.name == "fixed":
        return
    if LOSSES[config.loss].logits is None:
        raise ConfigError(
            f"config.augment.controller.name={controller.name!r}: it watches the sign of D's "
            f"outputs, which says nothing with the loss {config.loss!r}; set 'fixed'"
        )
    if controller.p > controller.p_max:
        raise ConfigError(
            f"config.augment.controller.p={controller.p}: it is above p_max={controller.p_max}; "
            "set it lower, or p_max higher"
        )


def _check_multipliers(fields: AdaAugment) -> None:
    named = [name for name, _ in fields.multipliers]
    ours = pipeline.transforms(fields.families)
    for name in named:
        if named.count(name) > 1 or name not in ours:
            wrong = "it stands twice" if name in ours else f"families={fields.families} have none"
            raise ConfigError(
                f"config.augment.multipliers={fields.multipliers}: {name!r}: {wrong}; each of "
                f"{', '.join(ours)} can have one"
            )
