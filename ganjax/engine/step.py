"""The train step, the evaluation step and the sampler of any algorithm, as pure functions.

They take an algorithm as data (`ganjax.engine.algorithm`). The computations of each player's update
and the order of the updates are in `ganjax.engine.updates`.
"""

from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int, Key, Shaped, UInt8

from ganjax.engine import updates
from ganjax.engine.algorithm import Algorithm, Batch, Metrics, Penalty
from ganjax.engine.arranging import arranged, scanned, unrolled
from ganjax.engine.inputs import StepInputs
from ganjax.engine.phases import Phase
from ganjax.engine.state import Ema, GanState, Player
from ganjax.keys import fold


@runtime_checkable
class TrainStep(Protocol):
    """A function that takes one train step; see `make_train_step`."""

    def __call__(
        self, state: GanState, batch: Batch, key: Key[Array, ""], *, phase: Phase
    ) -> tuple[GanState, Metrics]: ...


@runtime_checkable
class EvalStep(Protocol):
    """A function that computes the discriminator's loss on held-out reals; see `make_eval_step`."""

    def __call__(
        self, state: GanState, batch: Batch, index: jax.Array, key: Key[Array, ""], *, phase: Phase
    ) -> Metrics: ...


@runtime_checkable
class Sampler(Protocol):
    """A function that samples the averaged generator; see `make_sampler`."""

    def __call__(
        self, ema: Ema, z: Float[Array, "n ..."], label: Shaped[Array, "n ..."], *, phase: Phase
    ) -> Shaped[Array, "n ..."]: ...


@runtime_checkable
class Scorer(Protocol):
    """A function that scores images by the discriminator; see `make_scorer`."""

    def __call__(
        self, d: Player, image: UInt8[Array, "n h w c"], label: Int[Array, " n"], *, phase: Phase
    ) -> Float[Array, " n"]: ...


def init_state(algorithm: Algorithm, key: jax.Array) -> GanState:
    """Initialises both players, their optimisers and the average, a copy of the generator.

    Args:
      algorithm: the algorithm with the networks and optimisers.
      key: the run's root key.

    Returns:
      The state at step 0.
    """
    (g_params, g_vars), (d_params, d_vars) = algorithm.init(fold(key, "init"))
    # Copies, since the state is donated and a buffer can be donated only once.
    copy = partial(jax.tree.map, jnp.copy)
    return GanState(
        step=jnp.zeros((), jnp.int32),
        g=Player(g_params, algorithm.g_tx.init(g_params), g_vars),
        d=Player(d_params, algorithm.d_tx.init(d_params), d_vars),
        ema=Ema(copy(g_params), copy(g_vars)),
        aug=algorithm.aug_init(),
    )


def make_train_step(
    algorithm: Algorithm, *, sharding: NamedSharding | None = None, unroll: bool = False
) -> TrainStep:
    """Returns the pure function `train_step(state, batch, key, *, phase) -> (state, metrics)`.

    `batch` holds arrays (real_batches, N, ...), which the algorithm's `storage` reads: images are
    uint8, which it maps to the algorithm's `value_range`, or floats in that range. `key` is the
    run's root key, the same at every step. Metrics are float32 scalars: d_loss (with the penalty),
    g_loss, the gradient norms d_grad_norm and g_grad_norm, the scheduled numbers, and the
    algorithm's own. The discriminator's metrics are means over its n_critic updates; those of a
    lazy penalty are NaN in the steps without it.

    Args:
      algorithm: the algorithm to train.
      sharding: the sharding of arrays (N, ...) over the devices; None leaves it to the compiler.
      unroll: whether the program unrolls the discriminator's updates and the micro-batches instead
        of looping over them, so that its operations can be counted. With the convolutions of
        `ganjax.ops` a loop is as fast, compiles sooner and needs less memory (docs/speed.md).

    Returns:
      A function for `jax.jit` with `phase` static and `state` donated.

    Raises:
      ConfigError: there is no such order, or it does not go with the algorithm's other numbers.
    """
    updates.check(algorithm.order, algorithm.n_critic, algorithm.fresh_g_reals)
    update_players = updates.ORDERS[algorithm.order]
    repeat = unrolled if unroll else scanned

    def train_step(state, batch, key, *, phase):
        gan = arranged(algorithm.in_phase(phase), sharding)
        gan = gan._replace(penalty=lazy_penalty(gan.penalty, gan.penalty_interval))
        key = fold(key, "train", state.step)
        inputs = StepInputs(
            batch,
            key,
            state.step,
            phase,
            gan.value_range,
            gan.storage,
            gan.accumulate,
            repeat,
            sharding,
        )
        updated, metrics = update_players(gan, state, inputs)
        ema = moving_average(state.ema, updated.g, gan.ema_decay(state.step))
        metrics |= {
            name: jnp.asarray(number(state.step), jnp.float32)
            for name, number in gan.schedules.items()
        }
        return updated.replace(step=state.step + 1, ema=ema), metrics

    return train_step


