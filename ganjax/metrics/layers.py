"""What the feature networks share: convolutions with their BatchNorm folded in, and stages."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Params = dict[str, Any]
# Of both networks' BatchNorms.
EPSILON = 1e-3
# Accelerators would round factors to 10 bits or fewer, and figures would depend on the machine.
PRECISION = lax.Precision.HIGHEST


class Activations(NamedTuple):
    """What a feature network makes of images; what is not used is not computed under jit.

    Attributes:
      features: float32 (N, D), the averages over the last layer's pixels.
      logits: float32 (N, K), of the classes.
      stages: float32 (N, H, W, C) each, from fine to coarse.
    """

    features: jax.Array
    logits: jax.Array
    stages: tuple[jax.Array, ...]


def folded(tensors: dict[str, np.ndarray], conv: str, norm: str) -> dict[str, np.ndarray]:
    """A convolution and the BatchNorm behind it as one convolution with a bias.

    Args:
      tensors: of a PyTorch state dict.
      conv: the convolution's name there; its weight is (O, I, h, w).
      norm: the BatchNorm's.

    Returns:
      "kernel" (h, w, I, O) and "bias" (O,), float32.
    """
    weight, scale, shift, mean, variance = (
        tensors[name].astype(np.float64)
        for name in (
            f"{conv}.weight",
            f"{norm}.weight",
            f"{norm}.bias",
            f"{norm}.running_mean",
            f"{norm}.running_var",
        )
    )
    factor = scale / np.sqrt(variance + EPSILON)
    kernel = (weight * factor[:, None, None, None]).transpose(2, 3, 1, 0)
    return {
        "kernel": np.ascontiguousarray(kernel, np.float32),
        "bias": (shift - mean * factor).astype(np.float32),
    }


def dense(tensors: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """A dense layer of a PyTorch state dict: "kernel" (I, O) and "bias" (O,)."""
    return {
        "kernel": np.ascontiguousarray(tensors[f"{name}.weight"].T),
        "bias": tensors[f"{name}.bias"],
    }


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(N, I), (I, O) -> (N, O)."""
    return jnp.matmul(x, kernel, precision=PRECISION)


def conv(x: jax.Array, layer: Params, stride: int = 1, padding="SAME") -> jax.Array:
    """(N, H, W, I) -> (N, H', W', O), with the bias; no activation."""
    kernel = layer["kernel"]
    if kernel.shape[:2] == (1, 1):
        y = jnp.einsum("nhwi,io->nhwo", x, kernel[0, 0], precision=PRECISION)
    else:
        y = lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=PRECISION,
        )
    return y + bias(layer)


def depthwise(x: jax.Array, layer: Params, stride: int) -> jax.Array:
    """(N, H, W, C) -> (N, H / stride, W / stride, C), SAME, stride 1 or 2, with the bias.

    A sum of shifted images: one loop for XLA, five times as fast on CPUs as its grouped
    convolution.
    """
    kernel = layer["kernel"]
    (height, width), window = x.shape[1:3], kernel.shape[:2]
    pads = lax.padtype_to_pads((height, width), window, (stride, stride), "SAME")
    # An even number of rows and columns, for the cut into 2 x 2 below.
    pads = [
        (low, high + (n + low + high) % stride)
        for n, (low, high) in zip(x.shape[1:3], pads, strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = -(-height // stride), -(-width // stride)
    n, h, w, c = x.shape
    # Pixels of one stride by one stride become one: then every shift is a plain slice.
    x = x.reshape(n, h // stride, stride, w // stride, stride * c)
    terms = [
        x[
            :,
            i // stride : i // stride + rows,
            i % stride,
            j // stride : j // stride + columns,
            j % stride * c : (j % stride + 1) * c,
        ]
        * kernel[i, j][None, None, None]
        for i in range(window[0])
        for j in range(window[1])
    ]
    return sum(terms) + bias(layer)


def bias(layer: Params) -> jax.Array:
    """(1, 1, 1, O)."""
    return layer["bias"][None, None, None]
