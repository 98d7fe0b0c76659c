"""How unlike the images of a set are, as a network sees them: small where modes collapse.

Zhang et al. 2018 (arXiv:1801.03924), equation 1, with every weight 1: like LPIPS, but without
the weights that were learnt from people's judgements and, above all, on another network. Its
values compare with each other, and with no published LPIPS.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

# As LPIPS has it, below any norm.
EPSILON = 1e-10


def distances(stages: Sequence[jax.Array]) -> jax.Array:
    """Of the images 0 and 1, 2 and 3, and so on.

    In every stage each pixel's channels are divided by their norm; the squared differences are
    added up over the channels, averaged over the pixels, and added up over the stages. So each
    stage gives between 0 and 4; between 0 and 2 after a ReLU.

    Args:
      stages: float (2 N, H, W, C) activations each.

    Returns:
      float32 (N,).
    """
    return sum(_of_stage(stage) for stage in stages)


def _of_stage(x):
    x = x.astype(jnp.float32)
    x = x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + EPSILON)
    x = x.reshape(-1, 2, *x.shape[1:])
    return jnp.mean(jnp.sum(jnp.square(x[:, 0] - x[:, 1]), axis=-1), axis=(1, 2))
