"""The GAN of two networks, composed of any loss, penalty, augmentation and conditioning.

DCGAN, WGAN, WGAN-GP, conditional GANs, SNGAN and ADA are configs of this GAN (configs/*.py). Each
field chooses a function or an optax transform once, when the algorithm is built; a train step reads
no field.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ganjax.algorithms import homogeneous, scheduled_fields
from ganjax.algorithms.augmented import with_augmentation
from ganjax.algorithms.networks import LatentGroup, NetworkGroup, Networks, build_networks
from ganjax.algorithms.optimisers import OptimiserGroup, discriminator_optimiser, ema_decay
from ganjax.algorithms.slicing import SlicingGroup, with_slicing
from ganjax.augment import AugmentGroup
from ganjax.config import (
    ConfigDict,
    ConfigError,
    Fields,
    Idle,
    OneOf,
    PositiveInt,
    Repeats,
    defaults,
    may_change_if_named,
)
from ganjax.engine import updates
from ganjax.engine.algorithm import Algorithm, Batch, Context
from ganjax.engine.loss_scaling import scaled
from ganjax.engine.phases import Phase
from ganjax.engine.schedules import Reals
from ganjax.keys import fold
from ganjax.models.fields import NetworkFields, check_groups
from ganjax.objectives import losses
from ganjax.objectives.losses import LOSSES, LossGroup
from ganjax.objectives.penalties import PenaltyGroup

# The scores (N,) of the reals and of the fakes.
Scores = tuple[jax.Array, jax.Array]


class UpdateGroup(Fields):
    """The fields that say how the players are updated within a train step.

    Attributes:
      d_batches: the passes of D over reals and fakes: "separate" ones, each with BatchNorm
        statistics of its own, or one "joint" pass over both.
      order: the order of the updates: "alternating" (n_critic updates of D, then one of G from new
        latents against the new D) or "simultaneous" (both from one pass, at the old parameters).
      n_critic: the number of updates of D in a train step.
      critic_reals: the reals of the updates of D in a train step: "fresh" ones for each, or one
        "shared" batch for all, which at `n_critic` 1 is the same.
      accumulate: the number of micro-batches into which a batch is split, to save memory. A
        player's gradient is the mean over them. BatchNorm and DRAGAN's deviation see each
        micro-batch as a batch, and spectral normalisation iterates once for each. A micro-batch has
        the same images on any number of devices.
    """

    d_batches: Literal["separate", "joint"] = "separate"
    order: Annotated[str, OneOf(updates.ORDERS)] = "alternating"
    n_critic: Repeats = 1
    critic_reals: Literal["fresh", "shared"] = "fresh"
    accumulate: PositiveInt = may_change_if_named(1)

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        if self.n_critic == 1:
            yield Idle("critic_reals")


class CommonConfig(
    UpdateGroup,
    PenaltyGroup,
    LossGroup,
    SlicingGroup,
    AugmentGroup,
    LatentGroup,
    OptimiserGroup,  # After LatentGroup, whose fields take the place of `LoopConfig`'s.
):
    """The fields of a GAN apart from those of its two networks."""


class Config(NetworkGroup, CommonConfig):
    """The fields of a GAN of any two networks of ganjax."""


def base(**fields: Any) -> ConfigDict:
    """Returns the config of a plain GAN for a config file to change.

    Every field has the default that means "without it".

    Args:
      **fields: values of fields of `Config`. batch_size, image_size, latent_dim and data (a dict
        with "source") have no defaults, and one of total_steps and total_epochs says how long a
        run is.
    """
    return defaults(Config, algorithm="gan", **fields)


def at_scale(config: ConfigDict) -> ConfigDict:
    """Sets what presets of the papers' scale share, and returns the config.

    Every 100 steps there is a line of metrics. Evaluations measure the KID of 5,000 samples, which
    chooses the best checkpoint. Samples are of an average of G with the decay .999 (choice).
    """
    config.log_every = 100
    config.evaluation.update(metrics=("kid",), num_samples=5_000, best="kid_efflite0")
    config.ema.decay = 0.999
    return config


def build(config: Config) -> Algorithm:
    """Builds the GAN that a config describes.

    Its metrics are d_real_acc, d_fake_acc, d_acc and g_acc for losses with logits, and c_wass_loss
    for others; c_gp, r1 and r2, the penalties without their weights; and with augmentation aug_p,
    its probability in this step, and, for losses with logits, r_t = E[sign(D(real))]. With
    `config.san` there is d_direction_loss.

    Args:
      config: the checked config.

    Raises:
      ConfigError: some fields do not go together.
    """
    networks = build_networks(config, config.generator, config.discriminator, config.batch_norm)
    return assemble(config, networks)


def assemble(config: CommonConfig, networks: Networks, reals: Reals | None = None) -> Algorithm:
    """Builds a GAN from two networks, as `build` does from a config alone.

    Args:
      config: the checked config.
      networks: the two networks as functions.
      reals: the number of reals that D has seen; None is that of a run of equal steps.

    Raises:
      ConfigError: some fields do not go together.
    """
    _check(config, networks.d_fields)
    loss = LOSSES[config.loss]
    reals = reals or Reals(config.n_critic * config.batch_size)
    augmentation = config.augment.build(networks.value_range, config.batch_size, reals)
    joint = config.d_batches == "joint"
    discriminate = partial(discriminate_jointly if joint else discriminate_separately, networks)
    d_loss = losses.discriminator_loss(config)
    penalty = config.penalty.build(
        prepare=networks.prepare_discriminator,
        discriminate=networks.discriminate,
        reals=reals,
        augment=None if augmentation is None else augmentation.apply,
    )
    algorithm = Algorithm(
        init=networks.init,
        latent=networks.latent,
        generate=partial(generate, networks, labels_of_fakes(config)),
        discriminate=discriminate,
        d_loss=d_loss,
        g_loss=losses.generator_loss(config),
        sample=networks.sample,
        score=networks.score,
        group_size=networks.d_fields.group_size,
        g_tx=config.g_optimiser.build(config.total_steps, reals.of_updates(1)),
        d_tx=discriminator_optimiser(
            config,
            networks.d_fields,
            config.n_critic * config.total_steps,
            reals.of_updates(config.n_critic),
        ),
        phases=(Phase(0, config.total_steps, config.batch_size, config.image_size),),
        penalty=penalty,
        penalty_interval=config.penalty.interval,
        d_gradient=homogeneous.shared_gradient(
            config, networks, reals, of=(discriminate, d_loss, penalty)
        ),
        accumulate=config.accumulate,
        value_range=networks.value_range,
        n_critic=config.n_critic,
        real_batches=(config.n_critic if config.critic_reals == "fresh" else 1) + loss.pairs,
        fresh_g_reals=loss.pairs,
        order=config.order,
        num_classes=1 if config.conditioning.generator == "none" else config.data.num_classes,
        ema_decay=ema_decay(config.ema, reals),
        schedules=scheduled_fields.numbers(config, reals),
        last_values=tuple(scheduled_fields.numbers(config, reals)),
        meanings=scheduled_fields.MEANINGS,
    )
    if config.precision == "float16":
        algorithm = scaled(algorithm)
    if config.san:
        algorithm = with_slicing(algorithm)
    return algorithm if augmentation is None else with_augmentation(algorithm, augmentation, loss)


def generate(
    networks: Networks,
    labels: Callable[[Context], jax.Array],
    params: PyTree,
    vars: PyTree,
    z: jax.Array,
    context: Context,
) -> tuple[Batch, PyTree]:
    """Runs the generator in training mode (`ganjax.engine.algorithm.Generate`).

    Args:
      networks: the two networks as functions.
      labels: returns the labels of the fakes, given a context; see `labels_of_fakes`.
      params: the parameters of the generator.
      vars: the variables of the generator.
      z: the latents, (N, Z).
      context: the context of the update.

    Returns:
      The fakes, "image" (N, H, W, C) and "label" (N,), and the generator's updated variables.
    """
    label = labels(context)
    image, vars = networks.generate(params, vars, z, label, context.key)
    return {"image": image, "label": label}, vars


def labels_of_fakes(config: LatentGroup) -> Callable[[Context], jax.Array]:
    """Returns the function from a context to the labels of the fakes, int32 (N,).

    Args:
      config: the config, whose conditioning.fake_labels chooses the function.
    """
    if config.conditioning.fake_labels == "reals":
        return labels_of_reals
    return partial(uniform_labels, config.data.num_classes)


def labels_of_reals(context: Context) -> jax.Array:
    """Returns the labels of the reals in a context's batch, int32 (N,)."""
    return context.batch["label"]


