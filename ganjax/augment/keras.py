"""The augmentation of Keras' example of adaptive discriminator augmentation.

With probability p an image is flipped, translated by whole pixels, rotated and zoomed. Keras
applies the four in turn, each with a lookup of its own. Here they are one map and one bilinear
lookup, so that an image is blurred only once and reflected only at its own edges.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from ganjax.augment import affine
from ganjax.augment.controllers import AccuracyTargetFields, AnyController
from ganjax.augment.gate import differs, gated, only_where, uniform
from ganjax.augment.policies import AugmentFields, Transform, draw_rotations
from ganjax.config import Fraction
from ganjax.engine.pixels import ValueRange
from ganjax.keys import fold


class KerasFields(AugmentFields):
    """The fields of the policy of Keras' example; the defaults are the example's.

    Attributes:
      translation: the largest translation either way, as a share of the image's size.
      rotation: the largest rotation either way, as a share of a full turn.
      zoom: the largest share of the image's height and width that is cut away.
    """

    policy: Literal["keras"] = "keras"
    translation: Fraction = 0.125
    rotation: Fraction = 0.125
    zoom: Fraction = 0.25
    controller: AnyController = AccuracyTargetFields()

    def transform(self, value_range: ValueRange) -> Transform:
        del value_range
        return make_transform(self.translation, self.rotation, self.zoom)

    def leaks(self, value_range: ValueRange):
        del value_range
        if not self.rotation:
            return {}
        largest = 2 * jnp.pi * self.rotation

        def rotated(images, key):
            return affine.resample(images, draw_rotations(key, len(images), largest))

        return {"rotation": rotated}


def make_transform(translation: float, rotation: float, zoom: float) -> Transform:
    """Returns the transform that flips, translates, rotates and zooms an image with probability p.

    Args:
      translation: the largest translation either way along each axis, as a share of the image's
        size; translations are by whole pixels.
      rotation: the largest rotation either way, as a share of a full turn.
      zoom: the largest share of the height and of the width, drawn apart, that is cut away.
    """

    def augment(images, p, key):
        n, height, width, _ = images.shape

        def draw(name, low, high):
            return uniform(fold(key, name), n, low, high)

        flip = jax.random.bernoulli(fold(key, "x_flip"), 0.5, (n,))
        x = jnp.round(width * draw("translate_x", -translation, translation))
        y = jnp.round(height * draw("translate_y", -translation, translation))
        inverse = affine.compose(
            affine.scale(jnp.where(flip, -1.0, 1.0), jnp.ones(n)),
            affine.translate(-x, -y),
            affine.rotate(2 * jnp.pi * draw("rotate", -rotation, rotation)),
            affine.scale(draw("zoom_x", 1 - zoom, 1.0), draw("zoom_y", 1 - zoom, 1.0)),
        )
        inverse = gated(key, p, inverse, jnp.eye(3))
        moved = affine.resample(images, inverse)
        return only_where(differs(inverse, jnp.eye(3)), moved, images)

    return augment
