"""D's gradient with R1 and R2 in fewer passes, where D is homogeneous."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ganjax.algorithms.networks import Networks
from ganjax.engine.algorithm import (
    Batch,
    Context,
    Discriminate,
    DiscriminatorLoss,
    Metrics,
    Penalty,
    SharedGradient,
)
from ganjax.engine.schedules import Reals, number_at
from ganjax.objectives.homogeneous import linearise
from ganjax.objectives.penalties import half_mean_square


def shared_gradient(
    config: Any,
    networks: Networks,
    reals: Reals,
    of: tuple[Discriminate, DiscriminatorLoss, Penalty],
) -> SharedGradient | None:
    """Returns D's gradient by `linearise`, or None.

    It is None where D's passes are not those of `linearise`: where D is not homogeneous, is trained
    by other penalties or in half precision, or sees other images in its penalty than in its loss.

    Args:
      config: the checked config, a `ganjax.algorithms.gan.CommonConfig`.
      networks: the two networks as functions.
      reals: the number of reals that D has seen, for weights that are schedules.
      of: the functions whose gradient it is.
    """
    penalty, added = config.penalty, networks.d_fields.homogeneous_with
    if not (added and _shares_passes(config)):
        return None

    def gradient(
        params: PyTree, vars: PyTree, fake: Batch, context: Context
    ) -> tuple[PyTree, PyTree, Metrics]:
        def critic(params, images, label):
            return networks.discriminate(params, vars, images, label, context.key)[0]

        batches = {"r1": context.batch, "r2": fake}
        at = {
            name: linearise(critic, params, batch["image"], batch["label"], added)
            for name, batch in batches.items()
        }
        scores = tuple(each.scores for each in at.values())
        differentiated = jax.value_and_grad(of[1], has_aux=True)
        (loss, metrics), weights = differentiated(scores, context.named("d_loss"))
        total, gradients = loss, []
        for (name, each), weight in zip(at.items(), weights, strict=True):
            gamma = number_at(getattr(penalty, name), reals.at(context.step))
            metrics = {**metrics, name: half_mean_square(each.slopes)}
            total = total + gamma * metrics[name]
            gradients.append(each.gradient(weight, jnp.full_like(weight, gamma / len(weight))))
        return jax.tree.map(jnp.add, *gradients), vars, metrics | {"d_loss": total}

    return SharedGradient(gradient, of)


def _shares_passes(config: Any) -> bool:
    """Returns whether loss and penalties are functions of D's values and slopes at one batch."""
    penalty = config.penalty
    only_slopes = penalty.r1 and penalty.r2 and not (penalty.weight or penalty.difference)
    at_every_step = penalty.interval == 1
    same_images = config.d_batches == "separate" and config.augment.policy == "none"
    # What wraps D's functions or its blocks has them differentiated one by one.
    is_plain = config.precision != "float16" and not (config.san or config.remat)
    return bool(only_slopes and at_every_step and same_images and is_plain)
