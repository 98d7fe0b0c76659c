"""Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957), as a function of parameters.

A network's parameters go in and come out, each kernel divided by its largest singular value;
so it works on any network, and once for all passes of an update. The power iteration's
vectors are a Flax collection, `COLLECTION`, beside the network's own.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from ganjax.keys import fold

COLLECTION = "spectral"
# Biases and the scales of BatchNorm are left alone.
NORMALISED = ("kernel", "embedding")
EPS = 1e-12


def init(params: dict, key: jax.Array) -> dict[str, jax.Array]:
    """A random unit vector (O,) for each kernel (..., O), by its path in params."""
    return {
        path: _unit(jax.random.normal(fold(key, path), kernel.shape[-1:], kernel.dtype))
        for path, kernel in _kernels(params).items()
    }


def normalise(params: dict, vectors: dict[str, jax.Array]) -> tuple[dict, dict[str, jax.Array]]:
    """One power iteration, then every kernel over its estimated largest singular value.

    A kernel (..., O) is the matrix (..., O) of its last axis. That of a transposed convolution is
    (H, W, out, in), so its matrix is that of the convolution whose gradient it is, (H W out, in);
    torch takes (H W in, out) instead, of which sigma is another number.

    The gradient flows through the kernel, in the quotient and in sigma = v^T W u, but not
    through the vectors (section 2.1 and appendix A), as in `torch.nn.utils.spectral_norm`.

    Args:
      params: of a network.
      vectors: of `init` or of the last call.

    Returns:
      The normalised parameters and the new vectors.
    """
    flat, moved = flatten_dict(params, sep="/"), {}
    for path, kernel in _kernels(params).items():
        matrix = kernel.reshape(-1, kernel.shape[-1])
        fixed = jax.lax.stop_gradient(matrix)
        v = _unit(_product(fixed, jax.lax.stop_gradient(vectors[path])))
        moved[path] = u = _unit(_product(v, fixed))
        flat[path] = kernel / _product(v, _product(matrix, u))
    return unflatten_dict(flat, sep="/"), moved


def _kernels(params: dict) -> dict[str, jax.Array]:
    flat = flatten_dict(params, sep="/")
    return {path: leaf for path, leaf in flat.items() if path.rsplit("/", 1)[-1] in NORMALISED}


# GPUs and TPUs would round to TF32 and bfloat16 what D's Lipschitz bound hangs on.
_product = partial(jnp.matmul, precision="highest")


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), EPS)
