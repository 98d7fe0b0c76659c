"""What the algorithms on DCGAN's networks share: fields, checks, and pure functions of players."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from pydantic import PositiveFloat

from ganjax.config import ConfigError, Fields, Fraction, RunConfig, Widths
from ganjax.keys import fold
from ganjax.models import dcgan


class GeneratorConfig(Fields):
    """The generator: see `ganjax.models.dcgan.Generator`."""

    widths: Widths
    slope: Fraction
    upsample: Literal["transpose", "nearest"]
    init_stddev: PositiveFloat


class Networks(NamedTuple):
    """Two Flax modules as the pure functions that an algorithm is made of.

    Attributes:
      init: as `Algorithm.init`.
      latent: as `Algorithm.latent`: z ~ N(0, 1).
      generate: as `Algorithm.generate`.
      sample: as `Algorithm.sample`.
      discriminate: (params, vars, x, key) -> (outputs (N,), vars), as in training.
    """

    init: Callable
    latent: Callable
    generate: Callable
    sample: Callable
    discriminate: Callable


def networks(config: RunConfig, discriminator: nn.Module) -> Networks:
    """DCGAN's generator, as `config.generator` describes it, and a discriminator.

    Args:
      config: has `generator`, a GeneratorConfig, and `latent_dim`.
      discriminator: images -> (N,).
    """
    generator = dcgan.Generator(channels=config.data.channels, **config.generator.model_dump())
    image_shape = (1, config.image_size, config.image_size, config.data.channels)

    def init(key):
        return (
            _split(generator.init(fold(key, "g"), jnp.zeros((1, config.latent_dim)), train=False)),
            _split(discriminator.init(fold(key, "d"), jnp.zeros(image_shape), train=False)),
        )

    def latent(key, n):
        return jax.random.normal(key, (n, config.latent_dim))

    def generate(params, vars, z, context):
        return generator.apply({"params": params, **vars}, z, train=True, mutable=list(vars))

    def sample(params, vars, z, label, phase):
        return generator.apply({"params": params, **vars}, z, train=False)

    def discriminate(params, vars, x, key):
        return discriminator.apply(
            {"params": params, **vars},
            x,
            train=True,
            rngs={"dropout": key},
            mutable=list(vars),
        )

    return Networks(init, latent, generate, sample, discriminate)


def check_image_size(config: RunConfig, player: str) -> None:
    """Raises ConfigError unless the widths of `config.<player>` fit config.image_size."""
    widths = getattr(config, player).widths
    size = dcgan.image_size(widths)
    if size != config.image_size:
        raise ConfigError(
            f"config.image_size={config.image_size}: {len(widths)} widths in "
            f"config.{player}.widths={widths} make {size} pixels; set image_size={size} or "
            "add or take away widths (each doubles the size, from 4)"
        )


def _split(variables):
    """Flax variables -> (params, the other collections)."""
    return variables["params"], {k: v for k, v in variables.items() if k != "params"}
