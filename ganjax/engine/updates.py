"""In which order the players move in a train step, and from what their gradients are taken.

An order is (algorithm, state, turn, repeat) -> (G, D, augmentation, metrics). `turn` gives an
update, or a micro-batch of it, its reals and its key; `repeat` says whether what is done several
times is unrolled or a loop.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding

from ganjax.engine.algorithm import Algorithm, Context, PyTree
from ganjax.engine.levels import from_uint8
from ganjax.engine.phases import Phase
from ganjax.engine.state import Player
from ganjax.keys import fold
from ganjax.ops.lowering import after_all, late_kernels


class Turn(NamedTuple):
    """An algorithm's functions with the context of one update filled in."""

    algorithm: Algorithm
    context: Context
    sharding: NamedSharding | None

    def _at(self, name: str) -> Context:
        return self.context._replace(key=fold(self.context.key, name))

    def generate(self, params, vars):
        """(fakes, new vars) of G, from z of this turn's own."""
        size = jax.tree.leaves(self.context.batch)[0].shape[0]
        z = self.algorithm.latent(fold(self.context.key, "latent"), size)
        if self.sharding is not None:
            z = jax.lax.with_sharding_constraint(z, self.sharding)
        with late_kernels():
            return self.algorithm.generate(params, vars, z, self._at("generate"))

    def discriminate(self, params, vars, fake):
        """(scores, new vars) of D."""
        return self.algorithm.discriminate(params, vars, fake, self._at("judge"))

    def d_loss(self, scores):
        """(loss without its penalty, metrics)."""
        return self.algorithm.d_loss(scores, self._at("d_loss"))

    def g_loss(self, scores):
        """(loss, metrics)."""
        return self.algorithm.g_loss(scores, self._at("g_loss"))

    def penalty(self, params, vars, fake):
        """(weighted penalty, metrics)."""
        return self.algorithm.penalty(params, vars, fake, self._at("penalty"))

    def d_objective(self, params, vars, fake):
        """(loss without its penalty, (new vars, metrics)) of D on given fakes."""
        scores, vars = self.discriminate(params, vars, fake)
        loss, metrics = self.d_loss(scores)
        return loss, (vars, metrics)

    def g_objective(self, params, vars, d: Player):
        """(loss, (new vars, metrics)) of G against D."""
        fake, vars = self.generate(params, vars)
        with late_kernels():  # D(real) is no part of this, but of a relativistic loss.
            scores, _ = self.discriminate(d.params, d.vars, fake)
        loss, metrics = self.g_loss(scores)
        return loss, (vars, metrics)


def turns(algorithm, state, batch, key, phase: Phase, sharding) -> Callable[..., Turn]:
    """(player, update, augmentation, micro-batch) -> its turn, with its own reals and key."""
    share = _whole if algorithm.accumulate == 1 else partial(_micro, algorithm, sharding)

    def scaled(leaf):
        return from_uint8(leaf, algorithm.value_range) if leaf.dtype == jnp.uint8 else leaf

    def turn(player: str, i, aug: PyTree, micro=0) -> Turn:
        reals = {name: leaf[i % leaf.shape[0]] for name, leaf in batch.items()}
        reals, key_ = share(reals, fold(key, player, i), micro)
        reals = {name: scaled(leaf) for name, leaf in reals.items()}
        return Turn(algorithm, Context(reals, key_, state.step, phase, aug), sharding)

    return turn


def _whole(reals, key, micro):
    return reals, key


def _micro(algorithm, sharding, reals, key, micro):
    """The reals and the key of a micro-batch: of the rows every `accumulate`-th.

    So a micro-batch is of the same rows on any number of devices, each of which has its part
    of them already.
    """

    def rows(leaf):
        leaf = leaf.reshape(-1, algorithm.accumulate, *leaf.shape[1:])
        leaf = jax.lax.dynamic_index_in_dim(leaf, micro, axis=1, keepdims=False)
        return leaf if sharding is None else jax.lax.with_sharding_constraint(leaf, sharding)

    return {name: rows(leaf) for name, leaf in reals.items()}, fold(key, "micro", micro)


class _Measured(NamedTuple):
    """A micro-batch's outcome: gradients, the players' vars after it, metrics."""

    gradient: Any
    vars: Any
    metrics: dict[str, jax.Array]


def _mean(measure: Callable, vars, count: int, repeat) -> _Measured:
    """The mean gradient and metrics of measure(vars, i) over `count` micro-batches."""
    if count == 1:
        return measure(vars, 0)

    def body(carry, i):
        vars, total = carry
        now = measure(vars, i)
        return (now.vars, jax.tree.map(jnp.add, total, now.gradient)), now.metrics

    shapes = jax.eval_shape(lambda: measure(vars, 0).gradient)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (vars, total), metrics = repeat(body, (vars, zeros), count)
    return _Measured(jax.tree.map(lambda leaf: leaf / count, total), vars, metrics)


def _scaled_gradient(algorithm: Algorithm, player: Player, objective: Callable, at):
    """(loss, aux, scaled gradient) of objective(at) -> (loss, aux), a loss of the player's."""

    def scaled(at):
        loss, aux = objective(at)
        return algorithm.loss_scaling.scale(loss, player.opt_state), (loss, aux)

    gradient, (loss, aux) = jax.grad(scaled, has_aux=True)(at)
    return loss, aux, gradient


def _gradient(algorithm: Algorithm, player: Player, objective: Callable):
    """(loss, aux, gradient) at the player's parameters."""
    loss, aux, gradient = _scaled_gradient(algorithm, player, objective, player.params)
    return loss, aux, algorithm.loss_scaling.unscale(gradient, player.opt_state)


