"""The GAN of two networks: any loss, penalty, regulariser and conditioning, put together.

DCGAN, WGAN, WGAN-GP, conditional GANs and SNGAN are configs of it (configs/*.py). Each switch
is a function or an optax transform chosen here, once; none is looked at inside a step.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from pydantic import NonNegativeFloat, PositiveInt

from ganjax.algorithms.network_fields import (
    BatchNormConfig,
    ConditioningConfig,
    DiscriminatorConfig,
    GeneratorConfig,
)
from ganjax.algorithms.networks import Networks, networks
from ganjax.algorithms.optimisers import (
    EmaConfig,
    OptimiserConfig,
    clip_weights,
    ema_decay,
    optimiser,
)
from ganjax.algorithms.penalty import PenaltyConfig, check_penalty, penalty
from ganjax.augment.policies import (
    AugmentConfig,
    augmentation,
    augmented_discriminate,
    with_r_t,
)
from ganjax.config import ConfigError, Fields, Fraction
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.loss_scaling import scaled
from ganjax.engine.phases import Phase
from ganjax.keys import fold
from ganjax.models import progan
from ganjax.objectives.losses import LOSSES, Loss
from ganjax.training.schema import RunConfig


class TargetsConfig(Fields):
    """What D should answer, to weaken it: 1 for reals and 0 for fakes but for

    Attributes:
      smoothing: s; reals get 1 - s (one-sided label smoothing, Salimans et al. 2016,
        arXiv:1606.03498, section 3.4).
      noise: c; reals get c u more and fakes c u less, u ~ U[0, 1) per sample.
      flip: share of the samples whose target is that of the other kind.
    """

    smoothing: Fraction
    noise: Fraction
    flip: Fraction


class Config(RunConfig):
    """The fields of a GAN.

    Attributes:
      latent_dim: of z.
      latent: z ~ N(0, 1) ("normal") or U[0, 1) ("uniform").
      conditioning: on labels.
      generator: the generator.
      discriminator: the discriminator or critic.
      batch_norm: settings of BatchNorm in both.
      augment: what D's images pass through, reals and fakes, in both players' losses.
      loss: a name in `ganjax.objectives.losses.LOSSES`.
      d_halves: D's losses on reals and on fakes are their "sum" or "mean".
      d_batches: "separate" passes of D over reals and fakes, each with its own BatchNorm
        statistics, or one "joint" pass over both.
      targets: noise on D's targets.
      penalty: on D's gradient.
      weight_clip: bound of D's parameters; 0 leaves it out.
      order: "alternating" (n_critic updates of D, then one of G with a fresh z against the
        new D) or "simultaneous" (both from one pass, at the old parameters).
      n_critic: updates of D in a train step.
      critic_reals: "fresh", each update of D sees its own batch of reals, or "shared", all
        those of a step see one.
      g_optimiser: the generator's.
      d_optimiser: the discriminator's.
      ema: the generator's moving average.
    """

    latent_dim: PositiveInt
    latent: Literal["normal", "uniform"]
    conditioning: ConditioningConfig
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    batch_norm: BatchNormConfig
    augment: AugmentConfig
    loss: Literal[tuple(LOSSES)]
    d_halves: Literal["sum", "mean"]
    d_batches: Literal["separate", "joint"]
    targets: TargetsConfig
    penalty: PenaltyConfig
    weight_clip: NonNegativeFloat
    order: Literal["alternating", "simultaneous"]
    n_critic: PositiveInt
    critic_reals: Literal["fresh", "shared"]
    g_optimiser: OptimiserConfig
    d_optimiser: OptimiserConfig
    ema: EmaConfig

    @property
    def continuable(self) -> frozenset[str]:
        optimisers = (self.g_optimiser, self.d_optimiser)
        if "linear" not in (getattr(each, "decay", "none") for each in optimisers):
            return super().continuable
        # The decay is over total_steps: more of them is another schedule from the start.
        return super().continuable - {"config.total_steps"}


def build(config: Config, nets: Networks | None = None) -> Algorithm:
    """The GAN as the engine takes it.

    Metrics: of losses with logits d_real_acc, d_fake_acc, d_acc and g_acc, of the Wasserstein
    loss c_wass_loss; c_gp, r1 and r2 (unweighted); with augmentation aug_p, its probability in
    this step, and of losses with logits r_t = E[sign(D(real))].

    Args:
      config: its checked fields.
      nets: other networks than those that it describes.

    Raises:
      ConfigError: the fields do not go together.
    """
    _check(config)
    nets = networks(config) if nets is None else nets
    loss = LOSSES[config.loss]
    augment = augmentation(config, nets.value_range)

    def generate(params, vars, z, context):
        label = _fake_labels(config, context)
        image, vars = nets.generate(params, vars, z, label, context.key)
        return {"image": image, "label": label}, vars

    def g_loss(scores, context):
        metrics = {}
        if loss.logits is not None:
            metrics["g_acc"] = jnp.mean(loss.logits(*scores)[1] > 0)
        return loss.g(*scores), metrics

    d_tx = optimiser(config.d_optimiser, config.n_critic * config.total_steps)
    if config.weight_clip:
        d_tx = optax.chain(d_tx, clip_weights(config.weight_clip))
    algorithm = Algorithm(
        init=nets.init,
        latent=nets.latent,
        generate=generate,
        discriminate=partial(
            {"separate": _discriminate_separately, "joint": _discriminate_jointly}[
                config.d_batches
            ],
            nets,
        ),
        d_loss=_d_loss(config, loss),
        g_loss=g_loss,
        sample=nets.sample,
        g_tx=optimiser(config.g_optimiser, config.total_steps),
        d_tx=d_tx,
        phases=(Phase(0, config.total_steps, config.batch_size, config.image_size),),
        penalty=penalty(config, nets, augment),
        penalty_interval=config.penalty.interval,
        accumulate=config.accumulate,
        value_range=nets.value_range,
        n_critic=config.n_critic,
        reals_per_step={"fresh": config.n_critic, "shared": 1}[config.critic_reals],
        order=config.order,
        num_classes=1 if config.conditioning.generator == "none" else config.data.num_classes,
        ema_decay=ema_decay(config.ema, config.n_critic * config.batch_size),
    )
    if config.precision == "float16":
        algorithm = scaled(algorithm)
    if augment is None:
        return algorithm
    return algorithm._replace(
        discriminate=augmented_discriminate(algorithm.discriminate, augment),
        d_loss=with_r_t(algorithm.d_loss, loss.logits),
        aug_init=augment.controller.init,
        aug_update=lambda aug, metrics: augment.controller.update(aug, metrics.get("r_t")),
        leaks=augment.leaks,
    )


def _fake_labels(config: Config, context) -> jax.Array:
    label = context.batch["label"]
    if config.conditioning.fake_labels == "reals":
        return label
    return jax.random.randint(fold(context.key, "label"), label.shape, 0, config.data.num_classes)


def _discriminate_separately(nets: Networks, params, vars, fake, context):
    """Two passes: BatchNorm's statistics are of reals alone and of fakes alone."""
    batch, key = context.batch, context.key
    params, vars = nets.prepare_d(params, vars)
    real, vars = nets.discriminate(params, vars, batch["image"], batch["label"], fold(key, "real"))
    fake, vars = nets.discriminate(params, vars, fake["image"], fake["label"], fold(key, "fake"))
    return (real, fake), vars


