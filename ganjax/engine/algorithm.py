"""An algorithm as the engine sees it: pure functions, optimisers and a few numbers in one tuple.

Every function of an `Algorithm` has a Protocol here, which states its arguments and results and
names ganjax's own implementation. Throughout, `params` are the trained parameters of the network at
hand, and `vars` its other Flax collections (`batch_stats`, ...).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from ganjax.engine.phases import Phase
from ganjax.engine.pixels import ValueRange
from ganjax.engine.state import GanState
from ganjax.keys import fold

Metrics = dict[str, jax.Array]
# "image" (N, H, W, C) float32 in `Algorithm.value_range` and "label" (N,) int32.
Batch = dict[str, jax.Array]


class Context(NamedTuple):
    """What a function of an algorithm may see besides its other arguments.

    Attributes:
      batch: the real images of this update, and their labels.
      key: a key for this call alone.
      step: int32 scalar, the train steps finished before this one.
      phase: the present phase.
      aug: the augmentation controller's state, () without a controller.
    """

    batch: Batch
    key: jax.Array
    step: jax.Array
    phase: Phase
    aug: PyTree

    def named(self, name: str) -> "Context":
        """Returns this context with the key that stands at `name` below its own."""
        return self._replace(key=fold(self.key, name))


@runtime_checkable
class Init(Protocol):
    """Initialises both networks; see `ganjax.algorithms.networks.Networks.init`.

    Returns (params, vars) of the generator, and (params, vars) of the discriminator.
    """

    def __call__(
        self, key: Key[Array, ""]
    ) -> tuple[tuple[PyTree, PyTree], tuple[PyTree, PyTree]]: ...


@runtime_checkable
class Latent(Protocol):
    """Draws n latents; see `ganjax.algorithms.networks.Networks.latent`."""

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, "n ..."]: ...


@runtime_checkable
class Generate(Protocol):
    """Runs the generator in training mode; see `ganjax.algorithms.gan.generate`.

    It may read `context.batch["label"]`, the labels of the reals, but must not rely on
    `context.batch["image"]`: a generator is not shown the reals, and a caller need not have them.

    Returns the fakes, whose "label" are the classes that they were made for, and the generator's
    updated variables.
    """

    def __call__(
        self, params: PyTree, vars: PyTree, z: Float[Array, "n ..."], context: Context
    ) -> tuple[Batch, PyTree]: ...


@runtime_checkable
class Discriminate(Protocol):
    """Runs the discriminator in training mode on the reals, `context.batch`, and on fakes.

    See `ganjax.algorithms.gan.discriminate_separately` and `discriminate_jointly`. It stands apart
    from the losses so that simultaneous updates can take both players' gradients from one pass.

    Returns the scores, any pytree that the algorithm's losses understand, and the discriminator's
    updated variables. Scores that nobody reads, such as a generator's loss D(real), cost nothing:
    the compiler removes them.
    """

    def __call__(
        self, params: PyTree, vars: PyTree, fake: Batch, context: Context
    ) -> tuple[PyTree, PyTree]: ...


@runtime_checkable
class DiscriminatorLoss(Protocol):
    """Computes the discriminator's loss without its penalty.

    See `ganjax.objectives.losses.discriminator_loss`. Returns the loss and metrics.
    """

    def __call__(self, scores: PyTree, context: Context) -> tuple[Float[Array, ""], Metrics]: ...


@runtime_checkable
class GeneratorLoss(Protocol):
    """Computes the generator's loss; see `ganjax.objectives.losses.generator_loss`.

    Returns the loss and metrics.
    """

    def __call__(self, scores: PyTree, context: Context) -> tuple[Float[Array, ""], Metrics]: ...


@runtime_checkable
class Penalty(Protocol):
    """Computes the penalty on the discriminator, which is added to its loss.

    See `ganjax.objectives.penalties.PenaltyFields.build`. Returns the weighted penalty and metrics.
    """

    def __call__(
        self, params: PyTree, vars: PyTree, fake: Batch, context: Context
    ) -> tuple[Float[Array, ""], Metrics]: ...


@runtime_checkable
class Sample(Protocol):
    """Runs the generator in inference mode, with running averages and without dropout.

    See `ganjax.algorithms.networks.Networks.sample`. Returns images in `Algorithm.value_range`.
    """

    def __call__(
        self,
        params: PyTree,
        vars: PyTree,
        z: Float[Array, "n ..."],
        label: Int[Array, " n"],
        phase: Phase,
    ) -> Float[Array, "n h w c"]: ...


@runtime_checkable
class EmaDecay(Protocol):
    """Computes the decay of the generator's moving average after `step` finished train steps.

    See `ganjax.algorithms.optimisers.ema_decay`.
    """

    def __call__(self, step: jax.Array) -> float | jax.Array: ...


@runtime_checkable
class AugInit(Protocol):
    """Returns the augmentation controller's first state; see `ganjax.augment.controllers`."""

    def __call__(self) -> PyTree: ...


