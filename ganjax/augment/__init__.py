"""Differentiable augmentations for the discriminator: pure functions of images, p and a key.

Every transform is drawn for every sample on its own; a sample for which nothing was drawn comes
out bit for bit. Once drawn, all transforms are affine in the image, so that gradients of any order
pass. Shapes are static.

To add a policy, write one file with its transforms and a subclass of `policies.AugmentFields`, and
name that here.
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
    """Fields of algorithms whose D sees augmented images: see `AugmentFields.build`.

    Attributes:
      augment: what D's images pass through, reals and fakes, in both players' losses.
    """

    augment: AnyPolicy = NoAugmentFields()
