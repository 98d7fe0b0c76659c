"""Construction of the two Flax modules that a config describes, and their use as pure functions."""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax import models
from ganjax.config import ConfigError, Idle, OneOf, PositiveInt, may_change
from ganjax.engine.sizes import size_of
from ganjax.keys import fold
from ganjax.models import dcgan, spectral
from ganjax.models.fields import (
    BatchNormFields,
    ConditioningFields,
    GeneratorFields,
    ImageSpec,
    NetworkFields,
    Options,
)
from ganjax.models.layers import Conditioning
from ganjax.training.schema import RunConfig

# The type in which networks compute, by config.precision; None is that of parameters, float32.
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
LATENTS = {"normal": jax.random.normal, "uniform": jax.random.uniform}

Params = Any
Vars = dict[str, Any]


class LatentGroup(RunConfig):
    """The fields of algorithms whose networks, of any kind, `build_networks` builds.

    Attributes:
      latent_dim: the length of the latent vector z.
      latent: the distribution of z: N(0, 1) ("normal") or U[0, 1) ("uniform").
      conditioning: how labels enter the networks.
      precision: the type in which the networks compute: "float32", "bfloat16", or "float16" with
        dynamic loss scaling (`ganjax.engine.loss_scaling`). Parameters, their averages,
        BatchNorm's statistics, minibatch standard deviations, and the norms, squares and means of
        penalties and losses are always float32; gradients that are penalised have this type.
      remat: whether the backward pass computes the insides of convolutional networks' blocks again
        instead of keeping them, which takes less memory and more time for the same gradients.
    """

    latent_dim: PositiveInt
    latent: Annotated[str, OneOf(LATENTS)] = "normal"
    conditioning: ConditioningFields = ConditioningFields()
    precision: Annotated[str, OneOf(DTYPES)] = "float32"
    remat: bool = may_change(False)

    def completed(self) -> Self:
        size = size_of(self.image_size)
        networks = {name: value for name, value in self if isinstance(value, NetworkFields)}
        completed = {name: fields.completed(size) for name, fields in networks.items()}
        return super().completed().model_copy(update=completed)


class NetworkGroup(LatentGroup):
    """The fields of algorithms that take any of ganjax's networks, which `build_networks` builds.

    Attributes:
      generator: the fields of the generator.
      discriminator: the fields of the discriminator or critic.
      batch_norm: the settings of BatchNorm in both networks.
    """

    generator: models.AnyGenerator = dcgan.GeneratorFields()
    discriminator: models.AnyDiscriminator = dcgan.DiscriminatorFields()
    batch_norm: BatchNormFields = BatchNormFields()

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        normed = [p for p in (self.generator, self.discriminator) if p.uses_batch_norm]
        if not normed:
            yield from (Idle("batch_norm.momentum"), Idle("batch_norm.epsilon"))
        if all(player.normalises_spectrum for player in normed):
            yield Idle("batch_norm.scale")


