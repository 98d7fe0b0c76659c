"""ProGAN (Karras et al. 2017, arXiv:1710.10196): a GAN that grows from few pixels to many.

A run has a phase for each resolution. In each phase it is a GAN of `ganjax.algorithms.gan`, with
that module's losses, penalties, conditioning and averages, of the networks of that resolution. This
file adds growing: the phases, the fading in of new layers in both networks and in the reals, and
optimisers that start anew.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from pydantic import Field, NonNegativeFloat, PositiveFloat

from ganjax.algorithms import gan
from ganjax.algorithms.networks import Networks, build_networks
from ganjax.config import (
    ConfigDict,
    ConfigError,
    Fields,
    Idle,
    NonNegativeInt,
    PositiveInt,
    defaults,
    may_change_if_named,
)
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.meanings import Meaning
from ganjax.engine.phases import Phase
from ganjax.engine.schedules import Reals
from ganjax.engine.sizes import parsed, size_of
from ganjax.metrics.fields import NO_FIGURE
from ganjax.models import progan
from ganjax.models.fields import check_groups

MEANINGS = {
    "fade_alpha": Meaning(
        "the share of a resolution's new layers in both networks",
        least=0,
        most=1,
        reading="it rises from 0 to 1 while they fade in, and stays there",
    ),
}


class GrowthFields(Fields):
    """The fields of the resolutions below config.image_size, each twice the one before.

    The last resolution, image_size itself, has config.batch_size and the optimisers' learning
    rates, and lasts to config.total_steps, which may also end the run before that resolution.

    Attributes:
      batch_sizes: the number of reals in an update at each lower resolution, the lowest first; ()
        trains at image_size from the start.
      learning_rates: the learning rate of both players at each lower resolution. Optimisers start
        anew at each resolution, so that a linear decay reaches 0 at the end of each.
      fade_reals: the number of reals that D sees while alpha rises linearly from 0 to 1 and fades
        in the layers of a resolution; 0 adds them at once. The default is the paper's.
      stabilise_reals: the number of reals that D sees afterwards, before the next resolution, and
        at the first resolution, which fades in nothing. The default is the paper's.

    Without lower resolutions `fade_reals` and `stabilise_reals` have no effect.
    """

    batch_sizes: Annotated[tuple[PositiveInt, ...], Field(strict=False)] = ()
    learning_rates: Annotated[tuple[PositiveFloat, ...], Field(strict=False)] = may_change_if_named(
        ()
    )
    fade_reals: NonNegativeInt = 800_000
    stabilise_reals: PositiveInt = 800_000

    @classmethod
    def follow(cls, group: Any, config: Any, changes: Mapping[str, Any], at: str) -> None:
        """Leaves out the resolutions that images of a smaller size do not have."""
        try:
            count = progan.resolutions(size_of(parsed(changes.get("image_size"))))
        except ValueError:
            return
        for name in ("batch_sizes", "learning_rates"):
            if count and f"{at}{name}" not in changes:
                group[name] = tuple(group[name])[: count - 1]

    def idle(self) -> Iterator[Idle]:
        yield from super().idle()
        if not self.batch_sizes:
            yield from (Idle("fade_reals"), Idle("stabilise_reals"))


class Config(gan.CommonConfig):
    """The fields of a growing GAN.

    Attributes:
      generator: the fields of the growing generator.
      discriminator: the fields of the growing discriminator.
      growth: the fields of the resolutions below image_size.
      drift: the weight of mean D(real)^2, which keeps D's scores near 0 (appendix A of the paper:
        0.001).
    """

    generator: progan.GeneratorFields = progan.GeneratorFields()
    discriminator: progan.DiscriminatorFields = progan.DiscriminatorFields()
    growth: GrowthFields = GrowthFields()
    drift: NonNegativeFloat = may_change_if_named(0.0)

    @property
    def nameable(self) -> frozenset[str]:
        # With other batches, new layers would fade in over other steps.
        return super().nameable - {"config.batch_size"}


def base(**fields: Any) -> ConfigDict:
    """Returns the config of a growing GAN to be changed; see `ganjax.algorithms.gan.base`."""
    return defaults(Config, algorithm="progan", **fields)


def build(config: Config) -> Algorithm:
    """Builds the growing GAN that a config describes.

    Its metrics are those of `gan.build` and, from the second resolution on, fade_alpha.

    Args:
      config: the checked config.

    Raises:
      ConfigError: some fields do not go together.
    """
    _check(config)
    phases = _phases(config)
    alphas = _alphas(config, phases)
    # Stages that total_steps does not reach are built too, since it may be raised later.
    stages = {phase.image_size: _stage(config, i, alphas, phases) for i, phase in enumerate(phases)}

    def at(phase):
        return stages[phase.image_size]

    def init(key):
        # A layer has the same initial values in the networks of all stages that have it.
        players = []
        for player in zip(*(stage.init(key) for stage in stages.values()), strict=True):
            params = {name: layer for params, _ in player for name, layer in params.items()}
            others = {name: value for _, vars in player for name, value in vars.items()}
            players.append((params, others | alphas(0)))
        return tuple(players)

    def begin(state, phase):
        # With b1 = 0 and an old state, Adam's first step of a parameter that never had a gradient
        # would be 1 / sqrt(1 - b2) times the learning rate.
        stage = at(phase)
        g = state.g.replace(opt_state=stage.g_tx.init(state.g.params))
        d = state.d.replace(opt_state=stage.d_tx.init(state.d.params))
        return state.replace(g=g, d=d)

    reached = tuple(
        phase._replace(stop=min(phase.stop, config.total_steps))
        for phase in phases
        if phase.start < config.total_steps
    )
    return at(phases[-1])._replace(init=init, phases=reached, at=at, begin=begin)


def _phases(config: Config) -> tuple[Phase, ...]:
    """Returns a phase for each resolution, whether total_steps reaches it or not."""
    phases, start = [], 0
    batch_sizes = (*config.growth.batch_sizes, config.batch_size)
    for i, batch_size in enumerate(batch_sizes):
        fade_steps = _steps(config, config.growth.fade_reals, batch_size) if i else 0
        stable_steps = _steps(config, config.growth.stabilise_reals, batch_size)
        last = i == len(batch_sizes) - 1
        stop = max(config.total_steps, start + 1) if last else start + fade_steps + stable_steps
        size = size_of(config.image_size).height >> (len(batch_sizes) - 1 - i)
        field = "config.batch_size" if last else f"config.growth.batch_sizes[{i}]"
        phases.append(Phase(start, stop, batch_size, size, field))
        start = stop
    return tuple(phases)


def _steps(config: Config, reals: int, batch_size: int) -> int:
    """Returns the least number of train steps in which D sees `reals` reals."""
    return -(-reals // (batch_size * config.n_critic))


def _alphas(config: Config, phases: tuple[Phase, ...]) -> Callable:
    """Returns the variables "fade" of both networks as a function of the step.

    They have an alpha for every resolution but the first, and are {} if there is only one.
    """

    def alpha(phase: Phase, step) -> jax.Array:
        steps = _steps(config, config.growth.fade_reals, phase.batch_size)
        into_phase = jnp.asarray(step - phase.start, jnp.float32)
        if not steps:
            return (into_phase >= 0).astype(jnp.float32)
        return jnp.clip(into_phase / steps, 0.0, 1.0)

    def alphas(step):
        values = {progan.alpha_name(phase.size.height): alpha(phase, step) for phase in phases[1:]}
        return {progan.FADE: values} if values else {}

    return alphas


def _stage(config: Config, i: int, alphas: Callable, phases: tuple[Phase, ...]) -> Algorithm:
    """Returns the GAN of the i-th resolution, whose functions fade in layers by the step."""
    phase = phases[i]
    config = _at_resolution(config, i, phase)
    fades = i > 0
    networks = _networks(config, fades=fades)
    before = sum(
        (each.stop - each.start) * config.n_critic * each.batch_size for each in phases[:i]
    )
    reals = Reals(config.n_critic * phase.batch_size, phase.start, before)
    stage = gan.assemble(config, networks, reals)
    name = progan.alpha_name(phase.size.height)

    def faded(vars, context):
        """Returns the variables and the context that the functions of the stage take."""
        fade = alphas(context.step)
        if fades:
            image = progan.fade_reals(context.batch["image"], fade[progan.FADE][name])
            context = context._replace(batch=context.batch | {"image": image})
        return vars | fade, context

    def generate(params, vars, z, context):
        # The reals are not faded here: a caller of G need not have them.
        return stage.generate(params, vars | alphas(context.step), z, context)

    def discriminate(params, vars, fake, context):
        vars, context = faded(vars, context)
        return stage.discriminate(params, vars, fake, context)

    def penalty(params, vars, fake, context):
        vars, context = faded(vars, context)
        return stage.penalty(params, vars, fake, context)

    def score(params, vars, images, label, phase):
        # The alpha is that of the last update, as in the generator's average.
        if fades:
            images = progan.fade_reals(images, vars[progan.FADE][name])
        return networks.score(params, vars, images, label, phase)

    def d_loss(scores, context):
        value, metrics = stage.d_loss(scores, context)
        if fades:
            metrics |= {"fade_alpha": alphas(context.step)[progan.FADE][name]}
        return value + config.drift * jnp.mean(jnp.square(scores[0])), metrics

    return stage._replace(
        generate=generate,
        discriminate=discriminate,
        penalty=penalty,
        score=score,
        d_loss=d_loss,
        phases=(phase,),
        last_values=(*stage.last_values, "fade_alpha"),
        meanings={**stage.meanings, **MEANINGS},
    )


def _at_resolution(config: Config, i: int, phase: Phase) -> Config:
    """Returns the config of a run that has only the i-th resolution."""
    changed = {
        "image_size": phase.image_size,
        "batch_size": phase.batch_size,
        "total_steps": phase.stop - phase.start,
    }
    num_widths = len(config.generator.widths) - len(config.growth.batch_sizes) + i
    for name in ("generator", "discriminator"):
        player = getattr(config, name)
        changed[name] = player.model_copy(update={"widths": player.widths[:num_widths]})
    for name in ("g_optimiser", "d_optimiser"):
        rates = (*config.growth.learning_rates, getattr(config, name).learning_rate)
        update = {"learning_rate": rates[i]}
        changed[name] = getattr(config, name).model_copy(update=update)
    return config.model_copy(update=changed)


def _networks(config: Config, *, fades: bool) -> Networks:
    """Builds the networks at config.image_size.

    Args:
      config: the config of a run at one resolution.
      fades: whether the layers of the highest resolution are faded in.
    """
    networks = build_networks(config, config.generator, config.discriminator)
    return dataclasses.replace(
        networks,
        generator=networks.generator.clone(fades=fades),
        discriminator=networks.discriminator.clone(fades=fades),
    )


def _check(config: Config) -> None:
    """Raises a ConfigError if fields do not go together."""
    sizes, rates = config.growth.batch_sizes, config.growth.learning_rates
    _networks(config, fades=False)  # Raises an error if fields do not go together at full size.
    resolutions = len(config.generator.widths)  # The discriminator has the same number.
    if len(sizes) >= resolutions:
        raise ConfigError(
            f"config.growth.batch_sizes={sizes}: below image_size={config.image_size} there are "
            f"{resolutions - 1} resolutions, from 4x4; set as many or fewer"
        )
    if len(rates) != len(sizes):
        raise ConfigError(
            f"config.growth.learning_rates={rates}: config.growth.batch_sizes has {len(sizes)} "
            "resolutions; set one rate for each"
        )
    for i, size in enumerate(sizes):
        check_groups(f"config.growth.batch_sizes[{i}]", size, config.discriminator.group_size)
    if sizes and config.evaluation.best != NO_FIGURE:
        raise ConfigError(
            f"config.evaluation.best={config.evaluation.best!r}: figures of different resolutions "
            f"do not compare, and 4x4 may be best; set {NO_FIGURE!r}, and sample the last"
        )
