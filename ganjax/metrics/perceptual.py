"""Perceptual diversity of a set of images, by a network's activations: small if modes collapse.

The distance is equation 1 of Zhang et al. 2018 (arXiv:1801.03924) with every weight 1: like LPIPS,
but without weights learnt from people's judgements and, above all, on another network. Its values
can be compared with one another, but not with any published LPIPS.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from ganjax.engine.meanings import Meaning
from ganjax.metrics.metric import Figure, Metric, Taken

# This is added to every norm, as in LPIPS.
EPSILON = 1e-10


class PerceptualDistance(Metric):
    """The mean perceptual distance of disjoint pairs of generated images."""

    name = "perceptual_distance"
    figures = (
        Figure(
            "perceptual_distance",
            Meaning(
                "the mean distance of pairs of samples in a network's activations",
                least=0,
                reading="far below that of real images where G collapses to a few modes",
            ),
        ),
    )
    needs = "distances"
    unbiased = True

    def measure(
        self, reference: Float[np.ndarray, " m"], fake: Float[np.ndarray, " n"]
    ) -> dict[str, float]:
        """Returns `perceptual_distance`, 0 or more: the mean of the fakes' distances."""
        del reference
        return {"perceptual_distance": float(np.mean(fake, dtype=np.float64))}

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns how images are paired."""
        return {"of": "disjoint pairs", "pairs": taken.fake // 2}


def distances(stages: Sequence[Float[Array, "_ _ _ _"]]) -> Float32[Array, " n"]:
    """Computes the distances between the images 0 and 1, 2 and 3, and so on.

    In every stage each pixel's channels are divided by their norm; the squared differences are
    summed over the channels, averaged over the pixels, and summed over the stages. Each stage thus
    adds between 0 and 4, or between 0 and 2 after a ReLU.

    Args:
      stages: activations of a network for 2 n images, (2 n, H, W, C) each.
    """
    total, *others = (_distances_in_stage(stage) for stage in stages)
    for other in others:
        total += other
    return total


def _distances_in_stage(x):
    x = x.astype(jnp.float32)
    x = x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + EPSILON)
    x = x.reshape(-1, 2, *x.shape[1:])
    return jnp.mean(jnp.sum(jnp.square(x[:, 0] - x[:, 1]), axis=-1), axis=(1, 2))