def uniform_labels(num_classes: int, context: Context) -> jax.Array:
    """Draws labels uniformly from the classes, int32 (N,)."""
    shape = context.batch["label"].shape
    return jax.random.randint(fold(context.key, "label"), shape, 0, num_classes)


def discriminate_separately(
    networks: Networks, params: PyTree, vars: PyTree, fake: Batch, context: Context
) -> tuple[Scores, PyTree]:
    """Runs D on the reals and then on the fakes (`ganjax.engine.algorithm.Discriminate`).

    BatchNorm normalises reals by the statistics of reals, and fakes by those of fakes.

    Args:
      networks: the two networks as functions.
      params: the parameters of D.
      vars: the variables of D.
      fake: the fakes, "image" (N, H, W, C) and "label" (N,).
      context: the context of the update, whose batch holds the reals.

    Returns:
      The scores of reals and fakes, (N,) each, and D's updated variables.
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
    """Runs D on reals and fakes in one pass (`ganjax.engine.algorithm.Discriminate`).

    BatchNorm normalises both by their common statistics. See `discriminate_separately` for the
    arguments.

    Returns:
      The scores of reals and fakes, (N,) each, and D's updated variables.
    """
    params, vars = networks.prepare_discriminator(params, vars)
    count = len(fake["image"])
    # Minibatch standard deviations are of reals alone or of fakes alone.
    block = networks.d_fields.group_size
    block = count if count % block else block
    image, label = (
        _alternated(context.batch[name], fake[name], block) for name in ("image", "label")
    )
    scores, vars = networks.discriminate(params, vars, image, label, context.key)
    scores = scores.reshape(-1, 2, block)
    return (scores[:, 0].reshape(-1), scores[:, 1].reshape(-1)), vars


def _alternated(real: jax.Array, fake: jax.Array, block: int) -> jax.Array:
    """Puts blocks of fakes after those of reals: (N, ...), (N, ...) -> (2 N, ...).

    Where devices share a batch, each keeps its own; a whole batch after the other would be sent.
    """
    blocks = [x.reshape(-1, block, *x.shape[1:]) for x in (real, fake)]
    return jnp.stack(blocks, axis=1).reshape(-1, *real.shape[1:])


def _check(config: CommonConfig, discriminator: NetworkFields) -> None:
    """Raises a ConfigError if fields of different parts do not go together."""
    conditioning = config.conditioning
    loss = LOSSES[config.loss]
    updates.check(config.order, config.n_critic, loss.pairs)
    losses.check(config)
    config.g_optimiser.check("config.g_optimiser")
    config.d_optimiser.check("config.d_optimiser")
    if loss.pairs and conditioning.discriminator != "none" and conditioning.fake_labels != "reals":
        raise ConfigError(
            f"config.conditioning.fake_labels={conditioning.fake_labels!r}: the loss "
            f"{config.loss!r} compares each fake with a real, and both need one label; set 'reals'"
        )
    if config.san and conditioning.discriminator == "projection":
        raise ConfigError(
            "config.san=True: with config.conditioning.discriminator='projection' each label has a "
            "direction of its own; set False, or another kind"
        )
    config.penalty.check(
        uses_batch_norm=discriminator.uses_batch_norm,
        batch_norm=getattr(discriminator, "batch_norm", "none"),
        fake_labels=None if conditioning.discriminator == "none" else conditioning.fake_labels,
        precision=config.precision,
    )
    check_groups("config.batch_size", config.batch_size, discriminator.group_size)
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
        fewer = range(config.accumulate, 0, -1)
        fitting = next((n for n in fewer if not config.batch_size % (group_size * n)), 1)
        raise ConfigError(
            f"config.accumulate={config.accumulate}: minibatch standard deviations are of groups "
            f"of {group_size}, into which micro-batches of batches of {config.batch_size} do not "
            f"fall; set config.accumulate={fitting}"
        )


def _check_controller(config: CommonConfig) -> None:
    controller = getattr(config.augment, "controller", None)
    if controller and controller.watches_signs and LOSSES[config.loss].logits is None:
        raise ConfigError(
            f"config.augment.controller.name={controller.name!r}: it watches the sign of D's "
            f"outputs, which says nothing with the loss {config.loss!r}; set "
            "config.augment.controller.name='fixed'"
        )
