"""What policies of augmentation have in common; the augmentation that D's images pass through."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ganjax.augment import affine
from ganjax.augment.controllers import AnyController, Controller, FixedFields
from ganjax.augment.gate import uniform
from ganjax.config import Fields
from ganjax.keys import fold

ValueRange = tuple[float, float]


class Transform(Protocol):
    """Transforms of images, each sample's drawn on its own."""

    def __call__(self, images: jax.Array, p: jax.Array, key: jax.Array) -> jax.Array:
        """Returns images (N, H, W, C) with transforms of probability `p`, drawn by `key`."""
        ...


class Leak(Protocol):
    """A transform that the generator may learn to make (`ganjax.training.leaks`)."""

    def __call__(self, images: jax.Array, key: jax.Array) -> jax.Array:
        """Returns images (N, H, W, C), all of them transformed."""
        ...


class NoAugmentFields(Fields):
    """No augmentation: D sees images as they are."""

    policy: Literal["none"] = "none"

    def build(self, value_range: ValueRange, batch_size: int) -> None:
        """Returns None."""


class AugmentFields(Fields):
    """The fields of one policy of augmentation, its checks and its construction.

    A subclass stands beside the transforms that it describes, and in the table of
    `ganjax.augment`. Its field `policy`, a Literal, names the policy.

    Attributes:
      measure_leaks: whether each evaluation measures the share of samples that are rotated and
        of those with altered colours (leak_rotation, leak_colour; see `ganjax.training.leaks`).
      controller: what moves the probability of augmentation.
    """

    policy: str
    measure_leaks: bool = False
    controller: AnyController = FixedFields()

    def check(self) -> None:
        """Refuses fields that do not go together.

        Raises:
          ConfigError: in one line: the field, its value and the mend.
        """

    def transform(self, value_range: ValueRange) -> Transform:
        """Returns the transforms of the policy.

        Args:
          value_range: the values of black and of white in the images.
        """
        raise NotImplementedError

    def leaks(self, value_range: ValueRange) -> dict[str, Leak]:
        """Returns by name the transforms whose share among samples can be measured."""
        raise NotImplementedError

    def build(self, value_range: ValueRange, batch_size: int) -> "Augmentation":
        """Returns the augmentation of D's images.

        Args:
          value_range: the values of black and of white in the images.
          batch_size: reals of an update of D.

        Raises:
          ConfigError: the fields do not go together.
        """
        self.check()
        self.controller.check()
        transform = self.transform(value_range)

        def images(images, context):
            return transform(images, context.aug["p"], fold(context.key, "augment"))

        leaks = self.leaks(value_range) if self.measure_leaks else {}
        return Augmentation(images, self.controller.build(batch_size), leaks)


class Augmentation(NamedTuple):
    """What D's images pass through, and what moves its probability.

    Attributes:
      images: (images, context) -> images, with the probability `context.aug["p"]` and keys below
        `context.key`; context is a `ganjax.engine.algorithm.Context`.
      controller: moves the probability.
      leaks: as `Algorithm.leaks`.
    """

    images: Callable[[jax.Array, Any], jax.Array]
    controller: Controller
    leaks: dict[str, Leak]


def rotations(images: jax.Array, key: jax.Array, most: float = jnp.pi) -> jax.Array:
    """Draws rotations (N, 3, 3) of as many images, up to `most` radians either way."""
    return affine.rotate(uniform(fold(key, "rotate"), len(images), -most, most))
