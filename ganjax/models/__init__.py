"""Networks, which are pure Flax linen modules, with the config fields that describe them.

To add a network, write one file with its module and a subclass of `fields.GeneratorFields` or
`fields.NetworkFields`, and list the subclass in `AnyGenerator` or `AnyDiscriminator`.
"""

from typing import Annotated

from pydantic import Field

from ganjax.models import dcgan, maxout, mlp, progan, r3gan, resnet

AnyGenerator = Annotated[
    dcgan.GeneratorFields
    | resnet.GeneratorFields
    | mlp.GeneratorFields
    | maxout.GeneratorFields
    | progan.GeneratorFields
    | r3gan.GeneratorFields,
    Field(discriminator="network"),
]
AnyDiscriminator = Annotated[
    dcgan.DiscriminatorFields
    | resnet.DiscriminatorFields
    | mlp.DiscriminatorFields
    | maxout.DiscriminatorFields
    | progan.DiscriminatorFields
    | r3gan.DiscriminatorFields,
    Field(discriminator="network"),
]
