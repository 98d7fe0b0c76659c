"""The pipeline of adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676).

The chosen families are applied in the paper's order. Blitting and the geometric transforms share
one resampling.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from ganjax.augment import affine, blit, colour, corrupt, filter, geometric
from ganjax.augment.controllers import AnyController, RtTargetFields
from ganjax.augment.policies import AugmentFields, Transform, draw_rotations
from ganjax.config import ConfigError, Names, OneOf
from ganjax.engine.pixels import ValueRange
from ganjax.keys import fold

# The names of the transforms of each family.
FAMILIES = {
    "blit": blit.TRANSFORMS,
    "geometric": geometric.TRANSFORMS,
    "colour": colour.TRANSFORMS,
    "filter": filter.TRANSFORMS,
    "corrupt": corrupt.TRANSFORMS,
}


def make_transform(
    families: Sequence[str], value_range: ValueRange, multipliers: Mapping[str, float]
) -> Transform:
    """Returns the transform that applies all transforms of the given families.

    Each of them is drawn for every sample on its own, with probability p times the transform's
    multiplier, at most 1.

    Args:
      families: names in FAMILIES.
      value_range: the values of black and of white in the images.
      multipliers: factors of p by names of transforms; transforms that are not named have 1. The
        resulting probability is that of filtering in each of its four octaves, and that of at
        least one of the two rotations, before and after the anisotropic scaling.

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
    if "blit" in families or "geometric" in families:
        stages.append(partial(_move, families))
    if "colour" in families:
        stages.append(partial(_recolour, value_range=value_range))
    if "filter" in families:
        stages.append(partial(_filter, value_range=value_range))
    if "corrupt" in families:
        stages.append(partial(_corrupt, value_range=value_range))

    def augment(images, p, key):
        probabilities = {name: jnp.minimum(factor * p, 1.0) for name, factor in factors.items()}
        for stage in stages:
            images = stage(images, probabilities, key)
        return images

    return augment


def transforms(families: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the transforms of the given families, in order."""
    return tuple(chain.from_iterable(FAMILIES[family] for family in families))


def _move(families, images, p, key):
    n, size = images.shape[0], images.shape[1:3]
    inverses = []
    if "blit" in families:
        moves = blit.draw(fold(key, "blit"), n, p, size)
        images = blit.reorient(images, moves.flips, moves.turns)
        inverses.append(moves.inverse_translation())
    if "geometric" in families:
        inverses.append(geometric.inverse(fold(key, "geometric"), n, p, size))
    return geometric.apply(images, affine.compose(*inverses))


def _recolour(images, p, key, value_range):
    matrix = colour.matrix(fold(key, "colour"), images.shape[0], p)
    return colour.apply(images, matrix, value_range)


def _filter(images, p, key, value_range):
    return filter.apply(images, filter.gains(fold(key, "filter"), images.shape[0], p), value_range)


def _corrupt(images, p, key, value_range):
    key = fold(key, "corrupt")
    return corrupt.cutout(corrupt.noise(images, key, p, value_range), key, p, value_range)


Family = Annotated[str, OneOf(FAMILIES)]
TransformName = Annotated[str, OneOf(transforms(tuple(FAMILIES)))]
Multiplier = Annotated[tuple[TransformName, Annotated[float, Field(ge=0)]], Field(strict=False)]


class AdaFields(AugmentFields):
    """The fields of the pipeline of adaptive discriminator augmentation.

    Attributes:
      families: some of "blit", "geometric", "colour", "filter" and "corrupt"; the defaults are the
        three that the paper recommends (section 2.3).
      multipliers: factors of the probability of single transforms, as pairs of a name and a
        number: (("hue", 0.5), ...); transforms that are not named have 1.
    """

    policy: Literal["ada"] = "ada"
    families: Annotated[Names[Family], Field(min_length=1)] = (
        "blit",
        "geometric",
        "colour",
    )
    multipliers: Annotated[tuple[Multiplier, ...], Field(strict=False)] = ()
    controller: AnyController = RtTargetFields()

    def check(self) -> None:
        names = [name for name, _ in self.multipliers]
        available = transforms(self.families)
        for name in names:
            if name not in available:
                wrong = f"families={self.families} have none"
            elif names.count(name) > 1:
                wrong = "it stands twice"
            else:
                continue
            raise ConfigError(
                f"config.augment.multipliers={self.multipliers}: {name!r}: {wrong}; each of "
                f"{', '.join(available)} can have one"
            )

    def transform(self, value_range: ValueRange) -> Transform:
        return make_transform(self.families, value_range, dict(self.multipliers))

    def leaks(self, value_range: ValueRange):
        """Returns a "rotation" and a "colour" transform, where the policy has such.

        The rotation is that of the geometric family, or else one by quarter turns, of images that
        are not square by half a turn.
        """
        multipliers = dict(self.multipliers)

        def happens(family, names):
            return family in self.families and any(multipliers.get(name, 1.0) for name in names)

        def rotated(images, key):
            return geometric.apply(images, draw_rotations(key, len(images)))

        def quarter_turned(images, key):
            turns = jax.random.randint(key, (len(images),), 1, 4)
            turns = turns if images.shape[1] == images.shape[2] else jnp.full_like(turns, 2)
            return blit.reorient(images, jnp.zeros(len(images), bool), turns)

        def recoloured(images, key):
            always = {name: float(multipliers.get(name, 1.0) > 0) for name in colour.TRANSFORMS}
            return colour.apply(images, colour.matrix(key, len(images), always), value_range)

        leaks = {}
        if happens("geometric", ["rotation"]):
            leaks["rotation"] = rotated
        elif happens("blit", ["rotate_90"]):
            leaks["rotation"] = quarter_turned
        # A luma flip alone changes only half of its images, so that a share would say nothing.
        if happens("colour", [name for name in colour.TRANSFORMS if name != "luma_flip"]):
            leaks["colour"] = recoloured
        return leaks
