"""The two-branched networks of Mirza & Osindero 2014 (arXiv:1411.1784, section 4.1).

The label and the image or latent each pass through a layer of their own, and then through a joint
layer.
"""

import math
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from pydantic import Field, NonNegativeFloat

from ganjax.config import Fraction, PositiveInt
from ganjax.keys import fold
from ganjax.models import fields, layers

Maxout = Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]


def maxout_layer(x: jax.Array, units: int, pieces: int, **options) -> jax.Array:
    """Computes a maxout layer, each unit of which is the maximum of `pieces` affine maps.

    Call it in a module's `@nn.compact` method. Goodfellow et al. 2013 (arXiv:1302.4389),
    equation 2.

    Args:
      x: features (N, F).
      units: the number of outputs.
      pieces: the number of affine maps of each output.
      **options: arguments of `flax.linen.Dense`.

    Returns:
      Features (N, units).
    """
    x = nn.Dense(units * pieces, **options)(x)
    return x.reshape(x.shape[0], units, pieces).max(-1)


def drop_by_latent(x: jax.Array, rate: float, z: jax.Array, layer: str) -> jax.Array:
    """Drops features by masks that follow from the latents.

    A latent has the same masks in every batch, so that a generator that drops while sampling is
    still a function of its latent.

    Args:
      x: features (N, F).
      rate: the dropout rate, in [0, 1).
      z: latents (N, Z).
      layer: the layer's name; each layer has masks of its own.

    Returns:
      Features (N, F): each is 0 with probability `rate`, and else divided by 1 - rate.
    """
    bits = jax.lax.bitcast_convert_type(z.astype(jnp.float32), jnp.uint32)
    # Odd factors, all different: every bit counts, and so does its place.
    factors = 2 * jnp.arange(z.shape[1], dtype=jnp.uint32) + 1
    seeds = jnp.sum(bits * factors[None], axis=1, dtype=jnp.uint32)
    key = fold(jax.random.key(0), "dropout", layer)

    def mask(seed):
        return jax.random.bernoulli(jax.random.fold_in(key, seed), 1 - rate, x.shape[1:])

    return jnp.where(jax.vmap(mask)(seeds), x / (1 - rate), 0)


class GeneratorFields(fields.GeneratorFields):
    """The fields of the two-branched generator; the defaults are the paper's.

    Attributes:
      latent_width: the number of units of the layer on the latent.
      label_width: the number of units of the layer on the label.
      joint_width: the number of units of the joint layer.
      dropout: the dropout rate after each of the three layers.
      sample_dropout: whether dropout stays on while sampling, as `drop_by_latent` does it. A
        generator that is trained with dropout may ignore its latent, and without dropout then makes
        one image per class.
      spectral_norm: whether every kernel is divided by its spectral norm (SNGAN).
      init_stddev: the standard deviation of the initial kernels; 0 is Glorot's initialisation.
    """

    has_blocks: ClassVar[bool] = False
    conditionings: ClassVar[tuple[str, ...]] = ("one_hot",)
    value_range: ClassVar[tuple[float, float]] = layers.VALUE_RANGES["sigmoid"]

    network: Literal["maxout"] = "maxout"
    latent_width: PositiveInt = 200
    label_width: PositiveInt = 1_000
    joint_width: PositiveInt = 1_200
    dropout: Fraction = 0.5
    sample_dropout: bool = False
    spectral_norm: bool = False
    init_stddev: NonNegativeFloat = 0.0

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Generator":
        return Generator(
            size=images.size,
            channels=images.channels,
            num_classes=options.conditioning.num_classes,
            latent_width=self.latent_width,
            label_width=self.label_width,
            joint_width=self.joint_width,
            dropout=self.dropout,
            sample_dropout=self.sample_dropout,
            init_stddev=self.init_stddev,
            dtype=options.dtype,
        )


class DiscriminatorFields(fields.NetworkFields):
    """The fields of the two-branched discriminator; the defaults are the paper's.

    Attributes:
      image_maxout: the (units, pieces) of the maxout layer on the image.
      label_maxout: the (units, pieces) of the maxout layer on the label.
      joint_maxout: the (units, pieces) of the joint maxout layer.
      dropout: the dropout rate after each of the three layers.
      spectral_norm: whether every kernel is divided by its spectral norm (SNGAN).
      init_stddev: the standard deviation of the initial kernels; 0 is Glorot's initialisation.
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

    def build(self, images: fields.ImageSpec, options: fields.Options) -> "Discriminator":
        del images  # Images of any size are flattened.
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
    """The two-branched generator, which maps latents (N, Z) and labels (N,) to images.

    The images are (N, H, W, channels) in (0, 1).

    Attributes:
      size: the height and width of the images in pixels.
      channels: the number of channels of the images.
      num_classes: the number of classes; labels enter as one-hot vectors.
      latent_width: the number of ReLU units of the layer on the latent.
      label_width: the number of ReLU units of the layer on the label.
      joint_width: the number of ReLU units of the joint layer.
      dropout: the dropout rate after each of the three layers.
      sample_dropout: whether dropout stays on while sampling.
      init_stddev: the standard deviation of the initial kernels; 0 is Glorot's initialisation.
      dtype: the dtype of the computation; None is that of the parameters.
    """

    size: tuple[int, int]
    channels: int
    num_classes: int
    latent_width: int = 200
    label_width: int = 1_000
    joint_width: int = 1_200
    dropout: float = 0.5
    sample_dropout: bool = False
    init_stddev: float = 0.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        options = {"dtype": self.dtype, "kernel_init": layers.kernel_init(self.init_stddev)}

        def hidden(x, width, name):
            x = nn.relu(nn.Dense(width, **options)(x))
            if self.sample_dropout and not train:
                return drop_by_latent(x, self.dropout, z, name)
            return nn.Dropout(self.dropout, deterministic=not train)(x)

        y = jax.nn.one_hot(label, self.num_classes, dtype=z.dtype)
        x = jnp.concatenate(
            [hidden(z, self.latent_width, "latent"), hidden(y, self.label_width, "label")], -1
        )
        shape = (*self.size, self.channels)
        x = nn.Dense(math.prod(shape), **options)(hidden(x, self.joint_width, "joint"))
        return nn.sigmoid(layers.wide(x)).reshape(-1, *shape)


class Discriminator(nn.Module):
    """The two-branched discriminator, which maps images and labels (N,) to logits (N,).

    The images are (N, H, W, C).

    Attributes:
      num_classes: the number of classes; labels enter as one-hot vectors.
      image_maxout: the (units, pieces) of the maxout layer on the image.
      label_maxout: the (units, pieces) of the maxout layer on the label.
      joint_maxout: the (units, pieces) of the joint maxout layer.
      dropout: the dropout rate after each of the three layers.
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
            return nn.Dropout(self.dropout, deterministic=not train)(
                maxout_layer(x, *size, **options)
            )

        y = jax.nn.one_hot(label, self.num_classes, dtype=x.dtype)
        x = x.reshape(x.shape[0], -1)
        x = jnp.concatenate([hidden(x, self.image_maxout), hidden(y, self.label_maxout)], -1)
        x = layers.wide(hidden(x, self.joint_maxout))  # The last layer computes in float32.
        return nn.Dense(1, kernel_init=kernel_init)(x).reshape(-1)