def _update(algorithm: Algorithm, name: str, player: Player, gradient, vars):
    """(the player after its optimiser's step, metrics)."""
    tx = {"g": algorithm.g_tx, "d": algorithm.d_tx}[name]
    metrics = {f"{name}_grad_norm": optax.tree.norm(gradient)}
    metrics |= algorithm.loss_scaling.metrics(name, player.opt_state)
    # On CPUs the update begins when its whole gradient is there: of `dcgan:celeb_a` at batch 128
    # XLA needs 260 MiB of temporaries so, not 269, since it copies fewer old moments before.
    gradient, player = after_all((gradient, player))
    updates, opt_state = tx.update(gradient, player.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), opt_state, vars), metrics


def _alternating(algorithm, state, turn, repeat):
    """n_critic updates of D, then one of G with a fresh z against the new D."""

    def update_d(carry, i):
        d, aug = carry

        def measure(vars, micro):
            now = turn("d", i, aug, micro)
            fake = jax.lax.stop_gradient(now.generate(state.g.params, state.g.vars)[0])
            objective = partial(now.d_objective, vars=vars, fake=fake)
            loss, (new_vars, metrics), scaled = _scaled_gradient(algorithm, d, objective, d.params)
            # On CPUs a penalty of fakes begins when the loss has ended, so that no layers are
            # kept of both at once: of `wgan_gp:celeb_a` a fifth of the temporaries. Not one of
            # reals alone (R1), which takes D(real) from the loss.
            scaled, fake = after_all((scaled, fake))
            objective = partial(now.penalty, vars=vars, fake=fake)
            penalty, more, addend = _scaled_gradient(algorithm, d, objective, d.params)
            gradient = jax.tree.map(jnp.add, scaled, addend)
            gradient = algorithm.loss_scaling.unscale(gradient, d.opt_state)
            metrics |= more | {"d_loss": loss + penalty}
            return _Measured(gradient, new_vars, metrics)

        gradient, vars, metrics = _mean(measure, d.vars, algorithm.accumulate, repeat)
        d, more = _update(algorithm, "d", d, gradient, vars)
        metrics |= more
        return (d, algorithm.aug_update(aug, metrics)), metrics

    (d, aug), d_metrics = repeat(update_d, (state.d, state.aug), algorithm.n_critic)
    # On CPUs G's turn begins when D's have ended. Else XLA makes its fakes, which wait for nothing,
    # at some time before, and keeps G's layers for the backward pass while D is being updated.
    g, d = after_all((state.g, d))

    def measure(vars, micro):
        now = turn("g", algorithm.n_critic - 1, aug, micro)
        objective = partial(now.g_objective, vars=vars, d=d)
        loss, (vars, metrics), gradient = _gradient(algorithm, g, objective)
        return _Measured(gradient, vars, metrics | {"g_loss": loss})

    gradient, vars, metrics = _mean(measure, g.vars, algorithm.accumulate, repeat)
    g, more = _update(algorithm, "g", g, gradient, vars)
    return g, d, aug, d_metrics | metrics | more


def _simultaneous(algorithm, state, turn, repeat):
    """Both players from one forward pass of G and of D, at the old parameters.

    One vjp is pulled twice, so D(fake) is computed once for both.
    """

    gradient = partial(_scaled_gradient, algorithm)
    unscale = algorithm.loss_scaling.unscale

    def measure(vars, micro):
        now = turn("both", 0, state.aug, micro)

        def forward(g_params, d_params):
            fake, g_vars = now.generate(g_params, vars[0])
            scores, d_vars = now.discriminate(d_params, vars[1], fake)
            return scores, (fake, g_vars, d_vars)

        scores, pull, (fake, g_vars, d_vars) = jax.vjp(
            forward, state.g.params, state.d.params, has_aux=True
        )
        d_loss, d_metrics, d_pull = gradient(state.d, now.d_loss, scores)
        g_loss, g_metrics, g_pull = gradient(state.g, now.g_loss, scores)
        penalise = lambda params: now.penalty(params, vars[1], jax.lax.stop_gradient(fake))  # noqa: E731
        penalty, more, d_gradient = gradient(state.d, penalise, state.d.params)
        d_gradient = jax.tree.map(jnp.add, d_gradient, pull(d_pull)[1])
        g_gradient = unscale(pull(g_pull)[0], state.g.opt_state)
        gradients = g_gradient, unscale(d_gradient, state.d.opt_state)
        metrics = d_metrics | more | g_metrics | {"d_loss": d_loss + penalty, "g_loss": g_loss}
        return _Measured(gradients, (g_vars, d_vars), metrics)

    vars = state.g.vars, state.d.vars
    gradients, vars, metrics = _mean(measure, vars, algorithm.accumulate, repeat)
    g, g_more = _update(algorithm, "g", state.g, gradients[0], vars[0])
    d, d_more = _update(algorithm, "d", state.d, gradients[1], vars[1])
    metrics |= g_more | d_more
    return g, d, algorithm.aug_update(state.aug, metrics), metrics


ORDERS = {"alternating": _alternating, "simultaneous": _simultaneous}


def unrolled(body, carry, n: int):
    """body(carry, i) n times, without a loop: (carry, the means of what it gives besides)."""
    metrics = []
    for i in range(n):
        carry, now = body(carry, i)
        metrics.append(now)
    return carry, jax.tree.map(lambda *values: sum(values) / n, *metrics)


def scanned(body, carry, n: int):
    """The same as a loop."""
    if n == 1:
        return unrolled(body, carry, n)
    carry, metrics = jax.lax.scan(body, carry, jnp.arange(n))
    return carry, jax.tree.map(partial(jnp.mean, axis=0), metrics)
