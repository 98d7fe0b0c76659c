"""The pipeline of adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676).

Families are applied in the paper's order whichever are chosen; blitting and the geometric
transforms share one resampling.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain

import jax
import jax.numpy as jnp

from ganjax.augment import affine, blit, colour, corrupt, filter, geometric
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