@dataclasses.dataclass(frozen=True)
class Networks:
    """Two Flax modules as pure functions of parameters, `params`, and other variables, `vars`.

    Attributes:
      generator: the module from latents (N, Z) and labels (N,) to images (N, H, W, C).
      discriminator: the module from images (N, H, W, C) and labels (N,) to scores (N,).
      g_fields: the fields that describe the generator.
      d_fields: the fields that describe the discriminator.
      images: the size and the channels of the images.
      latent_dim: the length of a latent, Z.
      latent_distribution: the distribution of latents, a name in `LATENTS`.
    """

    generator: nn.Module
    discriminator: nn.Module
    g_fields: GeneratorFields
    d_fields: NetworkFields
    images: ImageSpec
    latent_dim: int
    latent_distribution: str

    @property
    def value_range(self) -> tuple[float, float]:
        """The values of black and of white in the images that the networks make and take."""
        return self.g_fields.value_range

    def init(self, key: jax.Array) -> tuple[tuple[Params, Vars], tuple[Params, Vars]]:
        """Initialises both networks, and returns the pair (params, vars) of G and that of D."""
        label = jnp.zeros((1,), jnp.int32)
        size, channels = self.images
        z, image = jnp.zeros((1, self.latent_dim)), jnp.zeros((1, *size, channels))
        g, d = fold(key, "g"), fold(key, "d")
        return (
            _split(self.generator.init(g, z, label, train=False), self.g_fields, g),
            _split(self.discriminator.init(d, image, label, train=False), self.d_fields, d),
        )

    def latent(self, key: jax.Array, n: int) -> jax.Array:
        """Draws n latents, float32 (n, Z)."""
        return LATENTS[self.latent_distribution](key, (n, self.latent_dim))

    def generate(
        self, params: Params, vars: Vars, z: jax.Array, label: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Vars]:
        """Runs the generator in training mode.

        Args:
          params: the generator's parameters.
          vars: the generator's variables.
          z: the latents, (N, Z).
          label: the labels, int32 (N,).
          key: the key for dropout.

        Returns:
          Images (N, H, W, C) in `value_range`, and the generator's updated variables.
        """
        params, vars = _normalised(self.g_fields, params, vars)
        return _train(self.generator, params, vars, z, label, key)

    def sample(
        self, params: Params, vars: Vars, z: jax.Array, label: jax.Array, phase: Any
    ) -> jax.Array:
        """Runs the generator in inference mode, with running averages and without dropout.

        Args:
          params: the generator's parameters.
          vars: the generator's variables.
          z: the latents, (N, Z).
          label: the labels, int32 (N,).
          phase: ignored, since the networks are the same in all phases.

        Returns:
          Images (N, H, W, C) in `value_range`.
        """
        del phase
        params, vars = _normalised(self.g_fields, params, vars)
        # Any: by Flax's types the result may be a pair, which it is if variables are updated.
        images: Any = self.generator.apply({"params": params, **vars}, z, label, train=False)
        return images

    def score(
        self, params: Params, vars: Vars, images: jax.Array, label: jax.Array, phase: Any
    ) -> jax.Array:
        """Runs the discriminator in inference mode, with running averages and without dropout.

        Args:
          params: parameters of the discriminator.
          vars: its variables.
          images: (N, H, W, C), in `value_range`.
          label: int32 (N,).
          phase: ignored, since the networks are those of one phase.

        Returns:
          Scores (N,).
        """
        del phase
        params, vars = _normalised(self.d_fields, params, vars)
        scores: Any = self.discriminator.apply(
            {"params": params, **vars}, images, label, train=False
        )
        return scores

    def prepare_discriminator(self, params: Params, vars: Vars) -> tuple[Params, Vars]:
        """Normalises D's kernels, once for all passes of an update.

        With spectral normalisation this takes one power iteration, so that all passes see the same
        kernels, and the singular vectors move once an update. Otherwise the arguments are returned.
        """
        return _normalised(self.d_fields, params, vars)

    def discriminate(
        self, params: Params, vars: Vars, images: jax.Array, label: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Vars]:
        """Runs the discriminator in training mode.

        Args:
          params: D's parameters, from `prepare_discriminator`.
          vars: D's variables, from `prepare_discriminator`.
          images: the images, (N, H, W, C), in `value_range`.
          label: the labels, int32 (N,).
          key: the key for dropout.

        Returns:
          The scores, (N,), and D's updated variables.
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
      config: the config, which describes images, latents and labels.
      generator: the generator's fields.
      discriminator: the discriminator's fields.
      batch_norm: the settings of BatchNorm.

    Raises:
      ConfigError: the networks do not fit one another, or the images or labels do not fit them.
    """
    images = ImageSpec(size_of(config.image_size), config.data.channels)
    num_classes = config.data.num_classes
    built = {}
    for player, fields in (("generator", generator), ("discriminator", discriminator)):
        kind = getattr(config.conditioning, player)
        conditioning = Conditioning(
            kind,
            num_classes,
            config.conditioning.embedding_dim,
            config.conditioning.embedding_stddev,
        )
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
    """Raises a ConfigError if labels are of a single class, or reach one player or none."""
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
    """Takes a power iteration of spectral normalisation, if the network's fields ask for it."""
    if not fields.normalises_spectrum:
        return params, vars
    params, vectors = spectral.normalise(params, vars[spectral.COLLECTION])
    return params, {**vars, spectral.COLLECTION: vectors}


def _train(module: nn.Module, params, vars, x, label, key):
    """Applies a module in training mode, and returns its output and all variables, updated."""
    variables = {"params": params, **vars}
    output, updated = module.apply(
        variables, x, label, train=True, rngs={"dropout": key}, mutable=list(vars)
    )
    return output, {**vars, **updated}


def _split(variables, fields: NetworkFields, key):
    """Splits Flax variables into parameters and others, and adds the vectors of spectral norms."""
    params = variables["params"]
    vars = {name: values for name, values in variables.items() if name != "params"}
    if fields.normalises_spectrum:
        vars[spectral.COLLECTION] = spectral.init(params, fold(key, spectral.COLLECTION))
    return params, vars