def _discriminate_jointly(nets: Networks, params, vars, fake, context):
    """One pass over both: BatchNorm's statistics are of the mixture."""
    params, vars = nets.prepare_d(params, vars)
    image, label = (
        jnp.concatenate([context.batch[name], fake[name]]) for name in ("image", "label")
    )
    scores, vars = nets.discriminate(params, vars, image, label, context.key)
    return tuple(jnp.split(scores, 2)), vars


def _d_loss(config: Config, loss: Loss) -> Callable:
    scale = {"sum": 1.0, "mean": 0.5}[config.d_halves]
    noisy = config.targets.noise or config.targets.flip
    targets = partial(_noisy_targets if noisy else _plain_targets, config.targets)

    def d_loss(scores, context):
        value = loss.d(*scores, targets(context.key, scores[0].shape))
        if loss.logits is None:
            return value, {"c_wass_loss": value}
        real, fake = loss.logits(*scores)
        d_real_acc, d_fake_acc = jnp.mean(real > 0), jnp.mean(fake < 0)
        return scale * value, {
            "d_real_acc": d_real_acc,
            "d_fake_acc": d_fake_acc,
            "d_acc": (d_real_acc + d_fake_acc) / 2,
        }

    return d_loss


def _plain_targets(config: TargetsConfig, key: jax.Array, shape: tuple[int, ...]):
    """What D should answer for reals and for fakes."""
    return 1.0 - config.smoothing, 0.0


def _noisy_targets(config: TargetsConfig, key: jax.Array, shape: tuple[int, ...]):
    """The same, each of `shape`."""
    u = jax.random.uniform(fold(key, "noise"), (2, *shape))
    flip = jax.random.bernoulli(fold(key, "flip"), config.flip, (2, *shape))
    noisy = jnp.stack([1 - config.smoothing + config.noise * u[0], -config.noise * u[1]])
    return jnp.where(flip, noisy[::-1], noisy)


def _check(config: Config) -> None:
    if config.order == "simultaneous" and config.n_critic != 1:
        raise ConfigError(
            f"config.n_critic={config.n_critic}: config.order='simultaneous' updates both "
            "players once a step; set n_critic=1 or order='alternating'"
        )
    if not LOSSES[config.loss].uses_targets:
        for name, value in config.targets:
            if value:
                raise ConfigError(
                    f"config.targets.{name}={value}: the loss {config.loss!r} has no targets; set "
                    "it to 0 or take another config.loss"
                )
    if config.d_halves == "mean" and LOSSES[config.loss].logits is None:
        raise ConfigError(
            f"config.d_halves='mean': the loss {config.loss!r} is a difference, not two halves; "
            "set 'sum'"
        )
    if config.weight_clip and config.discriminator.spectral_norm:
        raise ConfigError(
            f"config.weight_clip={config.weight_clip}: it bounds no kernel that "
            "config.discriminator.spectral_norm divides by its norm; set it to 0, or spectral_norm "
            "to False"
        )
    if config.conditioning.generator == "none" and config.conditioning.fake_labels == "uniform":
        raise ConfigError(
            "config.conditioning.fake_labels='uniform': no network takes labels; set 'reals', or "
            "config.conditioning.generator and discriminator"
        )
    check_penalty(config)
    _check_accumulate(config)


def _check_accumulate(config: Config) -> None:
    if config.accumulate == 1:
        return
    if config.loss == "relativistic":
        raise ConfigError(
            f"config.accumulate={config.accumulate}: the loss 'relativistic' compares with the "
            "mean of the whole batch; set 1, or another config.loss"
        )
    of_groups = progan.GROUP_SIZE * config.accumulate
    if config.discriminator.network == "progan" and config.batch_size % of_groups:
        raise ConfigError(
            f"config.accumulate={config.accumulate}: minibatch standard deviations are of groups "
            f"of {progan.GROUP_SIZE}, into which micro-batches of batches of {config.batch_size} "
            f"do not fall; set it such that {progan.GROUP_SIZE} divides the micro-batches"
        )
