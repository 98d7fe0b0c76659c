"""Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957), as a function of parameters.

`normalise` takes the parameters of any network and returns them with each kernel divided by its
largest singular value, once for all passes of an update. The vectors of the power iteration are the
Flax collection `COLLECTION`, next to the collections of the network itself.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from ganjax.keys import fold

COLLECTION = "spectral"
# The names of the parameters that are normalised; biases and BatchNorm's scales are not.
NORMALISED = ("kernel", "embedding")
EPS = 1e-12


def init(params: dict, key: jax.Array) -> dict[str, jax.Array]:
    """Draws a random unit vector (O,) for each kernel (..., O).

    Args:
      params: a network's parameters.
      key: a random key.

    Returns:
      The vectors by the kernels' paths in `params`.
    """
    return {
        path: _unit(jax.random.normal(fold(key, path), kernel.shape[-1:], kernel.dtype))
        for path, kernel in _kernels(params).items()
    }


def normalise(params: dict, vectors: dict[str, jax.Array]) -> tuple[dict, dict[str, jax.Array]]:
    """Takes a power iteration, then divides every kernel by its estimated largest singular value.

    A kernel (..., O) counts as a matrix with O columns. The kernel of a transposed convolution is
    (H, W, out, in), so that its matrix, (H W out, in), is that of the convolution whose gradient it
    is; PyTorch's is (H W in, out), with another sigma.

    The gradient flows through the kernel, in the quotient and in sigma = v^T W u, but not
    through the vectors (section 2.1 and appendix A), as in `torch.nn.utils.spectral_norm`.

    Args:
      params: a network's parameters.
      vectors: the vectors that `init` or the previous call returned.

    Returns:
      The normalised parameters and the new vectors.
    """
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    new_vectors = {}
    for path, kernel in _kernels(params).items():
        matrix = kernel.reshape(-1, kernel.shape[-1])
        constant = jax.lax.stop_gradient(matrix)
        v = _unit(_product(constant, jax.lax.stop_gradient(vectors[path])))
        new_vectors[path] = u = _unit(_product(v, constant))
        flat[path] = kernel / _product(v, _product(matrix, u))
    return unflatten_dict(flat, sep="/"), new_vectors


def _kernels(params: dict) -> dict[str, jax.Array]:
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    return {path: leaf for path, leaf in flat.items() if path.rsplit("/", 1)[-1] in NORMALISED}


# By default GPUs and TPUs round to TF32 and bfloat16, and D's Lipschitz bound rests on sigma.
_product = partial(jnp.matmul, precision="highest")


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), EPS)
