"""The two-branched networks of Mirza & Osindero 2014 (arXiv:1411.1784, section 4.1).

The label and the image, or the latent, each go through a layer of their own, and meet in a joint
one.
"""

from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from pydantic import Field, NonNegativeFloat, PositiveInt

from ganjax.config import Fraction
from ganjax.models import fields, layers

Maxout = Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]


def maxout(x: jax.Array, units: int, pieces: int, **options) -> jax.Array:
    """Computes (N, units) of features (N, F), each the largest of `pieces` affine maps.

    Call it in a module's `@nn.compact` method. Goodfellow et al. 2013 (arXiv:1302.4389),
    equation 2.
    """
    x = nn.Dense(units * pieces, **options)(x)
    return x.reshape(x.shape[0], units, pieces).max(-1)


class GeneratorFields(fields.GeneratorFields):
    """How the two-branched generator is built; the defaults are the paper's.

    Attributes:
      latent_width: units of the layer on z.
      label_width: units of the layer on the label.
      joint_width: units of the layer on both.
      dropout: rate after each of the three.
      spectral_norm: whether every kernel is divided by its spectral norm.
      init_stddev: standard deviation of the initial kernels; 0 is Glorot's initialisation.
    """

    has_blocks: ClassVar[bool] = False
    conditionings: ClassVar[tuple[str, ...]] = ("one_hot",)
    value_range: ClassVar[tuple[float, float]] = layers.VALUE_RANGES["sigmoid"]

    network: Literal["maxout"] = "maxout"
    latent_width: PositiveInt = 200
    label_width: PositiveInt = 1_000
    joint_width: PositiveInt = 1_200
    dropout: Fraction = 0.5
    spectral_norm: bool = False
    init_stddev: NonNegativeFloat = 0.0

    def build(self, images: fields.Images, options: fields.Options) -> "Generator":
        return Generator(
            size=images.size,
            channels=images.channels,
            num_classes=options.conditioning.num_classes,
            latent_width=self.latent_width,
            label_width=self.label_width,
            joint_width=self.joint_width,
            dropout=self.dropout,
            init_stddev=self.init_stddev,
            dtype=options.dtype,
        )


class DiscriminatorFields(fields.NetworkFields):
    """How the two-branched discriminator is built; the defaults are the paper's.

    Attributes:
      image_maxout: (units, pieces) of the maxout layer on the image.
      label_maxout: (units, pieces) of the one on the label.
      joint_maxout: (units, pieces) of the one on both.
      dropout: rate after each of the three.
      spectral_norm: whether every kernel is divided by its spectral norm.
      init_stddev: standard deviation of the initial kernels; 0 is Glorot's initialisation.
    """

    has_blocks: ClassVar[bool] = False
    conditionings: ClassVar[tuple[str, ...]] = ("one_hot",)

    network: Literal["maxout"] = "maxout"
    image_maxout: Maxout = (240, 5)
    label_maxout: Maxout = (50, 5)
    joint_maxout: Maxout = (240, 4)
    dropout: Fraction = 0.5
    spectral_norm: bool = False
    init_stddev: NonNegativeFloat = 0.0

    def build(self, images: fields.Images, options: fields.Options) -> "Discriminator":
        del images  # They are flattened, whatever their size.
        return Discriminator(
            num_classes=options.conditioning.num_classes,
            image_maxout=self.image_maxout,
            label_maxout=self.label_maxout,
            joint_maxout=self.joint_maxout,
            dropout=self.dropout,
            init_stddev=self.init_stddev,
            dtype=options.dtype,
        )


class Generator(nn.Module):
    """Makes images (N, size, size, channels) in (0, 1) of latents (N, Z) and labels (N,).

    Attributes:
      size: pixels a side.
      channels: channels of the image.
      num_classes: the number of classes; labels enter as one-hot vectors.
      latent_width: ReLU units on z.
      label_width: ReLU units on the label.
      joint_width: ReLU units on both.
      dropout: rate after each of the three.
      init_stddev: standard deviation of the initial kernels; 0 is Glorot's initialisation.
      dtype: what is computed in; None is the parameters' own.
    """

    size: int
    channels: int
    num_classes: int
    latent_width: int = 200
    label_width: int = 1_000
    joint_width: int = 1_200
    dropout: float = 0.5
    init_stddev: float = 0.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        options = {"dtype": self.dtype, "kernel_init": layers.kernel_init(self.init_stddev)}

        def hidden(x, width):
            x = nn.relu(nn.Dense(width, **options)(x))
            return nn.Dropout(self.dropout, deterministic=not train)(x)

        y = jax.nn.one_hot(label, self.num_classes, dtype=z.dtype)
        x = jnp.concatenate([hidden(z, self.latent_width), hidden(y, self.label_width)], -1)
        x = nn.Dense(self.size**2 * self.channels, **options)(hidden(x, self.joint_width))
        return nn.sigmoid(layers.wide(x)).reshape(-1, self.size, self.size, self.channels)


class Discriminator(nn.Module):
    """Scores images (N, S, S, C) with labels (N,): one logit each, (N,).

    Attributes:
      num_classes: the number of classes; labels enter as one-hot vectors.
      image_maxout: (units, pieces) of the maxout layer on the image.
      label_maxout: (units, pieces) of the one on the label.
      joint_maxout: (units, pieces) of the one on both.
      dropout: rate after each of the three.
      init_stddev: as in `Generator`.
      dtype: as in `Generator`.
    """

    num_classes: int
    image_maxout: tuple[int, int] = (240, 5)
    label_maxout: tuple[int, int] = (50, 5)
    joint_maxout: tuple[int, int] = (240, 4)
    dropout: float = 0.5
    init_stddev: float = 0.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        kernel_init = layers.kernel_init(self.init_stddev)
        options = {"dtype": self.dtype, "kernel_init": kernel_init}

        def hidden(x, size):
            return nn.Dropout(self.dropout, deterministic=not train)(maxout(x, *size, **options))

        y = jax.nn.one_hot(label, self.num_classes, dtype=x.dtype)
        x = x.reshape(x.shape[0], -1)
        x = jnp.concatenate([hidden(x, self.image_maxout), hidden(y, self.label_maxout)], -1)
        x = layers.wide(hidden(x, self.joint_maxout))  # The last layer computes in float32.
        return nn.Dense(1, kernel_init=kernel_init)(x).reshape(-1)
