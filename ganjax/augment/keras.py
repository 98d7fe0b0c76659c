"""The augmentation of Keras' example of adaptive discriminator augmentation.

x-flip, integer translation, rotation and zoom behind one gate for each image. Keras applies the
four in turn, each with a lookup of its own; here they are one map and one bilinear lookup, so
that an image is blurred once, and reflected at its own edges.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from ganjax.augment import affine
from ganjax.augment.controllers import AccuracyTargetFields, AnyController
from ganjax.augment.gate import differs, gated, only_where, uniform
from ganjax.augment.policies import AugmentFields, rotations
from ganjax.config import Fraction
from ganjax.keys import fold


class KerasFields(AugmentFields):
    """The policy of Keras' example; the defaults are the example's.

    Attributes:
      translation: at most, as a share of the size.
      rotation: at most, either way, in turns.
      zoom: the most that is cut away of height and of width.
    """

    policy: Literal["keras"] = "keras"
    translation: Fraction = 0.125
    rotation: Fraction = 0.125
    zoom: Fraction = 0.25
    controller: AnyController = AccuracyTargetFields()

    def transform(self, value_range):
        del value_range
        return keras(self.translation, self.rotation, self.zoom)

    def leaks(self, value_range):
        if not self.rotation:
            return {}
        most = 2 * jnp.pi * self.rotation

        def rotated(images, key):
            return affine.resample(images, rotations(images, key, most))

        return {"rotation": rotated}


def keras(
    translation: float, rotation: float, zoom: float
) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """`augment(images, p, key) -> images`: all four transforms of an image with probability p.

    Args:
      translation: at most, up or down and left or right, as a share of the size; in whole
        pixels.
      rotation: at most, either way, in turns.
      zoom: the most that is cut away of height and of width, each on its own.
    """

    def augment(images, p, key):
        n, height, width, _ = images.shape
        draw = lambda name, low, high: uniform(fold(key, name), n, low, high)  # noqa: E731
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
