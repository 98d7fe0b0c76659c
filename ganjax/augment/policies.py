"""What policies of augmentation have in common; the augmentation that D's images pass through."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp

from ganjax.augment import affine
from ganjax.augment.controllers import AnyController, Controller, FixedFields
from ganjax.augment.gate import uniform
from ganjax.augment.shapes import Images, Maps, Probability, RandomKey
from ganjax.config import Fields
from ganjax.engine.algorithm import Context, ImageTransform
from ganjax.engine.pixels import ValueRange
from ganjax.keys import fold


@runtime_checkable
class Transform(Protocol):
    """Transforms images, drawing for each sample on its own."""

    def __call__(self, images: Images, p: Probability, key: RandomKey) -> Images:
        """Returns images that were transformed with probability `p`, drawn by `key`."""
        ...


class NoAugmentFields(Fields):
    """No augmentation: D sees images as they are."""

    policy: Literal["none"] = "none"

    def build(self, value_range: ValueRange, batch_size: int) -> None:
        """Returns None."""


class AugmentFields(Fields):
    """The fields of one policy of augmentation, its checks and its construction.

    A subclass stands in the file of the transforms that it describes, and in the table of
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

    def leaks(self, value_range: ValueRange) -> dict[str, ImageTransform]:
        """Returns, by name, the transforms whose share among samples can be measured.

        Each is a transform of the policy that the generator may learn to make, applied to every
        image. A policy that does not override this has none.
        """
        del value_range
        return {}

    def build(self, value_range: ValueRange, batch_size: int) -> "Augmentation":
        """Returns the augmentation of D's images.

        Args:
          value_range: the values of black and of white in the images.
          batch_size: the number of reals in an update of D.

        Raises:
          ConfigError: the fields do not go together.
        """
        self.check()
        self.controller.check()
        transform = self.transform(value_range)

        def apply(images, context):
            return transform(images, context.aug["p"], fold(context.key, "augment"))

        leaks = self.leaks(value_range) if self.measure_leaks else {}
        return Augmentation(apply, self.controller.build(batch_size), leaks)


class Augmentation(NamedTuple):
    """What D's images pass through, and what moves its probability.

    Attributes:
      apply: (images, context) -> images, with the probability `context.aug["p"]` and keys derived
        from `context.key`.
      controller: moves the probability.
      leaks: as `Algorithm.leaks`.
    """

    apply: Callable[[Images, Context], Images]
    controller: Controller
    leaks: dict[str, ImageTransform]


def draw_rotations(key: RandomKey, n: int, largest: float = jnp.pi) -> Maps:
    """Draws n rotations of up to `largest` radians either way."""
    return affine.rotate(uniform(fold(key, "rotate"), n, -largest, largest))
