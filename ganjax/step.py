"""The two-player engine: one pure train step for every algorithm.

An algorithm is data to it (`ganjax.algorithms.base`). In which order the players move, and
how the updates of D are repeated, are functions chosen once, when the step is built.

A player's variables (BatchNorm averages) move in its own update alone: the generator's do
not when it makes fakes for D, nor D's when it judges for the generator.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding

from ganjax.algorithms.base import Algorithm, Context, Metrics, PyTree
from ganjax.images import to_uint8
from ganjax.keys import fold
from ganjax.phases import Phase
from ganjax.state import Ema, GanState, Player

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
    algorithm: Algorithm, *, unroll: bool, sharding: NamedSharding | None = None
) -> Step:
    """The pure `train_step(state, batch, key, *, phase) -> (state, metrics)`.

    `batch` leaves are (reals_per_step, N, ...): uint8 images, scaled here to the algorithm's
    range, or floats, taken as they are. `key` is the run's root key, the same at every step.
    Metrics are float32 scalars: d_loss (with its penalty), g_loss, the gradient norms
    d_grad_norm and g_grad_norm, and the algorithm's own; those of D are means over its
    n_critic updates, those of a lazy penalty NaN in the steps between.

    Args:
      algorithm: what to train.
      unroll: whether the updates of D are unrolled in the program. Do so on CPU, where XLA
        runs a convolution inside a loop some twenty times slower; elsewhere a loop compiles
        faster and runs the same.
      sharding: how (N, ...) arrays lie on the devices; None leaves it to the compiler.

    Returns:
      A function for `jax.jit` with `phase` static and `donated()` donated.

    Raises:
      ValueError: the order is unknown, or is simultaneous and n_critic is not 1.
    """
    if algorithm.order not in ORDERS:
        raise ValueError(f"order={algorithm.order!r} is none of {', '.join(ORDERS)}")
    if algorithm.order == "simultaneous" and algorithm.n_critic != 1:
        raise ValueError(
            f"n_critic={algorithm.n_critic}: the simultaneous order updates both players once "
            "a step; set n_critic=1 or the alternating order"
        )
    move = ORDERS[algorithm.order]
    repeat = _unrolled if unroll or algorithm.n_critic == 1 else _scanned

    def train_step(state, batch, key, *, phase):
        now = _of(algorithm, phase)
        if now.penalty_interval > 1:
            now = now._replace(penalty=_lazy(now))
        turn = _turns(now, state, batch, fold(key, "train", state.step), phase, sharding)
        g, d, aug, metrics = move(now, state, turn, repeat)
        ema = _average(state.ema, g, now.ema_decay(state.step))
        return GanState(state.step + 1, g, d, ema, aug), metrics

    return train_step


def donated() -> tuple[str, ...]:
    """The arguments of a train step that `jax.jit` should donate on this machine's devices.

    On CPUs none: XLA copies each donated matrix that is still read when its successor could be
    written, 3 to 5 % of a step, and host memory holds two states easily.
    """
    return () if jax.default_backend() == "cpu" else ("state",)


def make_eval_step(algorithm: Algorithm, *, sharding: NamedSharding | None = None) -> Callable:
    """`eval_step(state, batch, index, key, *, phase) -> metrics`: D's loss on held-out reals.

    What D's update would report for these reals and fresh fakes, in training form (dropout
    acts, BatchNorm is of the batch; a lazy penalty acts every time, once), but nothing is
    updated; names carry "val_". `index` is the batch's number in the evaluation. A gap to the
    training loss that grows is a critic that memorises its data (Gulrajani et al. 2017,
    figure 5b).

    Args:
      algorithm: as for `make_train_step`.
      sharding: as for `make_train_step`.
    """

    def eval_step(state, batch, index, key, *, phase):
        key = fold(key, "eval", state.step, index)
        turn = _turns(_of(algorithm, phase), state, batch, key, phase, sharding)
        now = turn("d", 0, state.aug)
        fake, _ = now.generate(state.g.params, state.g.vars)
        loss, (_, metrics) = now.d_objective(state.d.params, state.d.vars, fake)
        metrics |= {"d_loss": loss}
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


class _Turn(NamedTuple):
    """An algorithm's functions with the context of one update filled in."""

    algorithm: Algorithm
    context: Context
    sharding: NamedSharding | None

    def _at(self, name: str) -> Context:
        return self.context._replace(key=fold(self.context.key, name))

    def generate(self, params, vars):
        size = jax.tree.leaves(self.context.batch)[0].shape[0]
        z = self.algorithm.latent(fold(self.context.key, "latent"), size)
        if self.sharding is not None:
            z = jax.lax.with_sharding_constraint(z, self.sharding)
        return self.algorithm.generate(params, vars, z, self._at("generate"))

    def judge(self, params, vars, fake):
        return self.algorithm.judge(params, vars, fake, self._at("judge"))

    def d_loss(self, scores):
        return self.algorithm.d_loss(scores, self._at("d_loss"))

    def g_loss(self, scores):
        return self.algorithm.g_loss(scores, self._at("g_loss"))

    def penalty(self, params, vars, fake):
        return self.algorithm.penalty(params, vars, fake, self._at("penalty"))

    def d_objective(self, params, vars, fake):
        """(loss with its penalty, (new vars, metrics)) of D on given fakes."""
        scores, new_vars = self.judge(params, vars, fake)
        loss, metrics = self.d_loss(scores)
        penalty, more = self.penalty(params, vars, fake)
        return loss + penalty, (new_vars, metrics | more)


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


