"""Networks: pure Flax linen modules, the config fields that describe them, and their tables.

To add a network, write one file with its module and a subclass of `fields.GeneratorFields` or
`fields.NetworkFields`, and name that here.
"""

from ganjax.config import one_of
from ganjax.models import dcgan, maxout, mlp, progan, resnet

GENERATORS = (
    dcgan.GeneratorFields,
    resnet.GeneratorFields,
    mlp.GeneratorFields,
    maxout.GeneratorFields,
    progan.GeneratorFields,
)
DISCRIMINATORS = (
    dcgan.DiscriminatorFields,
    resnet.DiscriminatorFields,
    mlp.DiscriminatorFields,
    maxout.DiscriminatorFields,
    progan.DiscriminatorFields,
)
Generator = one_of(GENERATORS, by="network")
Discriminator = one_of(DISCRIMINATORS, by="network")
