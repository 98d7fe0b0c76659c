"""What an algorithm is to the engine: a tuple of pure functions and optax transforms."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ganjax.engine.phases import Phase

PyTree = Any
Metrics = dict[str, jax.Array]
Batch = dict[str, jax.Array]
DiscriminatorLoss = GeneratorLoss = Penalty = Callable


class Context(NamedTuple):
    """What a function of an algorithm may see besides its arguments.

    Attributes:
      batch: the reals of this update: "image" (N, H, W, C) float32 in
        `Algorithm.value_range`, "label" (N,) int32.
      key: this function's own, for this step and update.
      step: int32 scalar, the train steps done before this one.
      phase: the present phase.
      aug: the augmentation controller's state, () without one.
    """

    batch: dict[str, jax.Array]
    key: jax.Array
    step: jax.Array
    phase: Phase
    aug: PyTree


class LossScaling(NamedTuple):
    """Loss scaling: what a loss is multiplied by for the gradient's sake (see `loss_scaling`).

    Attributes:
      scale: (loss, opt_state of its player) -> what is differentiated.
      unscale: (the gradient of that, opt_state) -> the loss's own.
      metrics: (name of the player, opt_state) -> metrics.
    """

    scale: Callable = lambda loss, opt_state: loss
    unscale: Callable = lambda gradient, opt_state: gradient
    metrics: Callable = lambda player, opt_state: {}


def no_penalty(params, vars, fake, context) -> tuple[jax.Array, Metrics]:
    """The penalty of an algorithm that has none."""
    return jnp.zeros(()), {}


class Algorithm(NamedTuple):
    """A GAN, as `ganjax.engine.step` trains it. `vars` are a player's Flax collections but "params".

    D's forward pass (`discriminate`) and the losses on its outputs stand apart, so that the
    simultaneous order can pull both players' gradients out of one forward pass. What an
    order does not use (D(real) in G's update, say) the compiler removes.

    Attributes:
      init: key -> ((params, vars) of G, (params, vars) of D).
      latent: (key, n) -> z, n latents.
      generate: (params, vars, z, context) -> (fake, vars), as in training; `fake` is a batch
        as context.batch: "image" (N, H, W, C) and the "label" (N,) it was made for.
      discriminate: (params, vars, fake, context) -> (scores, vars): D on the fakes and on
        context.batch; `scores` is any pytree of its outputs.
      d_loss: (scores, context) -> (scalar, metrics).
      g_loss: (scores, context) -> (scalar, metrics).
      sample: (params, vars, z, label, phase) -> images in `value_range`, as in inference
        (running averages, no dropout).
      g_tx: the generator's optimiser.
      d_tx: the discriminator's.
      phases: the run, from step 0 and without gaps.
      penalty: (params, vars, fake, context) -> (weighted scalar, metrics), added to d_loss.
      penalty_interval: lazy regularisation (Karras et al. 2020, arXiv:1912.04958, section 3.1):
        the penalty only every so many steps, and as many times as large.
      value_range: black and white, as the networks see them.
      n_critic: updates of D in a train step.
      reals_per_step: batches of reals in a train step: n_critic, or 1 that all updates share.
      order: a name in `ganjax.engine.updates.ORDERS`.
      num_classes: labels are 0 .. num_classes - 1; 1 where it is unconditional.
      ema_decay: step -> decay of the generator's moving average.
      aug_init: () -> the augmentation controller's state.
      aug_update: (state, metrics of D's update) -> state.
      loss_scaling: of both players' losses; by default none.
      accumulate: micro-batches of an update. The gradient is the mean of theirs; each is a
        batch of its own to BatchNorm, whose averages move with every one.
      leaks: name -> (images, key) -> images, of transforms that D sees and whose share among
        samples is measured (`ganjax.training.leaks`).
      at: phase -> the algorithm of that phase, where they differ: its functions, optimisers and
        ema_decay; None where they do not. What a state or a run needs before any phase (init,
        latent, phases and the numbers of updates, reals and classes) is asked of this one.
      begin: (state, phase) -> the state that a phase begins with, of the one that the phase
        before ended with. The first begins as `ganjax.engine.step.init_state` says.
    """

    init: Callable
    latent: Callable
    generate: Callable
    discriminate: Callable
    d_loss: Callable
    g_loss: Callable
    sample: Callable
    g_tx: optax.GradientTransformation
    d_tx: optax.GradientTransformation
    phases: tuple[Phase, ...]
    penalty: Callable = no_penalty
    penalty_interval: int = 1
    value_range: tuple[float, float] = (-1.0, 1.0)
    n_critic: int = 1
    reals_per_step: int = 1
    order: str = "alternating"
    num_classes: int = 1
    ema_decay: Callable = lambda step: 0.999
    aug_init: Callable = lambda: ()
    aug_update: Callable = lambda aug, metrics: aug
    loss_scaling: LossScaling = LossScaling()
    accumulate: int = 1
    leaks: Mapping[str, Callable] = MappingProxyType({})
    at: Callable | None = None
    begin: Callable = lambda state, phase: state
