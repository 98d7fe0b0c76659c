"""The GAN of two networks, composed of any loss, penalty, augmentation and conditioning.

DCGAN, WGAN, WGAN-GP, conditional GANs, SNGAN and ADA are configs of it (configs/*.py). Each field
chooses a function or an optax transform here, once; a step reads no field.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import PyTree
from pydantic import PositiveInt

from ganjax.algorithms.augmented import augmented
from ganjax.algorithms.networks import LatentGroup, NetworkGroup, Networks, build_networks
from ganjax.algorithms.optimisers import OptimiserGroup, discriminator_optimiser, ema_decay
from ganjax.augment import AugmentGroup
from ganjax.config import ConfigDict, ConfigError, Fields, defaults
from ganjax.engine.algorithm import Algorithm, Batch, Context
from ganjax.engine.loss_scaling import scaled
from ganjax.engine.phases import Phase
from ganjax.keys import fold
from ganjax.models.fields import NetworkFields
from ganjax.objectives import losses
from ganjax.objectives.losses import LOSSES, LossGroup
from ganjax.objectives.penalties import PenaltyGroup

# The scores (N,) of the reals and of the fakes.
Scores = tuple[jax.Array, jax.Array]


class UpdateGroup(Fields):
    """Fields that say how the players are updated within a train step.

    Attributes:
      d_batches: "separate" passes of D over reals and fakes, each with BatchNorm statistics of its
        own, or one "joint" pass over both.
      order: "alternating" (n_critic updates of D, then one of G with a fresh z against the new D)
        or "simultaneous" (both from one pass, at the old parameters).
      n_critic: updates of D in a train step.
      critic_reals: whether every update of D in a train step sees "fresh" reals, or all of them
        see one "shared" batch.
      accumulate: into how many micro-batches a batch is cut, to save memory: each player's
        gradient is the mean of theirs. BatchNorm and DRAGAN's deviation see each as a batch of its
        own, and spectral normalisation iterates once for each. A micro-batch has the same images on
        any number of devices.
    """

    d_batches: Literal["separate", "joint"] = "separate"
    order: Literal["alternating", "simultaneous"] = "alternating"
    n_critic: PositiveInt = 1
    critic_reals: Literal["fresh", "shared"] = "fresh"
    accumulate: PositiveInt = 1


class CommonConfig(
    OptimiserGroup,
    UpdateGroup,
    PenaltyGroup,
    LossGroup,
    AugmentGroup,
    LatentGroup,
):
    """The fields of a GAN of any networks."""

    @property
    def continuable(self) -> frozenset[str]:
        # A linear decay is over total_steps: more of them is another schedule from the start.
        if self.g_optimiser.depends_on_length or self.d_optimiser.depends_on_length:
            return super().continuable - {"config.total_steps"}
        return super().continuable


class Config(NetworkGroup, CommonConfig):
    """The fields of a GAN."""


def base(**fields: Any) -> ConfigDict:
    """Returns a plain GAN for a config file to change, every field at the default "without it".

    Args:
      **fields: values of fields of `Config`. total_steps, batch_size, image_size, latent_dim and
        data (a dict with "source") have no defaults.
    """
    return defaults(Config, algorithm="gan", **fields)


def build(config: Config) -> Algorithm:
    """Returns the GAN that a config describes.

    Its metrics are d_real_acc, d_fake_acc, d_acc and g_acc for losses with logits, c_wass_loss for
    others; c_gp, r1 and r2, the penalties without their weights; and with augmentation aug_p, its
    probability in this step, and r_t = E[sign(D(real))] for losses with logits.

    Args:
      config: its checked fields.

    Raises:
      ConfigError: the fields do not go together.
    """
    networks = build_networks(config, config.generator, config.discriminator, config.batch_norm)
    return assemble(config, networks)


def assemble(config: CommonConfig, networks: Networks) -> Algorithm:
    """Returns the GAN of given networks; see `build`.

    Args:
      config: its checked fields.
      networks: the two networks as functions.

    Raises:
      ConfigError: the fields do not go together.
    """
    _check(config, networks.d_fields)
    loss = LOSSES[config.loss]
    augmentation = config.augment.build(networks.value_range, config.batch_size)
    discriminate = {"separate": discriminate_separately, "joint": discriminate_jointly}
    algorithm = Algorithm(
        init=networks.init,
        latent=networks.latent,
        generate=partial(generate, networks, labels_of_fakes(config)),
        discriminate=partial(discriminate[config.d_batches], networks),
        d_loss=losses.discriminator_loss(config),
        g_loss=losses.generator_loss(config),
        sample=networks.sample,
        g_tx=config.g_optimiser.build(config.total_steps),
        d_tx=discriminator_optimiser(
            config, networks.d_fields, config.n_critic * config.total_steps
        ),
        phases=(Phase(0, config.total_steps, config.batch_size, config.image_size),),
        penalty=config.penalty.build(
            prepare=networks.prepare_discriminator,
            discriminate=networks.discriminate,
            augment=None if augmentation is None else augmentation.apply,
        ),
        penalty_interval=config.penalty.interval,
        accumulate=config.accumulate,
        value_range=networks.value_range,
        n_critic=config.n_critic,
        reals_per_step={"fresh": config.n_critic, "shared": 1}[config.critic_reals],
        order=config.order,
        num_classes=1 if config.conditioning.generator == "none" else config.data.num_classes,
        ema_decay=ema_decay(config.ema, config.n_critic * config.batch_size),
    )
    if config.precision == "float16":
        algorithm = scaled(algorithm)
    return algorithm if augmentation is None else augmented(algorithm, augmentation, loss)


def generate(
    networks: Networks,
    labels: Callable[[Context], jax.Array],
    params: PyTree,
    vars: PyTree,
    z: jax.Array,
    context: Context,
) -> tuple[Batch, PyTree]:
    """Runs the generator in training mode: the `Generate` of two networks.

    Args:
      networks: the two networks as functions.
      labels: context -> the labels of the fakes; see `labels_of_fakes`.
      params: parameters of the generator.
      vars: its variables.
      z: latents (N, Z).
      context: the update's context.
    """
    label = labels(context)
    image, vars = networks.generate(params, vars, z, label, context.key)
    return {"image": image, "label": label}, vars


def labels_of_fakes(config: LatentGroup) -> Callable[[Context], jax.Array]:
    """Returns context -> the labels of the fakes, as config.conditioning.fake_labels says."""
    if config.conditioning.fake_labels == "reals":
        return labels_of_reals
    return partial(uniform_labels, config.data.num_classes)


def labels_of_reals(context: Context) -> jax.Array:
    """Returns the labels of the batch's reals, int32 (N,)."""
    return context.batch["label"]


