"""The Flax modules that a config describes, as the pure functions of an algorithm."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from pydantic import PositiveInt

from ganjax import models
from ganjax.config import ConfigError, may_change
from ganjax.keys import fold
from ganjax.models import dcgan, spectral
from ganjax.models.fields import (
    BatchNormFields,
    ConditioningFields,
    GeneratorFields,
    Images,
    NetworkFields,
    Options,
)
from ganjax.models.layers import Conditioning
from ganjax.training.schema import RunConfig

# What the networks compute in, by config.precision; None is the parameters' own, float32.
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
LATENTS = {"normal": jax.random.normal, "uniform": jax.random.uniform}

Params = Any
Vars = dict[str, Any]


class LatentGroup(RunConfig):
    """Fields of algorithms whose networks, of any kind, are built by `build_networks`.

    Attributes:
      latent_dim: length of the latent vector z.
      latent: z ~ N(0, 1) ("normal") or U[0, 1) ("uniform").
      conditioning: how labels reach the networks.
      precision: what the networks compute in: "float32", "bfloat16", or "float16" with dynamic
        loss scaling (`ganjax.engine.loss_scaling`). Parameters, their averages, BatchNorm's
        statistics, minibatch standard deviations, and the norms, squares and means of penalties
        and losses are always float32; the gradients that are penalised are the networks' own.
      remat: whether the backward pass computes the insides of convolutional networks' blocks
        anew instead of keeping them: the gradients are the same, for less memory and more time.
    """

    latent_dim: PositiveInt
    latent: Literal["normal", "uniform"] = "normal"
    conditioning: ConditioningFields = ConditioningFields()
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    remat: bool = may_change(False)


class NetworkGroup(LatentGroup):
    """Fields of algorithms that can have any of ganjax's networks, built by `build_networks`.

    Attributes:
      generator: the generator.
      discriminator: the discriminator or critic.
      batch_norm: settings of BatchNorm in both.
    """

    generator: models.AnyGenerator = dcgan.GeneratorFields()
    discriminator: models.AnyDiscriminator = dcgan.DiscriminatorFields()
    batch_norm: BatchNormFields = BatchNormFields()


@dataclasses.dataclass(frozen=True)
class Networks:
    """Two Flax modules as pure functions of `params` and of `vars`, all other collections.

    Attributes:
      generator: z (N, Z), label (N,) -> images (N, H, W, C).
      discriminator: images (N, H, W, C), label (N,) -> scores (N,).
      g_fields: the fields that describe the generator.
      d_fields: the fields that describe the discriminator.
      images: the images that they make and take.
      latent_dim: length of z.
      latent_distribution: a name in `LATENTS`.
    """

    generator: nn.Module
    discriminator: nn.Module
    g_fields: GeneratorFields
    d_fields: NetworkFields
    images: Images
    latent_dim: int
    latent_distribution: str

    @property
    def value_range(self) -> tuple[float, float]:
        """The values of black and of white in images, as the networks see them."""
        return self.g_fields.value_range

    def init(self, key: jax.Array) -> tuple[tuple[Params, Vars], tuple[Params, Vars]]:
        """Initialises both networks; returns (params, vars) of G, and (params, vars) of D."""
        label = jnp.zeros((1,), jnp.int32)
        size, channels = self.images
        z, image = jnp.zeros((1, self.latent_dim)), jnp.zeros((1, size, size, channels))
        g, d = fold(key, "g"), fold(key, "d")
        return (
            _split(self.generator.init(g, z, label, train=False), self.g_fields, g),
            _split(self.discriminator.init(d, image, label, train=False), self.d_fields, d),
        )

    def latent(self, key: jax.Array, n: int) -> jax.Array:
        """Draws n latents, (n, Z)."""
        return LATENTS[self.latent_distribution](key, (n, self.latent_dim))

    def generate(
        self, params: Params, vars: Vars, z: jax.Array, label: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Vars]:
        """Runs the generator in training mode.

        Returns:
          Images (N, H, W, C), and the generator's updated variables.
        """
        params, vars = _normalised(self.g_fields, params, vars)
        return _train(self.generator, params, vars, z, label, key)

    def sample(
        self, params: Params, vars: Vars, z: jax.Array, label: jax.Array, phase: Any
    ) -> jax.Array:
        """Runs the generator in inference mode, with running averages and without dropout."""
        del phase  # The networks are those of one phase.
        params, vars = _normalised(self.g_fields, params, vars)
        # Any, since Flax says that it may be a pair, as it is where variables are updated.
        images: Any = self.generator.apply({"params": params, **vars}, z, label, train=False)
        return images

    def prepare_discriminator(self, params: Params, vars: Vars) -> tuple[Params, Vars]:
        """Normalises D's kernels, once for all passes of an update.

        Under spectral normalisation it takes one power iteration, so that all passes see the same
        kernels and the vectors move once an update. Else it returns its arguments.
        """
        return _normalised(self.d_fields, params, vars)

    def discriminate(
        self, params: Params, vars: Vars, images: jax.Array, label: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Vars]:
        """Runs the discriminator in training mode.

        Args:
          params: parameters from `prepare_discriminator`.
          vars: variables from `prepare_discriminator`.
          images: (N, H, W, C), in `value_range`.
          label: int32 (N,).
          key: for dropout.

        Returns:
          Scores (N,), and D's updated variables.
        """
        return _train(self.discriminator, params, vars, images, label, key)


def build_networks(
    config: LatentGroup,
    generator: GeneratorFields,
    discriminator: NetworkFields,
    batch_norm: BatchNormFields = BatchNormFields(),  # noqa: B008
) -> Networks:
    """Builds the networks of a config.

    Args:
      config: says which images they make and take, and from which latents and labels.
      generator: the generator's fields.
      discriminator: the discriminator's fields.
      batch_norm: settings of BatchNorm.

    Raises:
      ConfigError: the networks do not fit together, or not the images.
    """
    images = Images(config.image_size, config.data.channels)
    num_classes = config.data.num_classes
    built = {}
    for player, fields in (("generator", generator), ("discriminator", discriminator)):
        kind = getattr(config.conditioning, player)
        conditioning = Conditioning(kind, num_classes, config.conditioning.embedding_dim)
        options = Options(conditioning, batch_norm, config.remat, DTYPES[config.precision])
        _check_label(config.conditioning, player, num_classes)
        fields.check(f"config.{player}", images, options)
        built[player] = fields.build(images, options)
    return Networks(
        **built,
        g_fields=generator,
        d_fields=discriminator,
        images=images,
        latent_dim=config.latent_dim,
        latent_distribution=config.latent,
    )


def _check_label(conditioning: ConditioningFields, player: str, num_classes: int) -> None:
    """Refuses labels of one class, for one player alone, or for none."""
    kind = getattr(conditioning, player)
    field = f"config.conditioning.{player}={kind!r}"
    if kind != "none" and num_classes < 2:
        raise ConfigError(
            f"{field}: there is one class; set config.data.label (such as 'label') and "
            "config.data.num_classes, or 'none'"
        )
    other = {"generator": "discriminator", "discriminator": "generator"}[player]
    others_kind = getattr(conditioning, other)
    if kind == "none" and others_kind != "none":
        raise ConfigError(
            f"{field}: config.conditioning.{other} is {others_kind!r}, and a label is for both "
            "players or for neither; set a kind here, or 'none' there"
        )
    if kind == "none" and conditioning.fake_labels == "uniform":
        raise ConfigError(
            "config.conditioning.fake_labels='uniform': no network takes labels; set 'reals', or "
            "config.conditioning.generator and discriminator"
        )


def _normalised(fields: NetworkFields, params: Params, vars: Vars) -> tuple[Params, Vars]:
    """Takes the power iteration of spectral normalisation, where the fields say so."""
    if not fields.normalises_spectrum:
        return params, vars
    params, vectors = spectral.normalise(params, vars[spectral.COLLECTION])
    return params, {**vars, spectral.COLLECTION: vectors}


def _train(module: nn.Module, params, vars, x, label, key):
    """Applies a module in training mode; variables that it does not have stay as they are."""
    variables = {"params": params, **vars}
    output, updated = module.apply(
        variables, x, label, train=True, rngs={"dropout": key}, mutable=list(vars)
    )
    return output, {**vars, **updated}


def _split(variables, fields: NetworkFields, key):
    """Splits Flax variables into parameters and other collections, and adds the spectral one."""
    params = variables["params"]
    vars = {name: values for name, values in variables.items() if name != "params"}
    if fields.normalises_spectrum:
        vars[spectral.COLLECTION] = spectral.init(params, fold(key, spectral.COLLECTION))
    return params, vars
