"""How the updates are laid out for the compiler: loops, barriers and the scaling of losses.

Nothing here belongs to a method, or changes a result by more than rounding: it wraps what
`ganjax.engine.updates` computes from outside. Barriers act on CPUs alone; what each of them saves
is in docs/memory.md.
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

# A number, or a traced int32 scalar.
Index = int | jax.Array
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@runtime_checkable
class Repeat(Protocol):
    """Calls `body(carry, i) -> (carry, metrics)` for i = 0 .. n - 1.

    Returns the last carry, and the mean of the metrics.
    """

    def __call__(self, body: Callable, carry: PyTree, n: int) -> tuple[PyTree, Metrics]: ...


def unrolled(body: Callable, carry: PyTree, n: int) -> tuple[PyTree, Metrics]:
    """The `Repeat` that writes the body n times into the program."""
    metrics = []
    for i in range(n):
        carry, metrics_i = body(carry, i)
        metrics.append(metrics_i)
    return carry, jax.tree.map(lambda *values: sum(values) / n, *metrics)


def scanned(body: Callable, carry: PyTree, n: int) -> tuple[PyTree, Metrics]:
    """The `Repeat` that is a loop in the program."""
    if n == 1:
        return unrolled(body, carry, n)
    carry, metrics = jax.lax.scan(body, carry, jnp.arange(n))
    return carry, jax.tree.map(partial(jnp.mean, axis=0), metrics)


def arranged(algorithm: Algorithm, sharding: NamedSharding | None) -> Algorithm:
    """Returns the algorithm as the updates call it.

    Its latents are split over the devices as the reals are, and the generator, which runs once on
    them, prepares its kernels late.
    """

    def latent(key, n):
        return constrained(algorithm.latent(key, n), sharding)

    return algorithm._replace(latent=latent, generate=single_pass(algorithm.generate))


def constrained(array: jax.Array, sharding: NamedSharding | None) -> jax.Array:
    """Returns the array laid out as `sharding` says; None leaves it to the compiler."""
    return array if sharding is None else jax.lax.with_sharding_constraint(array, sharding)


def single_pass(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorates a function in which each network runs once, so that kernels are prepared late.

    See `ganjax.ops.lowering.late_kernels`.
    """

    @wraps(function)
    def late(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with late_kernels():
            return function(*args, **kwargs)

    return late


def one_by_one(generator: Player, discriminator: Player) -> tuple[Player, Player]:
    """Returns both players; what is computed from them begins when both are there.

    Without this barrier XLA on CPU runs G's forward pass early, since its latents wait for nothing,
    and keeps its activations alive while D is updated.
    """
    return cpu_barrier((generator, discriminator))


class BatchGradient(NamedTuple):
    """A gradient on one batch, or micro-batch, and what its forward passes return besides.

    Attributes:
      gradient: with respect to the parameters of a player, or of both.
      vars: the variables of that player, or of both, after the passes.
      metrics: those that the passes report.
    """

    gradient: PyTree
    vars: PyTree
    metrics: Metrics


def gradient_of(
    algorithm: Algorithm, name: str, player: Player, objective: Callable
) -> BatchGradient:
    """Differentiates an objective at the parameters of a player.

    Args:
      algorithm: scales the loss.
      name: of the player, "g" or "d", whose metric g_loss or d_loss the loss becomes.
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
    """Differentiates an objective plus a penalty at the parameters of a player.

    Args:
      algorithm: scales both.
      name: of the player, "g" or "d", whose metric g_loss or d_loss the sum becomes.
      player: the player.
      objective: (params, fake) -> (loss, (vars, metrics)).
      penalty: (params, fake) -> (penalty, metrics).
      fake: the generated batch. It is an argument of both, so that the penalty's can wait.
    """
    loss, (vars, metrics), gradient = _scaled(
        algorithm, player, partial(objective, fake=fake), player.params
    )
    # A penalty of fakes waits for the loss's gradient, so that activations are not kept of both at
    # once. One of reals alone (R1) does not wait: it shares D(real) with the loss.
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
    """Differentiates both players' losses through one forward pass, which they share.

    Args:
      algorithm: scales the losses.
      generator: the generator.
      discriminator: the discriminator.
      forward: (params of the generator, of the discriminator) -> (scores, (fake, vars)).
      g_objective: scores -> (loss, metrics) of the generator.
      d_objective: scores -> (loss, metrics) of the discriminator.
      penalty: (params of the discriminator, fake) -> (penalty, metrics).

    Returns:
      The gradients of the generator and of the discriminator, in this order; g_loss and d_loss,
      which includes the penalty, are among the metrics.
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
    """(loss, aux, gradient of the player's scaled loss) of objective: at -> (loss, aux)."""

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
      algorithm: has the optimiser.
      name: of the player, "g" or "d".
      player: the player to update.
      update: its gradient, new variables and metrics.

    Returns:
      The updated player, and the metrics of the update with the gradient's norm added.
    """
    metrics = {f"{name}_grad_norm": optax.tree.norm(update.gradient)}
    metrics |= algorithm.loss_scaling.metrics(name, player.opt_state)
    # XLA on CPU copies fewer of the old moments if none is updated before all of the gradient is
    # computed.
    gradient, player = cpu_barrier((update.gradient, player))
    tx = {"g": algorithm.g_tx, "d": algorithm.d_tx}[name]
    updates, opt_state = tx.update(gradient, player.opt_state, player.params)
    params = optax.apply_updates(player.params, updates)
    return Player(params, opt_state, update.vars), update.metrics | metrics
