"""The base classes of networks' config fields, and the settings from which networks are built."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import jax.numpy as jnp
from flax import linen as nn
from pydantic import Field, NonNegativeFloat, PositiveFloat

from ganjax.config import DEEPEST, ConfigError, Fields, Fraction, Idle, OneOf, PositiveInt
from ganjax.engine.pixels import ValueRange
from ganjax.engine.sizes import Size, parsed, size_of
from ganjax.models.layers import OUTPUTS, VALUE_RANGES, Conditioning
from ganjax.models.norms import Norm

# Widths that follow the size of the images where they are ().
FollowingWidths = Annotated[tuple[PositiveInt, ...], Field(max_length=DEEPEST, strict=False)]


class BatchNormFields(Fields):
    """The fields of BatchNorm in the generator and in the discriminator.

    They have no effect where neither has BatchNorm.

    Attributes:
      scale: whether BatchNorm has a learned scale; under spectral normalisation it never has.
      momentum: the decay of the running averages in each update.
      epsilon: a small number that is added to the variance.
    """

    scale: bool = True
    momentum: Fraction = 0.9
    epsilon: PositiveFloat = 1e-5


class ConditioningFields(Fields):
    """The fields of how labels enter the networks; see `ganjax.models.layers.Conditioning`.

    Attributes:
      generator: "none", "embedding", "one_hot" or "batch_norm".
      discriminator: "none", "embedding", "one_hot" or "projection".
      embedding_dim: the length of the vectors of "embedding"; refused without these.
      embedding_stddev: the standard deviation of their initial numbers, 1 in PyTorch; 0 is Flax's
        initialisation, whose vectors are about as long as one-hot ones. With 1 a dense generator
        may ignore the latent and make one image per class. It has no effect without "embedding".
      fake_labels: whether generated images take the labels of the batch's "reals", or labels that
        are drawn "uniform" over the classes.
    """

    generator: Literal["none", "embedding", "one_hot", "batch_norm"] = "none"
    discriminator: Literal["none", "embedding", "one_hot", "projection"] = "none"
    embedding_dim: PositiveInt = 10
    embedding_stddev: NonNegativeFloat = 0.0
    fake_labels: Literal["reals", "uniform"] = "reals"

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        if "embedding" not in (self.generator, self.discriminator):
            reason = "no network takes labels by 'embedding'; set config.conditioning.generator"
            yield Idle("embedding_dim", reason)
            yield Idle("embedding_stddev")


class ImageSpec(NamedTuple):
    """The size and channels of the images that a network makes or takes.

    Attributes:
      size: the height and width of the images in pixels.
      channels: 1 (grey) or 3 (RGB).
    """

    size: Size
    channels: int


class Options(NamedTuple):
    """The settings of a network that a config has outside the network's own fields.

    Attributes:
      conditioning: how the label enters the network.
      batch_norm: the fields of BatchNorm.
      remat: whether the backward pass computes the insides of blocks anew (rematerialisation).
      dtype: the dtype of the computation; None is that of the parameters, float32.
    """

    conditioning: Conditioning = Conditioning()
    batch_norm: BatchNormFields = BatchNormFields()
    remat: bool = False
    dtype: jnp.dtype | None = None

    def norm(self, *, spectral_norm: bool, stddev: float) -> Norm:
        """Returns the BatchNorm of a network.

        Args:
          spectral_norm: whether the network is spectrally normalised; BatchNorm then has no scale.
          stddev: the standard deviation of BatchNorm's initial scales around 1.
        """
        settings = self.batch_norm
        use_scale = settings.scale and not spectral_norm
        return Norm(use_scale, stddev, settings.momentum, settings.epsilon)


class NetworkFields(Fields):
    """The fields of one kind of network, with its checks and its construction.

    A subclass stands in the file of the Flax module that it builds, and is listed in one of the
    tables of `ganjax.models`.

    Attributes:
      has_blocks: whether the network has convolutional blocks, which `remat` needs.
      conditionings: the kinds of `ganjax.models.layers.Conditioning` that the network supports.
      group_size: the largest number of neighbours in a batch whose scores depend on each other
        (`size_of_groups`); micro-batches must hold whole groups.
      named_by_resolution: whether the name of a layer says at which resolution it is, so that
        layers of equal names do the same in networks for images of different sizes.
      homogeneous_with: of a network of LeakyReLU without norms or dropout, the names of all
        parameters that are added, such as "bias": multiplying these and the images by one factor
        > 0 multiplies the scores by it (`ganjax.objectives.homogeneous`). () for other networks.
      kept: the fields of normalisation, on which losses and penalties rely.
      network: the name of the kind, a Literal in each subclass.
    """

    has_blocks: ClassVar[bool] = True
    conditionings: ClassVar[tuple[str, ...]] = ("none",)
    group_size: ClassVar[int] = 1
    named_by_resolution: ClassVar[bool] = False
    homogeneous_with: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[tuple[str, ...]] = ("batch_norm", "spectral_norm")

    network: str

    @property
    def uses_batch_norm(self) -> bool:
        """Whether any layer is BatchNorm, so that samples of a batch depend on each other."""
        return False

    @property
    def normalises_spectrum(self) -> bool:
        """Whether every kernel is divided by its spectral norm, by the field `spectral_norm`."""
        return getattr(self, "spectral_norm", False)

    @classmethod
    def following_widths(cls, fields: Mapping[str, Any], size: Size) -> tuple[int, ...]:
        """Returns the widths of a network of this kind for images of a size.

        Args:
          fields: the network's fields, whose widths are cut or extended; where they are (), the
            kind's usual ones.
          size: the size of the images.

        Returns:
          The widths; () where a kind's widths do not follow the size, or cannot follow this one.
        """
        del fields, size
        return ()

    def completed(self, size: Size) -> Self:
        """Returns these fields with widths, where they have none, that follow the images' size."""
        if getattr(self, "widths", None) != ():
            return self
        return self.model_copy(update={"widths": self.following_widths(dict(self), size)})

    @classmethod
    def follow(cls, group: Any, config: Any, changes: Mapping[str, Any], at: str) -> None:
        """Cuts or extends the widths of a raw config whose image_size alone is to change."""
        widths = group.get("widths")
        if "image_size" not in changes or f"{at}widths" in changes or not widths:
            return
        if not isinstance(widths, tuple | list):
            return  # It is refused where the config is checked.
        try:
            size = size_of(parsed(changes["image_size"]))
            same = size == size_of(parsed(config.get("image_size")))
        except ValueError:
            return  # It is refused where the config is checked.
        if not same:
            group["widths"] = cls.following_widths(group, size) or widths

    def check(self, at: str, images: ImageSpec, options: Options) -> None:
        """Refuses fields that do not go with each other, with the images or with the options.

        Args:
          at: the place of these fields in the config, such as "config.generator".
          images: the images that the network makes or takes.
          options: the network's settings outside these fields.

        Raises:
          ConfigError: the fields do not go together.
        """
        del images
        if options.remat and not self.has_blocks:
            raise ConfigError(
                f"config.remat=True: {at}.network={self.network!r} has no convolutional blocks to "
                "compute anew; set config.remat=False"
            )
        kind = options.conditioning.kind
        field = f"{at.replace('config.', 'config.conditioning.')}={kind!r}"
        if kind not in self.conditionings:
            raise ConfigError(
                f"{field}: the network {self.network!r} takes "
                f"{', '.join(map(repr, self.conditionings))}; set one of these"
            )
        if kind == "batch_norm" and not self.uses_batch_norm:
            raise ConfigError(
                f"{field}: {at}.batch_norm is False; set {at}.batch_norm=True, or another kind"
            )

    def build(self, images: ImageSpec, options: Options) -> nn.Module:
        """Returns the Flax module that these fields describe.

        Args:
          images: the images that the network makes or takes.
          options: the network's settings outside these fields.
        """
        raise NotImplementedError


