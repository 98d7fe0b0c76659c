"""Differentiable augmentations of D's images, which are pure functions of images, p and a key.

Every transform is drawn for every sample on its own, and a sample for which none is drawn stays
bit for bit as it is. Once drawn, all transforms are affine in the image, so that gradients of any
order pass. Shapes are static.

To add a policy, write one file with its transforms and a subclass of `policies.AugmentFields`, and
list the subclass in `AnyPolicy`.
"""

from typing import Annotated

from pydantic import Field

from ganjax.augment.ada import AdaFields
from ganjax.augment.diffaugment import DiffAugmentFields
from ganjax.augment.keras import KerasFields
from ganjax.augment.policies import NoAugmentFields
from ganjax.config import Fields

AnyPolicy = Annotated[
    NoAugmentFields | KerasFields | AdaFields | DiffAugmentFields, Field(discriminator="policy")
]


class AugmentGroup(Fields):
    """The fields of algorithms whose D sees augmented images (`AugmentFields.build`).

    Attributes:
      augment: the policy by which all of D's images are transformed: reals and fakes, in the
        losses of both players.
    """

    augment: AnyPolicy = NoAugmentFields()
