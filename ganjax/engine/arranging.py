"""Lays out the updates for the compiler, with loops, barriers and the scaling of losses.

The functions of this module wrap the computations of `ganjax.engine.updates` from outside. They
are no part of any GAN's method, and change no result by more than rounding. Barriers act on CPUs
alone; docs/memory.md has what each of them saves.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from ganjax.engine.algorithm import Algorithm, Batch, Metrics
from ganjax.engine.state import Player
from ganjax.ops.lowering import cpu_barrier, late_kernels

# An integer, or a traced int32 scalar.
Index = int | jax.Array
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@runtime_checkable
class Repeat(Protocol):
    """A function that calls `body(carry, i) -> (carry, metrics)` for i = 0 .. n - 1.

    It returns the last carry and the means of the metrics over all calls.
    """

    def __call__(self, body: Callable, carry: PyTree, n: int) -> tuple[PyTree, Metrics]: ...


def unrolled(body: Callable, carry: PyTree, n: int) -> tuple[PyTree, Metrics]:
    """Repeats a body by writing it n times into the program; this is a `Repeat`."""
    metrics = []
    for i in range(n):
        carry, metrics_i = body(carry, i)
        metrics.append(metrics_i)
    return carry, jax.tree.map(lambda *values: sum(values) / n, *metrics)


def scanned(body: Callable, carry: PyTree, n: int) -> tuple[PyTree, Metrics]:
    """Repeats a body by a loop in the program; this is a `Repeat`."""
    if n == 1:
        return unrolled(body, carry, n)
    carry, metrics = jax.lax.scan(body, carry, jnp.arange(n))
    return carry, jax.tree.map(partial(jnp.mean, axis=0), metrics)


def arranged(algorithm: Algorithm, sharding: NamedSharding | None) -> Algorithm:
    """Returns the algorithm with its latents and its generator arranged for the updates.

    The latents are split over the devices as the reals are. The generator, which runs once on each
    batch of them, prepares its kernels late (`single_pass`).

    Args:
      algorithm: the algorithm of the current phase.
      sharding: the sharding of arrays (N, ...); None leaves it to the compiler.
    """

    def latent(key, n):
        return constrained(algorithm.latent(key, n), sharding)

    shared = algorithm.d_gradient
    return algorithm._replace(
        latent=latent,
        generate=single_pass(algorithm.generate),
        # Of functions that the algorithm no longer has it would be another gradient.
        d_gradient=shared if shared is not None and shared.holds_for(algorithm) else None,
    )


def constrained(array: jax.Array, sharding: NamedSharding | None) -> jax.Array:
    """Returns the array with the given sharding; None leaves the sharding to the compiler."""
    return array if sharding is None else jax.lax.with_sharding_constraint(array, sharding)


def single_pass(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Makes a function in which each network runs only once prepare its kernels late.

    See `ganjax.ops.lowering.late_kernels`.
    """

    @wraps(function)
    def late(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with late_kernels():
            return function(*args, **kwargs)

    return late


def one_by_one(generator: Player, discriminator: Player) -> tuple[Player, Player]:
    """Returns both players behind a barrier, so that no use of one begins before both are computed.

    Without this barrier XLA on CPU runs G's forward pass early, since its latents wait for nothing,
    and keeps its activations alive while D is updated (docs/memory.md).
    """
    return cpu_barrier((generator, discriminator))


class BatchGradient(NamedTuple):
    """A gradient on one batch or micro-batch, with the other results of its forward passes.

    Attributes:
      gradient: the gradient with respect to the parameters of a player, or of both.
      vars: the updated variables of that player, or of both.
      metrics: the metrics of the forward passes.
    """

    gradient: PyTree
    vars: PyTree
    metrics: Metrics


def gradient_of(
    algorithm: Algorithm, name: str, player: Player, objective: Callable
) -> BatchGradient:
    """Computes the gradient of an objective with respect to a player's parameters.

    Args:
      algorithm: the algorithm, which has the loss scaling.
      name: the name of the player, "g" or "d". The loss is reported as g_loss or d_loss.
      player: the player.
      objective: params -> (loss, (vars, metrics)).
    """
    loss, (vars, metrics), gradient = _scaled(algorithm, player, objective, player.params)
    gradient = algorithm.loss_scaling.unscale(gradient, player.opt_state)
    return BatchGradient(gradient, vars, metrics | {f"{name}_loss": loss})


def gradient_of_sum(
    algorithm: Algorithm,
    name: str,
    player: Player,
    objective: Callable,
    penalty: Callable,
    fake: Batch,
) -> BatchGradient:
    """Computes the gradient of an objective plus a penalty with respect to a player's parameters.

    Args:
      algorithm: the algorithm, which has the loss scaling.
      name: the name of the player, "g" or "d". The sum is reported as g_loss or d_loss.
      player: the player.
      objective: (params, fake) -> (loss, (vars, metrics)).
      penalty: (params, fake) -> (penalty, metrics).
      fake: the generated batch, an argument of both functions so that the penalty can wait for it.
    """
    loss, (vars, metrics), gradient = _scaled(
        algorithm, player, partial(objective, fake=fake), player.params
    )
    # A penalty on fakes waits for the loss's gradient, so that not both keep activations at once.
    # One on reals alone (R1) does not wait, since it shares D(real) with the loss.
    gradient, fake = cpu_barrier((gradient, fake))
    value, penalty_metrics, penalty_gradient = _scaled(
        algorithm, player, partial(penalty, fake=fake), player.params
    )
    gradient = jax.tree.map(jnp.add, gradient, penalty_gradient)
    gradient = algorithm.loss_scaling.unscale(gradient, player.opt_state)
    metrics = metrics | penalty_metrics | {f"{name}_loss": loss + value}
    return BatchGradient(gradient, vars, metrics)


def gradients_of_both(
    algorithm: Algorithm,
    generator: Player,
    discriminator: Player,
    forward: Callable,
    g_objective: Callable,
    d_objective: Callable,
    penalty: Callable,
) -> BatchGradient:
    """Computes the gradients of both players' losses through one shared forward pass.

    Args:
      algorithm: the algorithm, which has the loss scaling.
      generator: the generator.
      discriminator: the discriminator.
      forward: (params of the generator, params of the discriminator) -> (scores, (fake, vars)).
      g_objective: scores -> (loss, metrics) of the generator.
      d_objective: scores -> (loss, metrics) of the discriminator.
      penalty: (params of the discriminator, fake) -> (penalty, metrics).

    Returns:
      The gradients of the generator and of the discriminator, in this order. The metrics include
      g_loss and d_loss, the latter with the penalty.
    """
    scores, pull_back, (fake, vars) = jax.vjp(
        forward, generator.params, discriminator.params, has_aux=True
    )
    d_loss, d_metrics, d_cotangent = _scaled(algorithm, discriminator, d_objective, scores)
    g_loss, g_metrics, g_cotangent = _scaled(algorithm, generator, g_objective, scores)
    fake = jax.lax.stop_gradient(fake)
    value, penalty_metrics, penalty_gradient = _scaled(
        algorithm, discriminator, partial(penalty, fake=fake), discriminator.params
    )
    d_gradient = jax.tree.map(jnp.add, penalty_gradient, pull_back(d_cotangent)[1])
    unscale = algorithm.loss_scaling.unscale
    g_gradient = unscale(pull_back(g_cotangent)[0], generator.opt_state)
    d_gradient = unscale(d_gradient, discriminator.opt_state)
    losses = {"d_loss": d_loss + value, "g_loss": g_loss}
    metrics = d_metrics | penalty_metrics | g_metrics | losses
    return BatchGradient((g_gradient, d_gradient), vars, metrics)


def _scaled(
    algorithm: Algorithm, player: Player, objective: Callable, at: PyTree
) -> tuple[jax.Array, Any, PyTree]:
    """Returns (loss, aux, gradient of the player's scaled loss) of an objective at a point.

    The objective is at -> (loss, aux).
    """

    def scaled(at):
        loss, aux = objective(at)
        return algorithm.loss_scaling.scale(loss, player.opt_state), (loss, aux)

    gradient, (loss, aux) = jax.grad(scaled, has_aux=True)(at)
    return loss, aux, gradient


def apply_gradient(
    algorithm: Algorithm, name: str, player: Player, update: BatchGradient
) -> tuple[Player, Metrics]:
    """Takes one step of a player's optimiser.

    Args:
      algorithm: the algorithm, which has the optimiser.
      name: the name of the player, "g" or "d".
      player: the player to update.
      update: the player's gradient, new variables and metrics.

    Returns:
      The updated player, and the metrics of the update with g_grad_norm or d_grad_norm added.
    """
    metrics = {f"{name}_grad_norm": optax.tree.norm(update.gradient)}
    metrics |= algorithm.loss_scaling.metrics(name, player.opt_state)
    # XLA on CPU copies fewer old moments if none is updated before the whole gradient is computed
    # (docs/memory.md).
    gradient, player = cpu_barrier((update.gradient, player))
    tx = {"g": algorithm.g_tx, "d": algorithm.d_tx}[name]
    updates, opt_state = tx.update(gradient, player.opt_state, player.params)
    params = optax.apply_updates(player.params, updates)
    return Player(params, opt_state, update.vars), update.metrics | metrics
