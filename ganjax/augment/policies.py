"""The base of all augmentation policies, and the augmentation that a policy builds."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from ganjax.augment import affine
from ganjax.augment.controllers import AnyController, Controller, FixedFields
from ganjax.augment.gate import uniform
from ganjax.augment.shapes import Images, Maps, Probability, RandomKey
from ganjax.config import Fields, Idle
from ganjax.engine.algorithm import Context, ImageTransform
from ganjax.engine.pixels import ValueRange
from ganjax.engine.schedules import Reals
from ganjax.keys import fold


@runtime_checkable
class Transform(Protocol):
    """A function that transforms images, with random draws for each sample on its own."""

    def __call__(self, images: Images, p: Probability, key: RandomKey) -> Images:
        """Transforms images (N, H, W, C), each with probability `p` and by draws from `key`."""
        ...


class NoAugmentFields(Fields):
    """The fields of no augmentation, with which D sees images as they are."""

    policy: Literal["none"] = "none"

    def build(self, value_range: ValueRange, batch_size: int, reals: Reals) -> None:
        """Returns None, which stands for no augmentation."""


class AugmentFields(Fields):
    """The fields of one augmentation policy, with its checks and its construction.

    A subclass stands in the file of the transforms that it describes, and is listed in `AnyPolicy`
    of `ganjax.augment`.

    Attributes:
      policy: the name of the policy, a Literal in each subclass.
      measure_leaks: whether each evaluation measures the shares of samples that are rotated and
        whose colours are altered (leak_rotation, leak_colour; see `ganjax.training.leaks`). It has
        no effect if the policy, with its families and strengths, does neither.
      controller: the rule that changes the probability of augmentation.
    """

    policy: str
    measure_leaks: bool = False
    controller: AnyController = FixedFields()

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        if not self.leaks((-1.0, 1.0)):
            yield Idle("measure_leaks")

    def check(self) -> None:
        """Refuses fields that do not go together.

        Raises:
          ConfigError: the fields do not go together.
        """

    def transform(self, value_range: ValueRange) -> Transform:
        """Returns the transform that the policy applies.

        Args:
          value_range: the values of black and of white in the images.
        """
        raise NotImplementedError

    def leaks(self, value_range: ValueRange) -> dict[str, ImageTransform]:
        """Returns, by name, the transforms whose share among samples can be measured.

        Each does to every image what the policy does to some and the generator may learn to
        imitate. A policy that does not override this method has none.

        Args:
          value_range: the values of black and of white in the images.
        """
        del value_range
        return {}

    def build(self, value_range: ValueRange, batch_size: int, reals: Reals) -> "Augmentation":
        """Returns the augmentation of D's images that these fields describe.

        Args:
          value_range: the values of black and of white in the images.
          batch_size: the number of reals in an update of D.
          reals: the number of reals that D has seen, for schedules.

        Raises:
          ConfigError: the fields do not go together.
        """
        self.check()
        self.controller.check()
        transform = self.transform(value_range)
        controller = self.controller.build(batch_size)

        def probability(context):
            return controller.p(context.aug, reals.at(context.step))

        def apply(images, context):
            return transform(images, probability(context), fold(context.key, "augment"))

        leaks = self.leaks(value_range) if self.measure_leaks else {}
        return Augmentation(apply, probability, controller, leaks)


class Augmentation(NamedTuple):
    """The augmentation of D's images and the controller of its probability.

    Attributes:
      apply: (images, context) -> transformed images, with keys derived from `context.key`.
      probability: context -> the probability with which `apply` transforms.
      controller: the rule that changes the probability.
      leaks: the transforms whose share among samples is measured, by name, as in
        `ganjax.engine.algorithm.Algorithm`.
    """

    apply: Callable[[Images, Context], Images]
    probability: Callable[[Context], jax.Array]
    controller: Controller
    leaks: dict[str, ImageTransform]


def draw_rotations(key: RandomKey, n: int, largest: float = jnp.pi) -> Maps:
    """Draws n rotations (n, 3, 3) of up to `largest` radians either way."""
    return affine.rotate(uniform(fold(key, "rotate"), n, -largest, largest))
