"""The slicing adversarial network: D's last layer is a unit direction with an objective of its own.

SAN (Takida et al. 2023, arXiv:2301.12811) reads D's score as the scale times <w, h>, the features h
along a unit direction w. Any loss trains the features, with the direction held fixed; the direction
is trained, with the features held fixed, by the Wasserstein form mean <w, h(fake)> -
mean <w, h(real)>, so that it is the one along which the features differ most.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, PyTree

from ganjax.config import ConfigError, Fields
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.meanings import Meaning
from ganjax.objectives.losses import wasserstein_d

Kernel = Float[Array, "..."]

MEANINGS = {
    "d_direction_loss": Meaning(
        "the loss of the direction of D's last layer, mean D(fake) - mean D(real)",
        reading="negative where the direction tells reals from fakes",
    )
}


class SlicingGroup(Fields):
    """The fields of algorithms that `with_slicing` may change.

    Attributes:
      san: whether D is that of a slicing adversarial network (Takida et al. 2023), whose last layer
        learns its direction by a loss of its own; any other loss trains the rest.
    """

    san: bool = False


def for_features(kernel: Kernel) -> Kernel:
    """Returns a last layer's kernel whose gradient is that of its scale, its norm, alone."""
    scale = jnp.linalg.norm(kernel)
    return scale * jax.lax.stop_gradient(kernel / scale)


def for_direction(kernel: Kernel) -> Kernel:
    """Returns a last layer's kernel whose gradient is that of its unit direction alone."""
    scale = jnp.linalg.norm(kernel)
    return jax.lax.stop_gradient(scale) * (kernel / scale)


def with_slicing(algorithm: Algorithm) -> Algorithm:
    """Returns an algorithm whose D learns its last layer's direction apart from its features.

    The direction's loss is added to D's, with the metric d_direction_loss. Penalties train the
    features. Scores are those of reals, those of fakes, and the pair of both that trains the
    direction.

    Args:
      algorithm: an algorithm without augmentation, which `with_augmentation` adds afterwards.

    Raises:
      ConfigError: D has not just one layer of one output.
    """
    (_, _), (params, _) = jax.eval_shape(algorithm.init, jax.random.key(0))
    path = _last_kernel(params)

    def features(params: PyTree) -> PyTree:
        flat: Any = flatten_dict(params)
        return unflatten_dict(flat | {path: for_features(flat[path])})

    def direction(params: PyTree) -> PyTree:
        flat: Any = flatten_dict(params)
        held: Any = jax.lax.stop_gradient(flat)
        return unflatten_dict(held | {path: for_direction(flat[path])})

    def discriminate(params, vars, fake, context):
        # The two passes are equal in value, so the compiler makes one of them.
        (real, fake_scores), new_vars = algorithm.discriminate(
            features(params), vars, fake, context
        )
        held = jax.lax.stop_gradient(fake)
        along, _ = algorithm.discriminate(direction(params), vars, held, context)
        return (real, fake_scores, along), new_vars

    def d_loss(scores, context):
        *scores, along = scores
        value, metrics = algorithm.d_loss(scores, context)
        of_direction = wasserstein_d(*along)
        return value + of_direction, {**metrics, "d_direction_loss": of_direction}

    def g_loss(scores, context):
        return algorithm.g_loss(scores[:2], context)

    def penalty(params, vars, fake, context):
        return algorithm.penalty(features(params), vars, fake, context)

    return algorithm._replace(
        discriminate=discriminate,
        d_loss=d_loss,
        g_loss=g_loss,
        penalty=penalty,
        meanings={**algorithm.meanings, **MEANINGS},
    )


def _last_kernel(params: PyTree) -> tuple[str, ...]:
    """Returns the path of the one kernel with a single output, D's last."""
    flat: Any = flatten_dict(params)
    found = [path for path, leaf in flat.items() if path[-1] == "kernel" and leaf.shape[-1] == 1]
    if len(found) == 1:
        return found[0]
    raise ConfigError(
        f"config.san=True: {len(found)} layers of the discriminator have one output, and the last "
        "one cannot be told; set False, or widths above 1"
    )
