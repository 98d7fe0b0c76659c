"""The fields of the networks; `ganjax.algorithms.networks` makes modules of them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ganjax.config import Fields, Fraction, Widths

Pair = Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]


class BatchNormConfig(Fields):
    """BatchNorm's settings, of both networks.

    Attributes:
      scale: whether it has one; under spectral normalisation it never has.
      momentum: decay of the running averages.
      epsilon: added to the variance.
    """

    scale: bool
    momentum: Fraction
    epsilon: PositiveFloat


class ConvGenerator(Fields):
    """See `ganjax.models.dcgan.Generator` and `ganjax.models.resnet.Generator`.

    Attributes:
      first_norm: of "resnet" always "channel".
    """

    network: Literal["dcgan", "resnet"]
    widths: Widths
    slope: Fraction
    upsample: Literal["transpose", "nearest"]
    batch_norm: bool
    first_norm: Literal["channel", "unit"]
    output_bias: bool
    spectral_norm: bool
    init_stddev: NonNegativeFloat
    output: Literal["tanh", "sigmoid"]


class MlpGenerator(Fields):
    """See `ganjax.models.mlp.Generator`."""

    network: Literal["mlp"]
    widths: Widths
    slope: Fraction
    batch_norm: bool
    spectral_norm: bool
    init_stddev: NonNegativeFloat
    output: Literal["tanh", "sigmoid"]


class MaxoutGenerator(Fields):
    """See `ganjax.models.maxout.Generator`."""

    network: Literal["maxout"]
    latent_width: PositiveInt
    label_width: PositiveInt
    joint_width: PositiveInt
    dropout: Fraction
    spectral_norm: bool
    init_stddev: NonNegativeFloat


class _Stages(Fields):
    """What discriminators made of stages share.

    Attributes:
      widths: of the stages.
      slope: of LeakyReLU.
      dropout: rate after the stages.
      dropout_after: "all" stages, or "all_but_first".
      final_dropout: rate before the last layer.
      batch_norm: after which stages: "all", "all_but_first" or "none".
      spectral_norm: on every kernel, and then no scale in BatchNorm.
      init_stddev: of kernels and BatchNorm's scales; 0 is Glorot's initialisation.
    """

    widths: Widths
    slope: Fraction
    dropout: Fraction
    dropout_after: Literal["all", "all_but_first"]
    final_dropout: Fraction
    batch_norm: Literal["all", "all_but_first", "none"]
    spectral_norm: bool
    init_stddev: NonNegativeFloat


class ConvDiscriminator(_Stages):
    """See `ganjax.models.dcgan.Discriminator` and `ganjax.models.resnet.Discriminator`.

    Attributes:
      final_size: pixels a side where the halving ends; of "dcgan" always 4.
    """

    network: Literal["dcgan", "resnet"]
    final_size: PositiveInt


class MlpDiscriminator(_Stages):
    """See `ganjax.models.mlp.Discriminator`."""

    network: Literal["mlp"]


class MaxoutDiscriminator(Fields):
    """See `ganjax.models.maxout.Discriminator`."""

    network: Literal["maxout"]
    image_maxout: Pair
    label_maxout: Pair
    joint_maxout: Pair
    dropout: Fraction
    spectral_norm: bool
    init_stddev: NonNegativeFloat


class _Progan(Fields):
    """See `ganjax.models.progan`.

    Attributes:
      widths: channels at 4x4, 8x8, ...
      slope: of LeakyReLU.
    """

    # What other networks choose.
    spectral_norm: ClassVar[bool] = False
    batch_norm: ClassVar[str] = "none"
    output: ClassVar[str] = "linear"

    network: Literal["progan"]
    widths: Widths
    slope: Fraction


class ProganGenerator(_Progan):
    """See `ganjax.models.progan.Generator`."""


class ProganDiscriminator(_Progan):
    """See `ganjax.models.progan.Discriminator`."""


GeneratorConfig = Annotated[
    ConvGenerator | MlpGenerator | MaxoutGenerator | ProganGenerator,
    Field(discriminator="network"),
]
DiscriminatorConfig = Annotated[
    ConvDiscriminator | MlpDiscriminator | MaxoutDiscriminator | ProganDiscriminator,
    Field(discriminator="network"),
]


class ConditioningConfig(Fields):
    """How the label reaches the networks; see `ganjax.models.layers.Conditioning`.

    Attributes:
      generator: "none", "embedding", "one_hot" or "batch_norm".
      discriminator: "none", "embedding", "one_hot" or "projection".
      embedding_dim: of "embedding".
      fake_labels: those of "reals", the batch's, or drawn "uniform" over the classes.
    """

    generator: Literal["none", "embedding", "one_hot", "batch_norm"]
    discriminator: Literal["none", "embedding", "one_hot", "projection"]
    embedding_dim: PositiveInt
    fake_labels: Literal["reals", "uniform"]
