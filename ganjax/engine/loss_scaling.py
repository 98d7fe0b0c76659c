"""Dynamic loss scaling for float16.

In float16 a gradient below 6e-8 is 0. So the loss is multiplied by a scale before it is
differentiated, and the gradient, in float32, is divided by the scale. When the gradient overflows,
its update is skipped and the scale is halved; after 2,000 updates without an overflow the scale is
doubled (Micikevicius et al. 2017, arXiv:1710.03740, section 3.2; the numbers are those of
DeepMind's jmp). Each player has a scale of its own, in the state of its optimiser.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from ganjax.engine.algorithm import Algorithm, Metrics
from ganjax.engine.meanings import Meaning

INITIAL_SCALE = 2.0**15
GROWTH_INTERVAL = 2_000
# The scale grows no further, so that sums of gradients in float32 stay finite.
MAX_SCALE = 2.0**24
# A gradient that overflows even at this scale is not finite by itself: the run has diverged.
MIN_SCALE = 2.0**-14

MEANINGS = {
    f"{player}_loss_scale": Meaning(
        f"the factor of {player.upper()}'s loss in float16",
        least=MIN_SCALE,
        most=MAX_SCALE,
        reading=f"it halves when a gradient overflows and doubles after {GROWTH_INTERVAL:,} "
        "updates without; a fall without end says that gradients are not finite by themselves",
    )
    for player in "dg"
}


class ScaledState(NamedTuple):
    """The state of an optimiser whose gradients come from scaled losses.

    Attributes:
      scale: the scale of the loss, a float32 scalar. Instead of falling below MIN_SCALE it becomes
        NaN, so that no checkpoint is written.
      since: the number of updates since the scale last changed, an int32 scalar.
      inner: the state of the optimiser itself.
    """

    scale: jax.Array
    since: jax.Array
    inner: PyTree


def scaled(algorithm: Algorithm) -> Algorithm:
    """Returns the algorithm with scaled losses and the metrics d_loss_scale and g_loss_scale."""
    return algorithm._replace(
        g_tx=skipping(algorithm.g_tx),
        d_tx=skipping(algorithm.d_tx),
        loss_scaling=DYNAMIC,
        last_values=(*algorithm.last_values, "d_loss_scale", "g_loss_scale"),
    )


def skipping(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Returns an optimiser that skips non-finite gradients and adapts a loss scale.

    Args:
      tx: the optimiser of finite gradients.

    Returns:
      A transformation whose state is a `ScaledState`.
    """

    def init(params):
        return ScaledState(jnp.float32(INITIAL_SCALE), jnp.int32(0), tx.init(params))

    def update(updates, state, params=None):
        finite = jnp.isfinite(optax.tree.norm(updates))
        updates, inner = tx.update(updates, state.inner, params)
        updates = jax.tree.map(lambda u: jnp.where(finite, u, jnp.zeros_like(u)), updates)
        inner = jax.tree.map(lambda new, old: jnp.where(finite, new, old), inner, state.inner)
        grows = state.since + 1 >= GROWTH_INTERVAL
        grown = jnp.where(grows, jnp.minimum(2 * state.scale, MAX_SCALE), state.scale)
        halved = jnp.where(state.scale > MIN_SCALE, state.scale / 2, jnp.nan)
        scale = jnp.where(finite, grown, halved)
        since = jnp.where(finite & ~grows, state.since + 1, 0)
        return updates, ScaledState(scale, since, inner)

    return optax.GradientTransformation(init, update)


class DynamicLossScaling:
    """The `LossScaling` of players whose optimisers come from `skipping`."""

    def scale(self, loss: Float[Array, ""], opt_state: ScaledState) -> Float[Array, ""]:
        """Returns the loss times the player's scale."""
        return loss * opt_state.scale

    def unscale(self, gradient: PyTree, opt_state: ScaledState) -> PyTree:
        """Returns the gradient divided by the scale, or NaN throughout if any of it overflowed."""
        # Its norm is then NaN too, which marks a metric as not measured in this step.
        leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)]
        factor = jnp.where(jnp.stack(leaves).all(), 1 / opt_state.scale, jnp.nan)
        return jax.tree.map(lambda leaf: leaf * factor, gradient)

    def metrics(self, player: str, opt_state: ScaledState) -> Metrics:
        """Returns a player's scale as the metric d_loss_scale or g_loss_scale."""
        return {f"{player}_loss_scale": opt_state.scale}


DYNAMIC = DynamicLossScaling()
