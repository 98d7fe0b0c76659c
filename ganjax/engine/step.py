"""The two-player engine: one pure train step for every algorithm.

An algorithm is data to it (`ganjax.engine.algorithm`). In which order the players move
(`ganjax.engine.updates`), and how the updates of D are repeated, are functions chosen once, when the step
is built.

A player's variables (BatchNorm averages) move in its own update alone: the generator's do
not when it makes fakes for D, nor D's when it judges for the generator.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding

from ganjax.engine import updates
from ganjax.engine.algorithm import Algorithm, Metrics
from ganjax.engine.levels import to_uint8
from ganjax.engine.phases import Phase
from ganjax.engine.state import Ema, GanState, Player
from ganjax.keys import fold

Step = Callable[..., tuple[GanState, Metrics]]


def init_state(algorithm: Algorithm, key: jax.Array) -> GanState:
    """The state at step 0: both players initialised, the average a copy of the generator.

    Args:
      algorithm: whose networks and optimisers to initialise.
      key: the run's root key.
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
) -> Step:
    """The pure `train_step(state, batch, key, *, phase) -> (state, metrics)`.

    `batch` leaves are (reals_per_step, N, ...): uint8 images, scaled here to the algorithm's
    range, or floats, taken as they are. `key` is the run's root key, the same at every step.
    Metrics are float32 scalars: d_loss (with its penalty), g_loss, the gradient norms
    d_grad_norm and g_grad_norm, and the algorithm's own; those of D are means over its
    n_critic updates, those of a lazy penalty NaN in the steps between.

    Args:
      algorithm: what to train.
      sharding: how (N, ...) arrays lie on the devices; None leaves it to the compiler.
      unroll: whether the updates of D, and micro-batches, are unrolled in the program instead of
        a loop: to count what it computes. With the convolutions of `ganjax.ops` a loop runs as
        fast, compiles in less time and needs less memory; JAX's own gradients of convolutions
        are many times slower in a loop on CPUs.

    Returns:
      A function for `jax.jit` with `phase` static and `state` donated.

    Raises:
      ValueError: the order is unknown, or is simultaneous and n_critic is not 1.
    """
    if algorithm.order not in updates.ORDERS:
        raise ValueError(f"order={algorithm.order!r} is none of {', '.join(updates.ORDERS)}")
    if algorithm.order == "simultaneous" and algorithm.n_critic != 1:
        raise ValueError(
            f"n_critic={algorithm.n_critic}: the simultaneous order updates both players once "
            "a step; set n_critic=1 or the alternating order"
        )
    move = updates.ORDERS[algorithm.order]
    repeat = updates.unrolled if unroll else updates.scanned

    def train_step(state, batch, key, *, phase):
        now = _of(algorithm, phase)
        if now.penalty_interval > 1:
            now = now._replace(penalty=_lazy(now))
        turn = updates.turns(now, state, batch, fold(key, "train", state.step), phase, sharding)
        g, d, aug, metrics = move(now, state, turn, repeat)
        ema = _average(state.ema, g, now.ema_decay(state.step))
        return GanState(state.step + 1, g, d, ema, aug), metrics

    return train_step


def make_eval_step(algorithm: Algorithm, *, sharding: NamedSharding | None = None) -> Callable:
    """`eval_step(state, batch, index, key, *, phase) -> metrics`: D's loss on held-out reals.

    What D's update would report for these reals and fresh fakes, in training form (dropout
    acts, BatchNorm is of the batch; a lazy penalty acts every time, once), but nothing is
    updated; names carry "val_". `index` is the batch's number in the evaluation; the batch may
    be of any size, and is never cut into micro-batches. A gap to the
    training loss that grows is a critic that memorises its data (Gulrajani et al. 2017,
    figure 5b).

    Args:
      algorithm: as for `make_train_step`.
      sharding: as for `make_train_step`.
    """

    def eval_step(state, batch, index, key, *, phase):
        key = fold(key, "eval", state.step, index)
        whole = _of(algorithm, phase)._replace(accumulate=1)
        turn = updates.turns(whole, state, batch, key, phase, sharding)
        now = turn("d", 0, state.aug)
        fake, _ = now.generate(state.g.params, state.g.vars)
        loss, (_, metrics) = now.d_objective(state.d.params, state.d.vars, fake)
        penalty, more = now.penalty(state.d.params, state.d.vars, fake)
        metrics |= more | {"d_loss": loss + penalty}
        return {f"val_{name}": value for name, value in metrics.items()}

    return eval_step


def make_sampler(algorithm: Algorithm) -> Callable:
    """`sampler(ema, z, label, *, phase) -> uint8 (N, H, W, C)` of the averaged generator.

    Args:
      algorithm: whose generator.
    """

    def sampler(ema, z, label, *, phase):
        samples = _of(algorithm, phase).sample(ema.params, ema.vars, z, label, phase)
        return to_uint8(samples, algorithm.value_range)

    return sampler


def sample_inputs(algorithm: Algorithm, key: jax.Array, num: int) -> tuple[jax.Array, jax.Array]:
    """(z, label) for `num` samples: the same for one key always, labels in turn.

    Args:
      algorithm: whose latents.
      key: a run's root key gives the latents of its own pictures.
      num: how many.
    """
    return algorithm.latent(fold(key, "sample"), num), jnp.arange(num) % algorithm.num_classes


def _of(algorithm: Algorithm, phase: Phase) -> Algorithm:
    return algorithm if algorithm.at is None else algorithm.at(phase)


def _lazy(algorithm: Algorithm) -> Callable:
    """The penalty where step % penalty_interval is 0; between nothing, and NaN for its metrics."""
    interval = algorithm.penalty_interval

    def lazy(params, vars, fake, context):
        def due():
            value, metrics = algorithm.penalty(params, vars, fake, context)
            return interval * value, metrics

        value, metrics = jax.eval_shape(due)
        unmeasured = {name: jnp.full(m.shape, jnp.nan, m.dtype) for name, m in metrics.items()}
        skipped = jnp.zeros(value.shape, value.dtype), unmeasured
        return jax.lax.cond(context.step % interval == 0, due, lambda: skipped)

    return lazy


def _average(ema: Ema, g: Player, decay) -> Ema:
    """Averages parameters and BatchNorm averages; other variables are the generator's."""
    towards = partial(optax.incremental_update, step_size=1.0 - decay)
    vars = {
        name: towards(values, ema.vars[name]) if name == "batch_stats" else values
        for name, values in g.vars.items()
    }
    return Ema(towards(g.params, ema.params), vars)
