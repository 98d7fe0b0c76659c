"""An algorithm as the engine sees it: a tuple of pure functions, optimisers and a few numbers.

Every function of an `Algorithm` has a Protocol here, which states its arguments and results and
names ganjax's own implementation. Throughout, `params` are the trained parameters of a network and
`vars` are its other Flax collections (`batch_stats`, ...).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from ganjax.engine.meanings import Meaning
from ganjax.engine.phases import Phase
from ganjax.engine.pixels import ValueRange
from ganjax.engine.state import GanState
from ganjax.engine.storage import IMAGES, Storage
from ganjax.keys import fold

Metrics = dict[str, jax.Array]
# Arrays (N, ...) by name: those of a source's `fetch`, as the networks see them. Of images they are
# "image" (N, H, W, C), float32 in `Algorithm.value_range`, and "label" (N,), int32.
Batch = dict[str, jax.Array]


class Context(NamedTuple):
    """The context of an update, which every function of an algorithm takes.

    Attributes:
      batch: the reals of this update, such as images with their labels.
      key: a random key for this call alone.
      step: the number of train steps finished before this one, an int32 scalar.
      phase: the current phase.
      aug: the augmentation controller's state, () without a controller.
    """

    batch: Batch
    key: jax.Array
    step: jax.Array
    phase: Phase
    aug: PyTree

    def named(self, name: str) -> "Context":
        """Returns this context with a key that is derived from its own by `name`."""
        return self._replace(key=fold(self.key, name))


@runtime_checkable
class Init(Protocol):
    """A function that initialises both networks; see `ganjax.algorithms.networks.Networks.init`.

    It returns the (params, vars) of the generator and the (params, vars) of the discriminator.
    """

    def __call__(
        self, key: Key[Array, ""]
    ) -> tuple[tuple[PyTree, PyTree], tuple[PyTree, PyTree]]: ...


@runtime_checkable
class Latent(Protocol):
    """A function that draws n latents; see `ganjax.algorithms.networks.Networks.latent`."""

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, "n ..."]: ...


@runtime_checkable
class Generate(Protocol):
    """A function that runs the generator in training mode; see `ganjax.algorithms.gan.generate`.

    It may read the conditions of the reals, such as `context.batch["label"]`, but must not rely on
    the reals themselves, such as `context.batch["image"]`: a generator is not shown the reals, and
    a caller need not have them.

    It returns the fakes, together with the conditions for which they were generated (of images
    their classes, "label"), and the generator's updated variables.
    """

    def __call__(
        self, params: PyTree, vars: PyTree, z: Float[Array, "n ..."], context: Context
    ) -> tuple[Batch, PyTree]: ...


@runtime_checkable
class Discriminate(Protocol):
    """A function that runs the discriminator in training mode on the reals and on fakes.

    The reals are `context.batch`. See `ganjax.algorithms.gan.discriminate_separately` and
    `discriminate_jointly`. The function is apart from the losses so that simultaneous updates can
    take both players' gradients from one pass.

    It returns the scores, any pytree that the algorithm's losses understand, and the
    discriminator's updated variables. Scores that no loss reads, such as D(real) in an update of
    the generator, cost nothing, since the compiler removes them.
    """

    def __call__(
        self, params: PyTree, vars: PyTree, fake: Batch, context: Context
    ) -> tuple[PyTree, PyTree]: ...


@runtime_checkable
class DiscriminatorLoss(Protocol):
    """A function that computes the discriminator's loss without its penalty.

    See `ganjax.objectives.losses.discriminator_loss`. It returns the loss and metrics.
    """

    def __call__(self, scores: PyTree, context: Context) -> tuple[Float[Array, ""], Metrics]: ...


@runtime_checkable
class GeneratorLoss(Protocol):
    """A function that computes the generator's loss.

    See `ganjax.objectives.losses.generator_loss`. It returns the loss and metrics.
    """

    def __call__(self, scores: PyTree, context: Context) -> tuple[Float[Array, ""], Metrics]: ...


@runtime_checkable
class Penalty(Protocol):
    """A function that computes the penalty that is added to the discriminator's loss.

    See `ganjax.objectives.penalties.PenaltyFields.build`. It returns the weighted penalty and
    metrics.
    """

    def __call__(
        self, params: PyTree, vars: PyTree, fake: Batch, context: Context
    ) -> tuple[Float[Array, ""], Metrics]: ...


@runtime_checkable
class DiscriminatorGradient(Protocol):
    """A function that computes the gradient of the discriminator's loss with its penalty.

    It returns the gradient with respect to `params`, the discriminator's updated variables, and the
    metrics of loss and penalty with d_loss, the sum of both.
    """

    def __call__(
        self, params: PyTree, vars: PyTree, fake: Batch, context: Context
    ) -> tuple[PyTree, PyTree, Metrics]: ...


class SharedGradient(NamedTuple):
    """The gradients of the discriminator's loss and of its penalty as one.

    It takes the place of three functions in an update of the discriminator alone, where both
    gradients together take less than each by itself (`ganjax.algorithms.homogeneous`).

    Attributes:
      compute: the function that computes it.
      of: the `discriminate`, `d_loss` and `penalty` of the algorithm whose gradient it is. An
        algorithm with another function in place of one of them does without it.
    """

    compute: DiscriminatorGradient
    of: tuple[Discriminate, DiscriminatorLoss, Penalty]

    def holds_for(self, algorithm: "Algorithm") -> bool:
        """Returns whether the functions of an algorithm are those whose gradient it is."""
        own = (algorithm.discriminate, algorithm.d_loss, algorithm.penalty)
        return all(one is other for one, other in zip(own, self.of, strict=True))


@runtime_checkable
class Sample(Protocol):
    """A function that runs the generator in inference mode.

    BatchNorm uses its running averages, and nothing is dropped out. `label` is what samples are
    conditioned on: classes, int32 (N,), or other arrays (N, ...). It returns samples as the
    networks see them, which `Algorithm.storage` converts: images in `Algorithm.value_range`. See
    `ganjax.algorithms.networks.Networks.sample`.
    """

    def __call__(
        self,
        params: PyTree,
        vars: PyTree,
        z: Float[Array, "n ..."],
        label: Shaped[Array, "n ..."],
        phase: Phase,
    ) -> Float[Array, "n ..."]: ...


@runtime_checkable
class Score(Protocol):
    """A function that runs the discriminator in inference mode: running averages, no dropout.

    The images are in `Algorithm.value_range`. See `ganjax.algorithms.networks.Networks.score`.
    """

    def __call__(
        self,
        params: PyTree,
        vars: PyTree,
        images: Float[Array, "n h w c"],
        label: Int[Array, " n"],
        phase: Phase,
    ) -> Float[Array, " n"]: ...


@runtime_checkable
class EmaDecay(Protocol):
    """A function that computes the decay of the generator's moving average, in [0, 1].

    `step` is the number of finished train steps. See `ganjax.algorithms.optimisers.ema_decay`.
    """

    def __call__(self, step: jax.Array) -> float | jax.Array: ...


@runtime_checkable
class NumberOfStep(Protocol):
    """A function that computes a number of the config, such as a rate, that changes over the run.

    `step` is the number of finished train steps. See `ganjax.engine.schedules`.
    """

    def __call__(self, step: jax.Array) -> float | jax.Array: ...


@runtime_checkable
class AugInit(Protocol):
    """A function that returns the augmentation controller's state at step 0.

    See `ganjax.augment.controllers`.
    """

    def __call__(self) -> PyTree: ...


@runtime_checkable
class AugUpdate(Protocol):
    """A function that updates the augmentation controller's state after an update of D.

    `metrics` are the metrics of that update. See `ganjax.augment.controllers` and
    `ganjax.algorithms.augmented.with_augmentation`.
    """

    def __call__(self, aug: PyTree, metrics: Metrics) -> PyTree: ...


@runtime_checkable
class ImageTransform(Protocol):
    """A function that transforms images in `Algorithm.value_range` at random.

    See `ganjax.augment`.
    """

    def __call__(
        self, images: Float[Array, "n h w c"], key: Key[Array, ""]
    ) -> Float[Array, "n h w c"]: ...


@runtime_checkable
class AlgorithmAt(Protocol):
    """A function that returns the algorithm of one phase; see `ganjax.algorithms.progan.build`."""

    def __call__(self, phase: Phase) -> "Algorithm": ...


@runtime_checkable
class Begin(Protocol):
    """A function that returns the state with which `phase` begins.

    It takes the state with which the previous phase ended. The first phase begins with the state of
    `ganjax.engine.step.init_state`. See `ganjax.algorithms.progan.build`.
    """

    def __call__(self, state: GanState, phase: Phase) -> GanState: ...


class LossScaling(Protocol):
    """The scaling of losses in half precision; see `ganjax.engine.loss_scaling`.

    `opt_state` is the state of the optimiser of the player whose loss is scaled.
    """

    def scale(self, loss: Float[Array, ""], opt_state: PyTree) -> Float[Array, ""]:
        """Returns the scaled loss, which is differentiated in place of the loss."""
        ...

    def unscale(self, gradient: PyTree, opt_state: PyTree) -> PyTree:
        """Returns the gradient of the loss, given the gradient of the scaled loss."""
        ...

    def metrics(self, player: str, opt_state: PyTree) -> Metrics:
        """Returns the metrics of the scaling of a player, "g" or "d"."""
        ...


class NoLossScaling:
    """The `LossScaling` that leaves losses and gradients unchanged."""

    def scale(self, loss, opt_state):
        """Returns the loss unchanged."""
        return loss

    def unscale(self, gradient, opt_state):
        """Returns the gradient unchanged."""
        return gradient

    def metrics(self, player, opt_state):
        """Returns no metrics."""
        return {}


def no_penalty(params, vars, fake, context) -> tuple[jax.Array, Metrics]:
    """Returns a penalty of 0 and no metrics; this is the `Penalty` of algorithms without one."""
    return jnp.zeros(()), {}


class Algorithm(NamedTuple):
    """A GAN that `ganjax.engine.step` can train.

    Attributes:
      init: the function that initialises both networks.
      latent: the function that draws latents.
      generate: the function that runs the generator in training mode.
      discriminate: the function that runs the discriminator in training mode.
      d_loss: the discriminator's loss.
      g_loss: the generator's loss.
      sample: the function that runs the generator in inference mode.
      g_tx: the generator's optimiser.
      d_tx: the discriminator's optimiser.
      phases: the phases of the run, from step 0 on and without gaps.
      score: the function that runs the discriminator in inference mode; None if a single image has
        no score.
      group_size: the number of neighbours in a batch that the discriminator looks at together.
      penalty: the penalty that is added to the discriminator's loss.
      penalty_interval: the number of steps from one penalty to the next; a penalty is then that
        many times as large (lazy regularisation, Karras et al. 2020, arXiv:1912.04958, section
        3.1).
      d_gradient: the gradient of the discriminator's loss and penalty together, for as long as it
        is that of `discriminate`, `d_loss` and `penalty`; None differentiates these.
      value_range: the values of black and of white in the networks' images.
      storage: how reals and samples are stored outside of the networks; by default as images.
      n_critic: the number of updates of the discriminator in a train step.
      real_batches: the number of batches of reals in a train step: n_critic, or 1, which all
        updates of the discriminator share; and one more with `fresh_g_reals`.
      fresh_g_reals: whether the last of these batches is the generator's alone, for losses that
        compare its fakes with reals. Otherwise its update takes the reals of the discriminator's
        last one.
      order: the order of updates within one train step, a name in `ganjax.engine.updates.ORDERS`.
      num_classes: the number of classes, 1 for an unconditional GAN; labels are
        0 .. num_classes - 1.
      ema_decay: the decay of the generator's moving average; by default 0, without an average.
      schedules: the numbers that change over the run, by the names of the metrics that report them.
      aug_init: the function that returns the augmentation controller's state at step 0.
      aug_update: the function that updates that state after each update of the discriminator.
      loss_scaling: the scaling of both players' losses, by default none.
      accumulate: the number of micro-batches in an update, which applies their mean gradient. Each
        micro-batch is a batch of its own to BatchNorm, whose averages every one updates.
      leaks: transforms, by name, that the discriminator sees and whose share among samples is
        measured (`ganjax.training.leaks`).
      at: the function that returns the algorithm of a phase, where phases differ in functions,
        optimisers or ema_decay; otherwise None. The fields that are read before any phase (init,
        latent, phases, and the numbers of updates, reals and classes) are this algorithm's.
      begin: the function that returns the state with which a phase begins.
      last_values: the metrics, of all phases, that tell where the run stands, such as the
        probability of augmentation. A line of metrics has their last values, and means over steps
        of all others. Evaluations on held-out images leave them out.
      meanings: what the algorithm's own metrics mean, by name. Those of losses, penalties, loss
        scaling and augmentation explain themselves (`ganjax.training.glossary`).
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
    score: Score | None = None
    group_size: int = 1
    penalty: Penalty = no_penalty
    penalty_interval: int = 1
    d_gradient: SharedGradient | None = None
    value_range: ValueRange = (-1.0, 1.0)
    storage: Storage = IMAGES
    n_critic: int = 1
    real_batches: int = 1
    fresh_g_reals: bool = False
    order: str = "alternating"
    num_classes: int = 1
    ema_decay: EmaDecay = lambda step: 0.0
    schedules: Mapping[str, NumberOfStep] = MappingProxyType({})
    aug_init: AugInit = lambda: ()
    aug_update: AugUpdate = lambda aug, metrics: aug
    loss_scaling: LossScaling = NoLossScaling()
    accumulate: int = 1
    leaks: Mapping[str, ImageTransform] = MappingProxyType({})
    at: AlgorithmAt | None = None
    begin: Begin = lambda state, phase: state
    last_values: tuple[str, ...] = ()
    meanings: Mapping[str, Meaning] = MappingProxyType({})

    def in_phase(self, phase: Phase) -> "Algorithm":
        """Returns the algorithm of a phase, which is this one if phases do not differ."""
        return self if self.at is None else self.at(phase)
