"""DiffAugment, differentiable augmentation (Zhao et al. 2020, arXiv:2006.10738, section 3)."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int
from pydantic import Field

from ganjax.augment import corrupt
from ganjax.augment.gate import differs, gated, only_where, uniform
from ganjax.augment.policies import AugmentFields, Transform
from ganjax.augment.shapes import Images, Probability, RandomKey
from ganjax.config import Names, OneOf
from ganjax.engine.pixels import ValueRange
from ganjax.keys import fold

# The largest translation and the side of the cut, as shares of the image's size.
TRANSLATION, CUTOUT = 0.125, 0.5


def make_transform(families: Sequence[str], value_range: ValueRange) -> Transform:
    """Returns the transform that applies each of the given families with probability p.

    The paper has p = 1.

    Args:
      families: names in FAMILIES.
      value_range: the values of black and of white in the images.

    Raises:
      ValueError: there is no such family.
    """
    unknown = sorted(set(families) - set(FAMILIES))
    if unknown:
        raise ValueError(f"families={unknown}: there are {', '.join(FAMILIES)}")
    stages = {
        name: partial(stage, value_range=value_range)
        for name, stage in FAMILIES.items()
        if name in families
    }

    def augment(images, p, key):
        for name, stage in stages.items():
            images = stage(images, p, fold(key, name))
        return images

    return augment


def colour(images: Images, p: Probability, key: RandomKey, value_range: ValueRange) -> Images:
    """Changes the brightness, then the saturation, then the contrast of images with probability p.

    A shift from U[-0.5, 0.5) is added, for values in [-1, 1]. Then each value's distance from its
    pixel's mean is multiplied by U[0, 2), and its distance from the image's mean by U[0.5, 1.5).
    """
    n, half = images.shape[0], (value_range[1] - value_range[0]) / 2
    shift = half * uniform(fold(key, "brightness"), n, -0.5, 0.5)
    saturation = uniform(fold(key, "saturation"), n, 0.0, 2.0)
    contrast = uniform(fold(key, "contrast"), n, 0.5, 1.5)
    drawn = gated(key, p, jnp.stack([shift, saturation, contrast], -1), [0, 1, 1])
    shift, saturation, contrast = drawn.T[..., None, None, None].astype(images.dtype)
    new = images + shift
    grey = new.mean(-1, keepdims=True)
    new = grey + saturation * (new - grey)
    mean = new.mean((1, 2, 3), keepdims=True)
    new = mean + contrast * (new - mean)
    return only_where(differs(drawn, [0, 1, 1]), new, images)


def translation(images: Images, p: Probability, key: RandomKey, value_range: ValueRange) -> Images:
    """Moves images by whole pixels with probability p, and fills what is uncovered with mid-grey.

    A shift is up to 1/8 of the image's size (halves up) either way, along each axis.
    """
    n, height, width, _ = images.shape

    def shifts(name, size):
        largest = int(TRANSLATION * size + 0.5)
        return jax.random.randint(fold(key, name), (n,), -largest, largest + 1)

    shift = gated(key, p, jnp.stack([shifts("y", height), shifts("x", width)], -1), [0, 0])
    return shifted(images, shift, sum(value_range) / 2)


def shifted(images: Images, shift: Int[Array, "n 2"], value: float) -> Images:
    """Moves each image (H, W, C) by whole pixels.

    Args:
      images: (N, H, W, C).
      shift: (N, 2), the pixels downwards and to the right.
      value: the value that fills what is uncovered.
    """
    height, width = images.shape[1:3]
    rows = jnp.arange(height)[None] - shift[:, :1]
    columns = jnp.arange(width)[None] - shift[:, 1:]
    pick = jax.vmap(lambda image, row, column: image[row][:, column])
    moved = pick(images, rows.clip(0, height - 1), columns.clip(0, width - 1))
    inside = [(at >= 0) & (at < size) for at, size in ((rows, height), (columns, width))]
    inside_both = (inside[0][:, :, None] & inside[1][:, None, :])[..., None]
    return jnp.where(inside_both, moved, jnp.asarray(value, images.dtype))


def cutout(images: Images, p: Probability, key: RandomKey, value_range: ValueRange) -> Images:
    """Fills a rectangle of half the image's size with mid-grey with probability p.

    The rectangle's centre is uniform over the image.
    """
    return corrupt.cut_anywhere(images, key, p, CUTOUT, sum(value_range) / 2)


# In the order of application.
FAMILIES = {"colour": colour, "translation": translation, "cutout": cutout}

Family = Annotated[str, OneOf(FAMILIES)]


class DiffAugmentFields(AugmentFields):
    """The fields of DiffAugment.

    Attributes:
      families: some of "colour", "translation" and "cutout".
    """

    policy: Literal["diffaugment"] = "diffaugment"
    families: Annotated[Names[Family], Field(min_length=1)] = tuple(FAMILIES)

    def transform(self, value_range: ValueRange) -> Transform:
        return make_transform(self.families, value_range)

    def leaks(self, value_range: ValueRange):
        if "colour" not in self.families:
            return {}
        return {"colour": lambda images, key: colour(images, 1.0, key, value_range)}
