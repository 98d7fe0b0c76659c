"""DCGAN (Radford et al. 2015, arXiv:1511.06434), with noisy labels and dropout as options."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax
from pydantic import PositiveFloat, PositiveInt

from ganjax import losses
from ganjax.algorithms.base import Algorithm
from ganjax.algorithms.convolutional import GeneratorConfig, check_image_size, networks
from ganjax.config import AdamConfig, Fields, Fraction, RunConfig, Widths
from ganjax.keys import fold
from ganjax.models import dcgan
from ganjax.phases import Phase


class DiscriminatorConfig(Fields):
    """The discriminator: see `ganjax.models.dcgan.Discriminator`.

    Attributes:
      widths: channels after each halving.
      slope: of LeakyReLU.
      dropout: rate after every stage.
      batch_norm: after which stages: "all", "all_but_first" (paper) or "none".
      init_stddev: of kernels and BatchNorm scales.
    """

    widths: Widths
    slope: Fraction
    dropout: Fraction
    batch_norm: Literal["all", "all_but_first", "none"]
    init_stddev: PositiveFloat


class LabelsConfig(Fields):
    """What weakens the discriminator by its targets.

    Attributes:
      noise: c; the target of a real is 1 + c u, of a fake 0 - c u, u ~ U[0, 1) per sample.
      flip: share of the samples whose target is that of the other kind.
    """

    noise: Fraction
    flip: Fraction


class Config(RunConfig):
    """The fields of a DCGAN.

    Attributes:
      latent_dim: of z ~ N(0, 1).
      generator: the generator.
      discriminator: the discriminator.
      labels: noise on the discriminator's targets.
      d_loss: "sum" or "mean" of the losses on reals and on fakes.
      order: "alternating" (D, then G with a fresh z against the new D) or "simultaneous".
      g_adam: the generator's optimiser.
      d_adam: the discriminator's.
    """

    latent_dim: PositiveInt
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    labels: LabelsConfig
    d_loss: Literal["sum", "mean"]
    order: Literal["alternating", "simultaneous"]
    g_adam: AdamConfig
    d_adam: AdamConfig


def build(config: Config) -> Algorithm:
    """DCGAN as the engine takes it. Metrics: d_real_acc, d_fake_acc, d_acc, g_acc.

    Args:
      config: its checked fields.

    Raises:
      ConfigError: the networks don't make or take images of image_size.
    """
    for player in ("generator", "discriminator"):
        check_image_size(config, player)
    d = config.discriminator
    stages = len(d.widths)
    discriminator = dcgan.Discriminator(
        d.widths,
        batch_norm={
            "all": (True,) * stages,
            "all_but_first": (False,) + (True,) * (stages - 1),
            "none": (False,) * stages,
        }[d.batch_norm],
        dropout=(d.dropout,) * stages,
        slope=d.slope,
        init_stddev=d.init_stddev,
    )
    nets = networks(config, discriminator)
    scale = {"sum": 1.0, "mean": 0.5}[config.d_loss]

    def judge(params, vars, fake, context):
        # Apart, so that BatchNorm's statistics are of reals alone and of fakes alone.
        reals = context.batch["image"]
        real, vars = nets.discriminate(params, vars, reals, fold(context.key, "real"))
        fake, vars = nets.discriminate(params, vars, fake, fold(context.key, "fake"))
        return (real, fake), vars

    def targets(key, shape):
        """D's targets of reals and of fakes."""
        u = jax.random.uniform(fold(key, "noise"), (2, *shape))
        flip = jax.random.bernoulli(fold(key, "flip"), config.labels.flip, (2, *shape))
        noisy = jnp.stack([1 + config.labels.noise * u[0], -config.labels.noise * u[1]])
        return jnp.where(flip, noisy[::-1], noisy)

    def d_loss(scores, context):
        real, fake = scores
        of_real, of_fake = targets(context.key, real.shape)
        loss = losses.binary_cross_entropy(real, of_real)
        loss += losses.binary_cross_entropy(fake, of_fake)
        d_real_acc, d_fake_acc = jnp.mean(real > 0), jnp.mean(fake < 0)
        return scale * loss, {
            "d_real_acc": d_real_acc,
            "d_fake_acc": d_fake_acc,
            "d_acc": (d_real_acc + d_fake_acc) / 2,
        }

    def g_loss(scores, context):
        _, fake = scores
        return losses.binary_cross_entropy(fake, 1.0), {"g_acc": jnp.mean(fake > 0)}

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
        phases=(Phase(0, config.total_steps, config.batch_size, config.image_size),),
        order=config.order,
        ema_decay=lambda step: config.ema_decay,
    )