def uniform_labels(num_classes: int, context: Context) -> jax.Array:
    """Draws labels uniformly over the classes, int32 (N,)."""
    shape = context.batch["label"].shape
    return jax.random.randint(fold(context.key, "label"), shape, 0, num_classes)


def discriminate_separately(
    networks: Networks, params: PyTree, vars: PyTree, fake: Batch, context: Context
) -> tuple[Scores, PyTree]:
    """Runs D on the reals, then on the fakes: a `Discriminate` of two passes.

    BatchNorm has statistics of reals alone and of fakes alone.
    """
    real, key = context.batch, context.key
    params, vars = networks.prepare_discriminator(params, vars)
    real_scores, vars = networks.discriminate(
        params, vars, real["image"], real["label"], fold(key, "real")
    )
    fake_scores, vars = networks.discriminate(
        params, vars, fake["image"], fake["label"], fold(key, "fake")
    )
    return (real_scores, fake_scores), vars


def discriminate_jointly(
    networks: Networks, params: PyTree, vars: PyTree, fake: Batch, context: Context
) -> tuple[Scores, PyTree]:
    """Runs D on reals and fakes together: a `Discriminate` of one pass.

    BatchNorm has statistics of both.
    """
    params, vars = networks.prepare_discriminator(params, vars)
    image, label = (
        jnp.concatenate([context.batch[name], fake[name]]) for name in ("image", "label")
    )
    scores, vars = networks.discriminate(params, vars, image, label, context.key)
    real_scores, fake_scores = jnp.split(scores, 2)
    return (real_scores, fake_scores), vars


def _check(config: CommonConfig, discriminator: NetworkFields) -> None:
    """Refuses fields of different parts that do not go together."""
    conditioning = config.conditioning
    if config.order == "simultaneous" and config.n_critic != 1:
        raise ConfigError(
            f"config.n_critic={config.n_critic}: config.order='simultaneous' updates both "
            "players once a step; set n_critic=1 or order='alternating'"
        )
    losses.check(config)
    config.penalty.check(
        uses_batch_norm=discriminator.uses_batch_norm,
        batch_norm=getattr(discriminator, "batch_norm", "none"),
        fake_labels=None if conditioning.discriminator == "none" else conditioning.fake_labels,
    )
    _check_accumulate(config, discriminator.group_size)
    _check_controller(config)


def _check_accumulate(config: CommonConfig, group_size: int) -> None:
    if config.accumulate == 1:
        return
    if LOSSES[config.loss].compares_batches:
        raise ConfigError(
            f"config.accumulate={config.accumulate}: the loss {config.loss!r} compares with the "
            "mean of the whole batch; set 1, or another config.loss"
        )
    if group_size > 1 and config.batch_size % (group_size * config.accumulate):
        raise ConfigError(
            f"config.accumulate={config.accumulate}: minibatch standard deviations are of groups "
            f"of {group_size}, into which micro-batches of batches of {config.batch_size} do not "
            f"fall; set it such that {group_size} divides the micro-batches"
        )


def _check_controller(config: CommonConfig) -> None:
    controller = getattr(config.augment, "controller", None)
    if controller and controller.watches_signs and LOSSES[config.loss].logits is None:
        raise ConfigError(
            f"config.augment.controller.name={controller.name!r}: it watches the sign of D's "
            f"outputs, which says nothing with the loss {config.loss!r}; set 'fixed'"
        )
