"""The pipeline of adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676).

Families are applied in the paper's order whichever are chosen; blitting and the geometric
transforms share one resampling.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from ganjax.augment import affine, blit, colour, corrupt, filter, geometric
from ganjax.augment.controllers import AnyController, RtTargetFields
from ganjax.augment.policies import AugmentFields, rotations
from ganjax.config import ConfigError
from ganjax.keys import fold

# With the transforms of each.
FAMILIES = {
    "blit": blit.TRANSFORMS,
    "geometric": geometric.TRANSFORMS,
    "colour": colour.TRANSFORMS,
    "filter": filter.TRANSFORMS,
    "corrupt": corrupt.TRANSFORMS,
}


def pipeline(
    families: Sequence[str],
    value_range: tuple[float, float],
    multipliers: Mapping[str, float],
) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """`augment(images, p, key) -> images`.

    Every transform of every sample is drawn, and gated with probability p times its multiplier
    (at most 1), on its own.

    Args:
      families: of FAMILIES.
      value_range: black and white in the images.
      multipliers: of p, by the names in FAMILIES; those that are not named have 1. Filtering draws
        each of its four octaves with that probability, and a rotation is before or after the
        anisotropic scaling or both with it.

    Raises:
      ValueError: there is no such family, or no such transform among them.
    """
    unknown = sorted(set(families) - set(FAMILIES))
    if unknown:
        raise ValueError(f"families={unknown}: there are {', '.join(FAMILIES)}")
    factors = dict.fromkeys(transforms(families), 1.0)
    unknown = sorted(set(multipliers) - set(factors))
    if unknown:
        raise ValueError(f"multipliers={unknown}: there are {', '.join(factors)}")
    factors |= multipliers
    stages = []
    maps = {"blit": blit.inverse, "geometric": geometric.inverse}
    maps = {name: inverse for name, inverse in maps.items() if name in families}
    if maps:
        stages.append(partial(_resample, maps))
    if "colour" in families:
        stages.append(partial(_recolour, value_range=value_range))
    if "filter" in families:
        stages.append(partial(_filter, value_range=value_range))
    if "corrupt" in families:
        stages.append(partial(_corrupt, value_range=value_range))

    def augment(images, p, key):
        each = {name: jnp.minimum(factor * p, 1.0) for name, factor in factors.items()}
        for stage in stages:
            images = stage(images, each, key)
        return images

    return augment


def transforms(families: Sequence[str]) -> tuple[str, ...]:
    """The names of the transforms of families."""
    return tuple(chain.from_iterable(FAMILIES[family] for family in families))


def _resample(maps, images, p, key):
    n, size = images.shape[0], images.shape[1:3]
    inverses = [inverse(fold(key, name), n, p, size) for name, inverse in maps.items()]
    return geometric.apply(images, affine.compose(*inverses))


def _recolour(images, p, key, value_range):
    matrix = colour.matrix(fold(key, "colour"), images.shape[0], p)
    return colour.apply(images, matrix, value_range)


def _filter(images, p, key, value_range):
    return filter.apply(images, filter.gains(fold(key, "filter"), images.shape[0], p), value_range)


def _corrupt(images, p, key, value_range):
    key = fold(key, "corrupt")
    return corrupt.cutout(corrupt.noise(images, key, p, value_range), key, p, value_range)


TransformName = Literal[transforms(tuple(FAMILIES))]
Multiplier = Annotated[tuple[TransformName, Annotated[float, Field(ge=0)]], Field(strict=False)]


class AdaFields(AugmentFields):
    """The pipeline of adaptive discriminator augmentation.

    Attributes:
      families: some of "blit", "geometric", "colour", "filter" and "corrupt"; the default are the
        three that help (section 2.3).
      multipliers: factors of the probability of single transforms, as pairs of a name and a
        number: (("hue", 0.5), ...); transforms that are not named have 1.
    """

    policy: Literal["ada"] = "ada"
    families: Annotated[tuple[Literal[tuple(FAMILIES)], ...], Field(min_length=1, strict=False)] = (
        "blit",
        "geometric",
        "colour",
    )
    multipliers: Annotated[tuple[Multiplier, ...], Field(strict=False)] = ()
    controller: AnyController = RtTargetFields()

    def check(self) -> None:
        named = [name for name, _ in self.multipliers]
        known = transforms(self.families)
        for name in named:
            if named.count(name) > 1 or name not in known:
                wrong = (
                    "it stands twice" if name in known else f"families={self.families} have none"
                )
                raise ConfigError(
                    f"config.augment.multipliers={self.multipliers}: {name!r}: {wrong}; each of "
                    f"{', '.join(known)} can have one"
                )

    def transform(self, value_range):
        return pipeline(self.families, value_range, dict(self.multipliers))

    def leaks(self, value_range):
        return _leaks(self.families, dict(self.multipliers), value_range)


def _leaks(families, multipliers, value_range):
    """The rotation and the colours of the pipeline, each alone and always."""
    # Half of the images whose greys are turned are as they were: of these a share says nothing.
    shown = {
        "blit": ("rotate_90",),
        "geometric": ("rotation",),
        "colour": [name for name in FAMILIES["colour"] if name != "luma_flip"],
    }
    happens = {
        family
        for family in shown.keys() & set(families)
        if any(multipliers.get(name, 1.0) for name in shown[family])
    }

    def rotated(images, key):
        return geometric.apply(images, rotations(images, key))

    def quarter_turned(images, key):
        turns = jax.random.randint(key, (len(images),), 1, 4)
        return geometric.apply(images, blit.quarter_turns(turns))

    def recoloured(images, key):
        always = {name: float(multipliers.get(name, 1.0) > 0) for name in FAMILIES["colour"]}
        return colour.apply(images, colour.matrix(key, len(images), always), value_range)

    found = {}
    if "geometric" in happens:
        found["rotation"] = rotated
    elif "blit" in happens:
        found["rotation"] = quarter_turned
    if "colour" in happens:
        found["colour"] = recoloured
    return found