def _turns(algorithm, state, batch, key, phase: Phase, sharding) -> Callable[..., _Turn]:
    """(player, update, augmentation) -> its turn, with its own reals and key."""
    low, high = algorithm.value_range

    def scaled(leaf):
        return leaf / 255.0 * (high - low) + low if leaf.dtype == jnp.uint8 else leaf

    def turn(player: str, i, aug: PyTree) -> _Turn:
        reals = {name: scaled(leaf[i % leaf.shape[0]]) for name, leaf in batch.items()}
        context = Context(reals, fold(key, player, i), state.step, phase, aug)
        return _Turn(algorithm, context, sharding)

    return turn


def _update(player: Player, tx: optax.GradientTransformation, gradient, vars) -> Player:
    updates, opt_state = tx.update(gradient, player.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), opt_state, vars)


def _average(ema: Ema, g: Player, decay) -> Ema:
    """Averages parameters and BatchNorm averages; other variables are the generator's."""
    towards = partial(optax.incremental_update, step_size=1.0 - decay)
    vars = {
        name: towards(values, ema.vars[name]) if name == "batch_stats" else values
        for name, values in g.vars.items()
    }
    return Ema(towards(g.params, ema.params), vars)


def _alternating(algorithm, state, turn, repeat):
    """n_critic updates of D, then one of G with a fresh z against the new D."""

    def update_d(carry, i):
        d, aug = carry
        now = turn("d", i, aug)
        fake = jax.lax.stop_gradient(now.generate(state.g.params, state.g.vars)[0])
        differentiate = jax.value_and_grad(now.d_objective, has_aux=True)
        (loss, (vars, metrics)), gradient = differentiate(d.params, d.vars, fake)
        metrics |= {"d_loss": loss, "d_grad_norm": optax.tree.norm(gradient)}
        d = _update(d, algorithm.d_tx, gradient, vars)
        return (d, algorithm.aug_update(aug, metrics)), metrics

    (d, aug), d_metrics = repeat(update_d, (state.d, state.aug), algorithm.n_critic)
    now = turn("g", algorithm.n_critic - 1, aug)

    def objective(params):
        fake, vars = now.generate(params, state.g.vars)
        scores, _ = now.judge(d.params, d.vars, fake)
        loss, metrics = now.g_loss(scores)
        return loss, (vars, metrics)

    (loss, (vars, metrics)), gradient = jax.value_and_grad(objective, has_aux=True)(state.g.params)
    metrics |= {"g_loss": loss, "g_grad_norm": optax.tree.norm(gradient)}
    return _update(state.g, algorithm.g_tx, gradient, vars), d, aug, d_metrics | metrics


def _simultaneous(algorithm, state, turn, repeat):
    """Both players from one forward pass of G and of D, at the old parameters.

    One vjp is pulled twice, so D(fake) is computed once for both.
    """
    del repeat  # One update each: there is nothing to repeat.
    now = turn("both", 0, state.aug)

    def forward(g_params, d_params):
        fake, g_vars = now.generate(g_params, state.g.vars)
        scores, d_vars = now.judge(d_params, state.d.vars, fake)
        return scores, (fake, g_vars, d_vars)

    scores, pull, (fake, g_vars, d_vars) = jax.vjp(
        forward, state.g.params, state.d.params, has_aux=True
    )
    (d_loss, d_metrics), d_pull = jax.value_and_grad(now.d_loss, has_aux=True)(scores)
    (g_loss, g_metrics), g_pull = jax.value_and_grad(now.g_loss, has_aux=True)(scores)
    (penalty, more), d_gradient = jax.value_and_grad(now.penalty, has_aux=True)(
        state.d.params, state.d.vars, jax.lax.stop_gradient(fake)
    )
    d_gradient = jax.tree.map(jnp.add, d_gradient, pull(d_pull)[1])
    g_gradient = pull(g_pull)[0]
    metrics = (d_metrics | more) | {
        "d_loss": d_loss + penalty,
        "d_grad_norm": optax.tree.norm(d_gradient),
    }
    aug = algorithm.aug_update(state.aug, metrics)
    metrics |= g_metrics | {"g_loss": g_loss, "g_grad_norm": optax.tree.norm(g_gradient)}
    g = _update(state.g, algorithm.g_tx, g_gradient, g_vars)
    return g, _update(state.d, algorithm.d_tx, d_gradient, d_vars), aug, metrics


ORDERS = {"alternating": _alternating, "simultaneous": _simultaneous}


def _unrolled(body, carry, n: int):
    metrics = []
    for i in range(n):
        carry, now = body(carry, i)
        metrics.append(now)
    return carry, jax.tree.map(lambda *values: sum(values) / n, *metrics)


def _scanned(body, carry, n: int):
    carry, metrics = jax.lax.scan(body, carry, jnp.arange(n))
    return carry, jax.tree.map(partial(jnp.mean, axis=0), metrics)
