"""The conditional GAN over word vectors that tags images (Mirza & Osindero 2014, section 4.2).

The condition is the feature of an image by a network that is not trained, and what is generated is
the vector of one of its tags (arXiv:1411.1784). `ganjax.training.tags` has its data and figures.
"""

from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.algorithms import scheduled_fields
from ganjax.algorithms.gan import Scores
from ganjax.algorithms.networks import DTYPES, LATENTS
from ganjax.algorithms.optimisers import PlayersGroup, ema_decay
from ganjax.config import ConfigDict, OneOf, PositiveInt, Repeats, defaults
from ganjax.data.tags import TagFields
from ganjax.engine import updates
from ganjax.engine.algorithm import Algorithm, Context, Penalty
from ganjax.engine.loss_scaling import scaled
from ganjax.engine.phases import Phase
from ganjax.engine.schedules import Reals
from ganjax.engine.storage import FLOATS
from ganjax.keys import fold
from ganjax.metrics.tags import TagEvaluationFields
from ganjax.models import tagging
from ganjax.objectives import losses
from ganjax.objectives.losses import LOSSES, LossGroup
from ganjax.objectives.penalties import PenaltyFields, PenaltyGroup
from ganjax.training.tags import Tags


class Config(PlayersGroup, PenaltyGroup, LossGroup):
    """The fields of the GAN over word vectors.

    Attributes:
      data: the images, tags and words.
      evaluation: the figures of held-out images' tags.
      latent_dim: the length of the latent vector z.
      latent: the distribution of z: N(0, 1) ("normal") or U[0, 1) ("uniform").
      generator: the fields of the generator.
      discriminator: the fields of the discriminator.
      precision: the type in which the networks compute: "float32", "bfloat16", or "float16" with
        dynamic loss scaling (`ganjax.engine.loss_scaling`).
      order: the order of the updates: "alternating" or "simultaneous".
      n_critic: the number of updates of D in a train step.
    """

    data: TagFields = TagFields(source="embedded:emoji64")
    evaluation: TagEvaluationFields = TagEvaluationFields()
    latent_dim: PositiveInt
    latent: Annotated[str, OneOf(LATENTS)] = "normal"
    generator: tagging.GeneratorFields = tagging.GeneratorFields()
    discriminator: tagging.DiscriminatorFields = tagging.DiscriminatorFields()
    precision: Annotated[str, OneOf(DTYPES)] = "float32"
    order: Annotated[str, OneOf(updates.ORDERS)] = "alternating"
    n_critic: Repeats = 1


def base(**fields: Any) -> ConfigDict:
    """Returns a config with the paper's networks for a config file to change.

    Args:
      **fields: values of fields of `Config`. batch_size and latent_dim have no defaults.
    """
    return defaults(Config, algorithm="tagging", **fields)


def domain(config: Config, folder: Path | None) -> Tags:
    """Returns what runs of a config are about: tags (`ganjax.training.domain`)."""
    return Tags(config, folder)


def build(config: Config) -> Algorithm:
    """Builds the GAN over word vectors that a config describes.

    Args:
      config: the checked config.

    Raises:
      ConfigError: some fields do not go together.
    """
    pairs = LOSSES[config.loss].pairs
    _check(config, pairs)
    dtype, reals = DTYPES[config.precision], Reals(config.n_critic * config.batch_size)
    generator = config.generator.build(config.data.vector_dim, dtype)
    discriminator = config.discriminator.build(dtype)

    def init(key):
        feature = jnp.zeros((1, config.data.feature_dim))
        z, vector = jnp.zeros((1, config.latent_dim)), jnp.zeros((1, config.data.vector_dim))
        g = generator.init(fold(key, "g"), z, feature, train=False)
        d = discriminator.init(fold(key, "d"), vector, feature, train=False)
        return (g["params"], {}), (d["params"], {})

    def generate(params, vars, z, context: Context):
        feature = context.batch["feature"]
        vector = _train(generator, params, z, feature, context.key)
        return {"feature": feature, "vector": vector}, vars

    def discriminate(params, vars, fake, context: Context) -> tuple[Scores, Any]:
        real, fake_scores = (
            _train(discriminator, params, each["vector"], each["feature"], fold(context.key, name))
            for name, each in (("real", context.batch), ("fake", fake))
        )
        return (real, fake_scores), vars

    def sample(params, vars, z, label, phase):
        del vars, phase
        # The condition, which others call a label, is the feature of an image.
        vectors: Any = generator.apply({"params": params}, z, label, train=False)
        return vectors  # Any: by Flax's types it may be a pair.

    algorithm = Algorithm(
        init=init,
        latent=lambda key, n: LATENTS[config.latent](key, (n, config.latent_dim)),
        generate=generate,
        discriminate=discriminate,
        d_loss=losses.discriminator_loss(config),
        g_loss=losses.generator_loss(config),
        sample=sample,
        g_tx=config.g_optimiser.build(config.total_steps, reals.of_updates(1)),
        d_tx=config.d_optimiser.build(
            config.n_critic * config.total_steps, reals.of_updates(config.n_critic)
        ),
        phases=(Phase(0, config.total_steps, config.batch_size),),
        penalty=_penalty(config.penalty, discriminator, reals),
        penalty_interval=config.penalty.interval,
        storage=FLOATS,
        n_critic=config.n_critic,
        real_batches=config.n_critic + pairs,
        fresh_g_reals=pairs,
        order=config.order,
        ema_decay=ema_decay(config.ema, reals),
        schedules=scheduled_fields.numbers(config, reals),
        last_values=tuple(scheduled_fields.numbers(config, reals)),
        meanings=scheduled_fields.MEANINGS,
    )
    return scaled(algorithm) if config.precision == "float16" else algorithm


def _check(config: Config, pairs: bool) -> None:
    """Raises a ConfigError if fields of different parts do not go together."""
    updates.check(config.order, config.n_critic, pairs)
    losses.check(config)
    config.g_optimiser.check("config.g_optimiser")
    config.d_optimiser.check("config.d_optimiser")
    config.penalty.check(
        uses_batch_norm=False, batch_norm="none", fake_labels="reals", precision=config.precision
    )


def _penalty(fields: PenaltyFields, discriminator: nn.Module, reals: Reals) -> Penalty:
    """Returns the penalties on D's gradient with respect to word vectors."""

    def discriminate(params, vars, vector, feature, key):
        return _train(discriminator, params, vector, feature, key), vars

    of_images = fields.build(
        prepare=lambda params, vars: (params, vars), discriminate=discriminate, reals=reals
    )

    def penalty(params, vars, fake, context: Context):
        # Penalties call what they differentiate by an image, and its condition a label.
        fake, batch = (
            {"image": each["vector"], "label": each["feature"]} for each in (fake, context.batch)
        )
        return of_images(params, vars, fake, context._replace(batch=batch))

    return penalty


def _train(module: nn.Module, params: Any, x: jax.Array, feature: jax.Array, key: jax.Array) -> Any:
    """Applies a module in training mode, in which dropout acts."""
    return module.apply({"params": params}, x, feature, train=True, rngs={"dropout": key})
