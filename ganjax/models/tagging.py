"""The networks over word vectors of Mirza & Osindero 2014 (arXiv:1411.1784, section 4.2).

The condition is the feature of an image, and what is generated is the vector of one of its tags.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from pydantic import NonNegativeFloat

from ganjax.config import Fields, Fraction, PositiveInt
from ganjax.models import layers
from ganjax.models.maxout import Maxout, maxout_layer


class GeneratorFields(Fields):
    """The fields of the generator of word vectors; the widths are the paper's.

    Attributes:
      latent_width: the number of ReLU units of the layer on the latent.
      feature_width: the number of ReLU units of the layer on the feature.
      dropout: the dropout rate after both layers.
      init_stddev: the standard deviation of the initial kernels; 0 is Glorot's initialisation.
    """

    latent_width: PositiveInt = 500
    feature_width: PositiveInt = 2_000
    dropout: Fraction = 0.5
    init_stddev: NonNegativeFloat = 0.0

    def build(self, dim: int, dtype: jnp.dtype | None) -> "Generator":
        """Returns the Flax module, given the length of a word's vector."""
        return Generator(dim=dim, **dict(self), dtype=dtype)


class DiscriminatorFields(Fields):
    """The fields of the discriminator of word vectors; the widths are the paper's.

    Attributes:
      vector_width: the number of ReLU units of the layer on the word's vector.
      feature_width: the number of ReLU units of the layer on the feature.
      joint_maxout: the (units, pieces) of the joint maxout layer.
      dropout: the dropout rate after the three layers.
      init_stddev: the standard deviation of the initial kernels; 0 is Glorot's initialisation.
    """

    vector_width: PositiveInt = 500
    feature_width: PositiveInt = 1_200
    joint_maxout: Maxout = (1_000, 3)
    dropout: Fraction = 0.5
    init_stddev: NonNegativeFloat = 0.0

    def build(self, dtype: jnp.dtype | None) -> "Discriminator":
        """Returns the Flax module."""
        return Discriminator(**dict(self), dtype=dtype)


class Generator(nn.Module):
    """The generator, which maps latents (N, Z) and features (N, F) to word vectors (N, dim).

    Attributes:
      dim: the length of a word's vector.
      latent_width: the number of ReLU units of the layer on the latent.
      feature_width: the number of ReLU units of the layer on the feature.
      dropout: the dropout rate after both layers.
      init_stddev: the standard deviation of the initial kernels; 0 is Glorot's initialisation.
      dtype: the dtype of the computation; None is that of the parameters.
    """

    dim: int
    latent_width: int = 500
    feature_width: int = 2_000
    dropout: float = 0.5
    init_stddev: float = 0.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, z: jax.Array, feature: jax.Array, *, train: bool) -> jax.Array:
        options = {"dtype": self.dtype, "kernel_init": layers.kernel_init(self.init_stddev)}

        def hidden(x, width, name):
            x = nn.relu(nn.Dense(width, name=name, **options)(x))
            return nn.Dropout(self.dropout, deterministic=not train)(x)

        x = jnp.concatenate(
            [
                hidden(z, self.latent_width, "latent"),
                hidden(feature, self.feature_width, "feature"),
            ],
            -1,
        )
        return layers.wide(nn.Dense(self.dim, name="joint", **options)(x))


class Discriminator(nn.Module):
    """The discriminator, which maps word vectors (N, D) and features (N, F) to logits (N,).

    Attributes:
      vector_width: the number of ReLU units of the layer on the word's vector.
      feature_width: the number of ReLU units of the layer on the feature.
      joint_maxout: the (units, pieces) of the joint maxout layer.
      dropout: the dropout rate after the three layers.
      init_stddev: as in `Generator`.
      dtype: as in `Generator`.
    """

    vector_width: int = 500
    feature_width: int = 1_200
    joint_maxout: tuple[int, int] = (1_000, 3)
    dropout: float = 0.5
    init_stddev: float = 0.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, vector: jax.Array, feature: jax.Array, *, train: bool) -> jax.Array:
        kernel_init = layers.kernel_init(self.init_stddev)
        options = {"dtype": self.dtype, "kernel_init": kernel_init}

        def dropped(x):
            return nn.Dropout(self.dropout, deterministic=not train)(x)

        def hidden(x, width, name):
            return dropped(nn.relu(nn.Dense(width, name=name, **options)(x)))

        x = jnp.concatenate(
            [
                hidden(vector, self.vector_width, "vector"),
                hidden(feature, self.feature_width, "feature"),
            ],
            -1,
        )
        x = dropped(maxout_layer(x, *self.joint_maxout, name="joint", **options))
        # The last layer computes in float32.
        return nn.Dense(1, name="score", kernel_init=kernel_init)(layers.wide(x)).reshape(-1)
