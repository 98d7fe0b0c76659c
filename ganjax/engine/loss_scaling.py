"""Dynamic loss scaling, for float16.

A gradient below 6e-8 is 0 in float16. So the loss is multiplied by a scale before it is
differentiated, and the gradient, in float32, divided by it. A scale under which a gradient
overflows is halved, and that update left out; after 2,000 updates without that it is doubled
(Micikevicius et al. 2017, arXiv:1710.03740, section 3.2; the numbers are those of DeepMind's
jmp). Each player has a scale of its own, in its optimiser's state.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ganjax.engine.algorithm import Algorithm, LossScaling

FIRST = 2.0**15
PERIOD = 2_000
# Doubled no further: float32 sums of gradients stay finite.
MOST = 2.0**24
# A gradient that overflows even so is not finite by itself: the run has diverged.
LEAST = 2.0**-14


class ScaledState(NamedTuple):
    """An optimiser's state below a loss scale.

    Attributes:
      scale: float32 scalar; NaN once it would fall below LEAST, which no checkpoint takes.
      since: int32 scalar, the updates since it changed.
      inner: the optimiser's own.
    """

    scale: jax.Array
    since: jax.Array
    inner: Any


def scaled(algorithm: Algorithm) -> Algorithm:
    """The algorithm with its losses scaled; metrics d_loss_scale and g_loss_scale."""
    return algorithm._replace(
        g_tx=skipping(algorithm.g_tx), d_tx=skipping(algorithm.d_tx), loss_scaling=DYNAMIC
    )


def skipping(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx`, but an update by a gradient that is not finite is none; it moves the scale."""

    def init(params):
        return ScaledState(jnp.float32(FIRST), jnp.int32(0), tx.init(params))

    def update(gradient, state, params=None):
        finite = jnp.isfinite(optax.tree.norm(gradient))
        updates, inner = tx.update(gradient, state.inner, params)
        updates = jax.tree.map(lambda u: jnp.where(finite, u, jnp.zeros_like(u)), updates)
        inner = jax.tree.map(lambda new, old: jnp.where(finite, new, old), inner, state.inner)
        grows = state.since + 1 >= PERIOD
        grown = jnp.where(grows, jnp.minimum(2 * state.scale, MOST), state.scale)
        halved = jnp.where(state.scale > LEAST, state.scale / 2, jnp.nan)
        scale = jnp.where(finite, grown, halved)
        since = jnp.where(finite & ~grows, state.since + 1, 0)
        return updates, ScaledState(scale, since, inner)

    return optax.GradientTransformation(init, update)


def _unscale(gradient, state: ScaledState):
    # All of it NaN where any of it overflows: so its norm is, a metric not measured.
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)]
    factor = jnp.where(jnp.stack(leaves).all(), 1 / state.scale, jnp.nan)
    return jax.tree.map(lambda leaf: leaf * factor, gradient)


DYNAMIC = LossScaling(
    scale=lambda loss, state: loss * state.scale,
    unscale=_unscale,
    metrics=lambda player, state: {f"{player}_loss_scale": state.scale},
)
