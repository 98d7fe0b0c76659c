"""WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028): the Wasserstein critic, penalised."""

from typing import Annotated, Literal

import optax
from pydantic import Field, NonNegativeFloat, PositiveInt

from ganjax import losses, penalties
from ganjax.algorithms.base import Algorithm
from ganjax.algorithms.convolutional import GeneratorConfig, check_image_size, networks
from ganjax.config import AdamConfig, ConfigError, Fields, Fraction, RunConfig, Widths
from ganjax.keys import fold
from ganjax.models import dcgan
from ganjax.phases import Phase


class CriticConfig(Fields):
    """The critic: see `ganjax.models.dcgan.Discriminator`.

    Attributes:
      widths: channels after each halving.
      slope: of LeakyReLU.
      dropout: rate after all stages but the first.
      batch_norm: must be False: BatchNorm ties the samples of a batch together, and the
        penalty is on the gradient of each sample alone.
    """

    widths: Widths
    slope: Fraction
    dropout: Fraction
    batch_norm: bool


class PenaltyConfig(Fields):
    """The gradient penalty: see `ganjax.penalties.gradient_penalty`."""

    weight: NonNegativeFloat
    target: NonNegativeFloat
    side: Literal["two", "one"]
    alpha: Literal["uniform", "normal"]


class Config(RunConfig):
    """The fields of a WGAN-GP.

    Attributes:
      latent_dim: of z ~ N(0, 1).
      generator: the generator.
      critic: the critic.
      penalty: the gradient penalty.
      order: "alternating" (n_critic updates of the critic, then one of the generator) or
        "simultaneous".
      n_critic: updates of the critic in a train step.
      critic_reals: "fresh", each update of the critic sees its own batch of reals (paper),
        or "shared", all those of a step see one.
      g_adam: the generator's optimiser.
      d_adam: the critic's.
    """

    latent_dim: PositiveInt
    generator: GeneratorConfig
    critic: CriticConfig
    penalty: PenaltyConfig
    order: Literal["alternating", "simultaneous"]
    n_critic: Annotated[int, Field(ge=1)]
    critic_reals: Literal["fresh", "shared"]
    g_adam: AdamConfig
    d_adam: AdamConfig


def build(config: Config) -> Algorithm:
    """WGAN-GP as the engine takes it. Metrics: c_wass_loss, c_gp (unweighted).

    Args:
      config: its checked fields.

    Raises:
      ConfigError: the networks don't make images of image_size, or BatchNorm stands in the
        critic, or the simultaneous order with n_critic other than 1.
    """
    _check(config)
    stages = len(config.critic.widths)
    critic = dcgan.Discriminator(
        config.critic.widths,
        batch_norm=(False,) * stages,
        dropout=(0.0,) + (config.critic.dropout,) * (stages - 1),
        slope=config.critic.slope,
    )
    nets = networks(config, critic)
    side = {"two": penalties.two_sided, "one": penalties.one_sided}[config.penalty.side]
    alpha = {"uniform": penalties.uniform_alpha, "normal": penalties.normal_alpha}[
        config.penalty.alpha
    ]
    phase = Phase(0, config.total_steps, config.batch_size, config.image_size)

    def score(params, x, key):
        return nets.discriminate(params, {}, x, key)[0]

    def judge(params, vars, fake, context):
        real = score(params, context.batch["image"], fold(context.key, "real"))
        return (real, score(params, fake, fold(context.key, "fake"))), vars

    def d_loss(scores, context):
        loss = losses.wasserstein_d(*scores)
        return loss, {"c_wass_loss": loss}

    def g_loss(scores, context):
        return losses.wasserstein_g(scores[1]), {}

    def penalty(params, vars, fake, context):
        value = penalties.gradient_penalty(
            lambda x: score(params, x, fold(context.key, "dropout")),
            context.batch["image"],
            fake,
            context.key,
            target=config.penalty.target,
            alpha=alpha,
            side=side,
        )
        return config.penalty.weight * value, {"c_gp": value}

    return Algorithm(
        init=nets.init,
        latent=nets.latent,
        generate=nets.generate,
        judge=judge,
        d_loss=d_loss,
        g_loss=g_loss,
        sample=nets.sample,
        g_tx=optax.adam(**config.g_adam.model_dump()),
        d_tx=optax.adam(**config.d_adam.model_dump()),
        phases=(phase,),
        penalty=penalty,
        n_critic=config.n_critic,
        reals_per_step={"fresh": config.n_critic, "shared": 1}[config.critic_reals],
        order=config.order,
        ema_decay=lambda step: config.ema_decay,
    )


def _check(config: Config) -> None:
    for player in ("generator", "critic"):
        check_image_size(config, player)
    if config.critic.batch_norm:
        raise ConfigError(
            "config.critic.batch_norm=True: BatchNorm ties the samples of a batch together, but "
            "the gradient penalty holds each sample's own gradient; set it to False"
        )
    if config.order == "simultaneous" and config.n_critic != 1:
        raise ConfigError(
            f"config.n_critic={config.n_critic}: config.order='simultaneous' updates both "
            "players once a step; set n_critic=1 or order='alternating'"
        )