def make_eval_step(algorithm: Algorithm, *, sharding: NamedSharding | None = None) -> EvalStep:
    """Returns the function `eval_step(state, batch, index, key, *, phase) -> metrics`.

    The metrics are those that an update of the discriminator would report for these held-out reals
    and fresh fakes, with "val_" before their names, but for those that tell where the run stands
    (`Algorithm.last_values`). The networks are in training mode (dropout
    acts, BatchNorm's statistics are the batch's), the penalty is computed once even if it is lazy,
    and nothing is updated. A growing gap to the training loss shows that the critic memorises its
    data (Gulrajani et al. 2017, arXiv:1704.00028, figure 5b).

    `batch` holds arrays (1, N, ...) for any N, which are never divided into micro-batches. `index`
    is the number of the batch in the evaluation. `key` is the run's root key.

    Args:
      algorithm: the algorithm to evaluate.
      sharding: the sharding of arrays (N, ...) over the devices; None leaves it to the compiler.
    """

    def eval_step(state, batch, index, key, *, phase):
        gan = arranged(algorithm.in_phase(phase), sharding)
        key = fold(key, "eval", state.step, index)
        inputs = StepInputs(batch, key, state.step, phase, gan.value_range, gan.storage)
        context = inputs.of_update("d", 0, state.aug).context()
        g, d = state.g, state.d
        fake, _ = updates.generate(gan, g.params, g.vars, context)
        scores, _ = gan.discriminate(d.params, d.vars, fake, context.named("judge"))
        loss, metrics = gan.d_loss(scores, context.named("d_loss"))
        penalty, penalty_metrics = gan.penalty(d.params, d.vars, fake, context.named("penalty"))
        metrics = metrics | penalty_metrics | {"d_loss": loss + penalty}
        measured = metrics.keys() - set(algorithm.last_values)
        return {f"val_{name}": metrics[name] for name in sorted(measured)}

    return eval_step


def make_sampler(algorithm: Algorithm) -> Sampler:
    """Returns the function `sampler(ema, z, label, *, phase) -> samples (N, ...)`.

    It maps latents z (N, ...) and labels (N,), or whatever samples are conditioned on, to samples
    by the averaged generator. Images are uint8 (N, H, W, C).

    Args:
      algorithm: the algorithm with the generator.
    """

    def sampler(ema, z, label, *, phase):
        samples = algorithm.in_phase(phase).sample(ema.params, ema.vars, z, label, phase)
        return algorithm.storage.write(samples, algorithm.value_range)

    return sampler


def make_scorer(algorithm: Algorithm) -> Scorer:
    """Returns `scorer(d, image, label, *, phase) -> scores` of the discriminator in inference mode.

    Args:
      algorithm: the algorithm with the discriminator; its `score` is not None.
    """

    def scorer(d, image, label, *, phase):
        score = algorithm.in_phase(phase).score
        assert score is not None
        images = algorithm.storage.read(image, algorithm.value_range)
        return score(d.params, d.vars, images, label, phase).astype(jnp.float32)

    return scorer


def sample_key(key: jax.Array) -> jax.Array:
    """Returns the key of the latents of samples, given a root key."""
    return fold(key, "sample")


def sample_inputs(
    algorithm: Algorithm, key: jax.Array, num: int
) -> tuple[Float[Array, "num ..."], Int[Array, " num"]]:
    """Draws latents for `num` samples, whose labels run through the classes in rotation.

    Args:
      algorithm: the algorithm that draws the latents.
      key: a random key. The run's root key gives the latents of the run's own pictures.
      num: the number of samples.

    Returns:
      The latents (num, ...) and the labels (num,).
    """
    return algorithm.latent(sample_key(key), num), jnp.arange(num) % algorithm.num_classes


def lazy_penalty(penalty: Penalty, interval: int) -> Penalty:
    """Returns a penalty that acts only every `interval` steps and is `interval` times as large.

    In the steps between, it is 0 and its metrics are NaN. Karras et al. 2020 (arXiv:1912.04958),
    section 3.1, lazy regularisation.
    """
    if interval == 1:
        return penalty

    def lazy(params, vars, fake, context):
        def penalise():
            value, metrics = penalty(params, vars, fake, context)
            return interval * value, metrics

        value, metrics = jax.eval_shape(penalise)
        unmeasured = {name: jnp.full(m.shape, jnp.nan, m.dtype) for name, m in metrics.items()}
        skipped = jnp.zeros(value.shape, value.dtype), unmeasured
        return jax.lax.cond(context.step % interval == 0, penalise, lambda: skipped)

    return lazy


def moving_average(ema: Ema, generator: Player, decay: float | jax.Array) -> Ema:
    """Computes the exponential moving average after an update of the generator.

    Parameters and BatchNorm averages become decay * average + (1 - decay) * current value. Other
    variables are not averaged, but taken from the generator.
    """
    towards = partial(optax.incremental_update, step_size=1.0 - decay)
    vars = {
        name: towards(values, ema.vars[name]) if name == "batch_stats" else values
        for name, values in generator.vars.items()
    }
    return Ema(towards(generator.params, ema.params), vars)
