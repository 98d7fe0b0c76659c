"""CR-GAN: a discriminator that scores an image and its augmented copy alike (Zhang et al. 2020).

This is an algorithm outside ganjax: one file with its fields, its construction and its config.
    ganjax train examples/consistency_gan.py
    ganjax train examples/consistency_gan.py --config.consistency=0 \\
        --workdir=runs/no_consistency

See docs/extending.md.
"""

from functools import partial

import jax.numpy as jnp
from pydantic import NonNegativeFloat

from ganjax.algorithms import gan
from ganjax.algorithms.networks import NetworkGroup, build_networks
from ganjax.algorithms.optimisers import OptimiserGroup, discriminator_optimiser, ema_decay
from ganjax.augment import diffaugment
from ganjax.config import ConfigError, defaults, presets
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.loss_scaling import scaled
from ganjax.engine.meanings import Meaning
from ganjax.engine.phases import Phase
from ganjax.engine.schedules import Reals
from ganjax.keys import fold
from ganjax.objectives import losses

MEANINGS = {
    "consistency": Meaning(
        "the mean squared difference of D's scores of a real and of its shifted copy",
        least=0,
        reading="it falls as D becomes indifferent to shifts",
    )
}


class Config(NetworkGroup, losses.LossGroup, OptimiserGroup):
    """The fields that `build` honours: groups of ganjax's fields, and one of its own.

    There is no `n_critic`, `penalty` or `augment`; a config that sets one is refused by name.

    Attributes:
      consistency: lambda, the weight of the consistency term.
    """

    consistency: NonNegativeFloat = 10.0


def build(config: Config) -> Algorithm:
    """Builds the algorithm. Its own metric is `consistency`, the term without its weight.

    Args:
      config: the checked config.

    Raises:
      ConfigError: some fields do not go together.
    """
    losses.check(config)
    if config.consistency and config.discriminator.uses_batch_norm:
        raise ConfigError(
            f"config.consistency={config.consistency}: it compares scores of single images, which "
            "config.discriminator.batch_norm ties together; set batch_norm='none', or consistency=0"
        )
    networks = build_networks(config, config.generator, config.discriminator, config.batch_norm)
    reals = Reals(config.batch_size)  # Of each update, for schedules.
    algorithm = Algorithm(
        init=networks.init,
        latent=networks.latent,
        generate=partial(gan.generate, networks, gan.labels_of_fakes(config)),
        discriminate=partial(gan.discriminate_separately, networks),
        d_loss=losses.discriminator_loss(config),
        g_loss=losses.generator_loss(config),
        penalty=partial(consistency, networks, config.consistency),
        sample=networks.sample,
        score=networks.score,
        g_tx=config.g_optimiser.build(config.total_steps, reals),
        d_tx=discriminator_optimiser(config, config.discriminator, config.total_steps, reals),
        phases=(Phase(0, config.total_steps, config.batch_size, config.image_size),),
        value_range=networks.value_range,
        num_classes=1 if config.conditioning.generator == "none" else config.data.num_classes,
        ema_decay=ema_decay(config.ema, reals),
        meanings=MEANINGS,
    )
    return scaled(algorithm) if config.precision == "float16" else algorithm


def consistency(networks, weight, params, vars, fake, context):
    """Computes lambda mean (D(x) - D(T(x)))^2 over the reals x (`engine.algorithm.Penalty`).

    T shifts an image by up to an eighth of its size. This is equation 3 of Zhang et al. 2020
    (arXiv:1910.12027), for D's scores.

    Args:
      networks: the two networks as functions.
      weight: lambda.
      params: the parameters of D.
      vars: the variables of D.
      fake: the fakes, which this term does not use.
      context: the context of the update, whose batch holds the reals.

    Returns:
      The term, and the metric `consistency`, the term without lambda.
    """
    del fake
    params, vars = networks.prepare_discriminator(params, vars)
    image, label = context.batch["image"], context.batch["label"]
    key = fold(context.key, "shift")
    shifted = diffaugment.translation(image, 1.0, key, networks.value_range)

    def scores(image):
        return networks.discriminate(params, vars, image, label, fold(context.key, "dropout"))[0]

    value = jnp.mean(jnp.square(scores(image) - scores(shifted)))
    return weight * value, {"consistency": value}


def digits():
    """Returns a config that trains on the embedded digits at 32x32."""
    config = defaults(
        Config,
        algorithm="examples.consistency_gan",
        total_steps=2_500,
        batch_size=64,
        image_size=32,
        latent_dim=100,
        data={"source": "embedded:mnist5k", "channels": 1, "fit": "pad"},
    )
    config.generator.widths = (128, 64, 32)
    config.discriminator.widths = (32, 64, 128)
    # Spectral normalisation instead of BatchNorm, which would tie an image's score to its batch.
    config.discriminator.update(batch_norm="none", spectral_norm=True)
    config.ema.decay = 0.99
    config.sample_every = config.eval_every = config.checkpoint_every = 250
    return config


get_config = presets(digits)