class GeneratorFields(NetworkFields):
    """The fields of one kind of generator, with its checks and its construction."""

    @property
    def value_range(self) -> ValueRange:
        """The values of black and of white in the images that the generator makes."""
        raise NotImplementedError


class StagedGeneratorFields(GeneratorFields):
    """The fields of generators that consist of stages.

    Attributes:
      widths: the number of channels or units of each stage.
      slope: the negative slope of LeakyReLU; 0 is ReLU.
      batch_norm: whether the stages have BatchNorm.
      spectral_norm: whether every kernel is divided by its spectral norm; BatchNorm then has no
        scale.
      init_stddev: the standard deviation of the initial kernels, and of BatchNorm's scales around
        1; 0 is Glorot's initialisation.
      output: the last activation: "tanh" (images in [-1, 1]) or "sigmoid" (in [0, 1]).
    """

    conditionings: ClassVar[tuple[str, ...]] = ("none", "embedding", "one_hot", "batch_norm")

    widths: FollowingWidths
    slope: Fraction = 0.0
    batch_norm: bool = True
    spectral_norm: bool = False
    init_stddev: NonNegativeFloat = 0.02
    output: Annotated[str, OneOf(OUTPUTS)] = "tanh"

    @property
    def uses_batch_norm(self) -> bool:
        return self.batch_norm

    @property
    def value_range(self) -> ValueRange:
        return VALUE_RANGES[self.output]

    def common_arguments(self, images: ImageSpec, options: Options) -> dict[str, Any]:
        """Returns the arguments that the Flax modules of all staged generators share."""
        norm = options.norm(spectral_norm=self.spectral_norm, stddev=self.init_stddev)
        return {
            "widths": self.widths,
            "channels": images.channels,
            "slope": self.slope,
            "init_stddev": self.init_stddev,
            "norm": norm if self.batch_norm else None,
            "conditioning": options.conditioning,
            "output": self.output,
            "dtype": options.dtype,
        }