@runtime_checkable
class AugUpdate(Protocol):
    """Returns the controller's state after an update of D that reported `metrics`.

    See `ganjax.algorithms.augmented.augmented` and `ganjax.augment.controllers`.
    """

    def __call__(self, aug: PyTree, metrics: Metrics) -> PyTree: ...


@runtime_checkable
class ImageTransform(Protocol):
    """Transforms images in `Algorithm.value_range` at random; see `ganjax.augment`."""

    def __call__(
        self, images: Float[Array, "n h w c"], key: Key[Array, ""]
    ) -> Float[Array, "n h w c"]: ...


@runtime_checkable
class AlgorithmAt(Protocol):
    """Returns the algorithm of one phase; see `ganjax.algorithms.progan.build`."""

    def __call__(self, phase: Phase) -> "Algorithm": ...


@runtime_checkable
class Begin(Protocol):
    """Returns the state that `phase` begins with, given the one that the phase before ended with.

    See `ganjax.algorithms.progan.build`. The first phase begins with
    `ganjax.engine.step.init_state`.
    """

    def __call__(self, state: GanState, phase: Phase) -> GanState: ...


class LossScaling(Protocol):
    """Factors on the losses for half precision's sake; see `ganjax.engine.loss_scaling`."""

    def scale(self, loss: Float[Array, ""], opt_state: PyTree) -> Float[Array, ""]:
        """Returns what is differentiated instead of a loss of the player with `opt_state`."""
        ...

    def unscale(self, gradient: PyTree, opt_state: PyTree) -> PyTree:
        """Returns the gradient of the loss itself, given that of the scaled loss."""
        ...

    def metrics(self, player: str, opt_state: PyTree) -> Metrics:
        """Returns the metrics of the player "g" or "d"."""
        ...


class NoLossScaling:
    """The `LossScaling` that leaves losses and gradients as they are."""

    def scale(self, loss, opt_state):
        """Returns the loss."""
        return loss

    def unscale(self, gradient, opt_state):
        """Returns the gradient."""
        return gradient

    def metrics(self, player, opt_state):
        """Returns no metrics."""
        return {}


def no_penalty(params, vars, fake, context) -> tuple[jax.Array, Metrics]:
    """The `Penalty` of an algorithm without one."""
    return jnp.zeros(()), {}


class Algorithm(NamedTuple):
    """A GAN, as `ganjax.engine.step` trains it.

    Attributes:
      init: initialises both networks.
      latent: draws latents.
      generate: runs the generator as in training.
      discriminate: runs the discriminator as in training.
      d_loss: the discriminator's loss.
      g_loss: the generator's loss.
      sample: runs the generator as in inference.
      g_tx: the generator's optimiser.
      d_tx: the discriminator's optimiser.
      phases: the phases of the run, from step 0 and without gaps.
      penalty: is added to the discriminator's loss.
      penalty_interval: lazy regularisation (Karras et al. 2020, arXiv:1912.04958, section 3.1):
        the penalty acts only every so many steps, and is as many times as large.
      value_range: black and white, as the networks see them.
      n_critic: updates of the discriminator in a train step.
      reals_per_step: batches of reals in a train step: n_critic, or 1 that all updates share.
      order: the order of updates within one train step, a name in `ganjax.engine.updates.ORDERS`.
      num_classes: labels are 0 .. num_classes - 1; 1 for an unconditional GAN.
      ema_decay: the decay of the generator's moving average.
      aug_init: the first state of the augmentation controller.
      aug_update: moves that state after each update of the discriminator.
      loss_scaling: the scaling of both players' losses, by default none.
      accumulate: micro-batches in an update, whose mean gradient it applies. Each is a batch of
        its own to BatchNorm, whose averages move with every one.
      leaks: named transforms that the discriminator sees and whose share among samples is measured
        (`ganjax.training.leaks`).
      at: the algorithm of a phase, where phases differ in functions, optimisers or ema_decay;
        else None. What is needed before any phase (init, latent, phases, and the numbers of
        updates, reals and classes) is taken from this one.
      begin: makes the state that a phase begins with.
    """

    init: Init
    latent: Latent
    generate: Generate
    discriminate: Discriminate
    d_loss: DiscriminatorLoss
    g_loss: GeneratorLoss
    sample: Sample
    g_tx: optax.GradientTransformation
    d_tx: optax.GradientTransformation
    phases: tuple[Phase, ...]
    penalty: Penalty = no_penalty
    penalty_interval: int = 1
    value_range: ValueRange = (-1.0, 1.0)
    n_critic: int = 1
    reals_per_step: int = 1
    order: str = "alternating"
    num_classes: int = 1
    ema_decay: EmaDecay = lambda step: 0.999
    aug_init: AugInit = lambda: ()
    aug_update: AugUpdate = lambda aug, metrics: aug
    loss_scaling: LossScaling = NoLossScaling()
    accumulate: int = 1
    leaks: Mapping[str, ImageTransform] = MappingProxyType({})
    at: AlgorithmAt | None = None
    begin: Begin = lambda state, phase: state

    def in_phase(self, phase: Phase) -> "Algorithm":
        """Returns the algorithm that trains in a phase."""
        return self if self.at is None else self.at(phase)