class StagedDiscriminatorFields(NetworkFields):
    """The fields of discriminators that consist of stages.

    Attributes:
      widths: the number of channels or units of each stage, from the full size on; channels follow
        the size of the images where they are () (`ganjax.models.stages`).
      slope: the negative slope of LeakyReLU.
      dropout: the dropout rate after the stages.
      dropout_after: whether dropout follows "all" stages or "all_but_first"; at `dropout` 0 it has
        no effect.
      final_dropout: the dropout rate before the last layer.
      batch_norm: which stages have BatchNorm: "all", "all_but_first" (DCGAN's) or "none".
      spectral_norm: whether every kernel is divided by its spectral norm; BatchNorm then has no
        scale.
      init_stddev: the standard deviation of the initial kernels, and of BatchNorm's scales around
        1; 0 is Glorot's initialisation.
    """

    conditionings: ClassVar[tuple[str, ...]] = ("none", "embedding", "one_hot", "projection")

    widths: FollowingWidths = ()
    slope: Fraction = 0.2
    dropout: Fraction = 0.0
    dropout_after: Literal["all", "all_but_first"] = "all"
    final_dropout: Fraction = 0.0
    batch_norm: Literal["all", "all_but_first", "none"] = "all_but_first"
    spectral_norm: bool = False
    init_stddev: NonNegativeFloat = 0.02

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        if not self.dropout:
            yield Idle("dropout_after")

    @property
    def normed_stages(self) -> tuple[bool, ...]:
        """Whether each stage has BatchNorm."""
        return (self.batch_norm == "all",) + (self.batch_norm != "none",) * (len(self.widths) - 1)

    @property
    def uses_batch_norm(self) -> bool:
        return any(self.normed_stages)

    def common_arguments(self, options: Options) -> dict[str, Any]:
        """Returns the arguments that the Flax modules of all staged discriminators share."""
        later_stages = len(self.widths) - 1
        first_dropout = self.dropout if self.dropout_after == "all" else 0.0
        return {
            "widths": self.widths,
            "slope": self.slope,
            "init_stddev": self.init_stddev,
            "final_dropout": self.final_dropout,
            "batch_norm": self.normed_stages,
            "dropout": (first_dropout,) + (self.dropout,) * later_stages,
            "norm": options.norm(spectral_norm=self.spectral_norm, stddev=self.init_stddev),
            "conditioning": options.conditioning,
            "dtype": options.dtype,
        }


def size_of_groups(batch_size: int, largest: int) -> int:
    """Returns the largest divisor of a batch size up to `largest`: the samples of each group."""
    return next(size for size in range(min(largest, batch_size), 0, -1) if batch_size % size == 0)


def check_groups(field: str, batch_size: int, largest: int) -> None:
    """Refuses a batch whose groups would be of one sample, which does not differ from itself.

    Args:
      field: the config field that sets the batch size.
      batch_size: reals in an update.
      largest: the samples of a group at most; 1 where a network looks at samples one by one.

    Raises:
      ConfigError: the batch has no divisor from 2 to `largest`.
    """
    if largest == 1 or size_of_groups(batch_size, largest) > 1:
        return
    lower = batch_size // largest * largest
    nearest = f"{lower} or {lower + largest}" if lower else f"{largest}"
    raise ConfigError(
        f"{field}={batch_size}: minibatch standard deviations are of groups of up to {largest} "
        f"samples, and no number from 2 to {largest} divides it; set {nearest}"
    )
