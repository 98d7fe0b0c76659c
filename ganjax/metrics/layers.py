"""Layers of the feature networks: convolutions with their BatchNorm folded in, and more."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, UInt8

from ganjax.metrics.weights import File

Params = dict[str, Any]
# The constant that all networks' BatchNorms add to variances.
EPSILON = 1e-3
# By default accelerators round factors to 10 bits or fewer, and figures would depend on them.
PRECISION = lax.Precision.HIGHEST


class Activations(NamedTuple):
    """The outputs of a feature network. Under jit, those that are not used are not computed.

    Attributes:
      features: the last layer's activations, averaged over its pixels.
      logits: the logits of the classes; None of a network whose weights have none.
      stages: the activations (n, H, W, C) of several layers, from fine to coarse.
    """

    features: Float32[Array, "n d"]
    logits: Float32[Array, "n k"] | None
    stages: tuple[Float32[Array, "n _ _ _"], ...]


class Network(NamedTuple):
    """A feature network, and how images are resized for it.

    Attributes:
      file: the published weights.
      make_params: converts the published tensors, by name, to parameters.
      prepare: resizes and scales images in [0, 255] for `apply`.
      apply: runs the network.
      dimension: the number of features.
      resize: a description of how `prepare` resizes, for the record of a measurement.
      has_classes: whether `apply` gives logits.
      by_channel: whether it looks at each channel for itself; otherwise grey images are given to
        it as RGB.
    """

    file: File
    make_params: Callable[[dict[str, np.ndarray]], Params]
    prepare: Callable[[UInt8[Array, "n h w 3"]], Float32[Array, "n s s 3"]]
    apply: Callable[[Params, Float32[Array, "n h w 3"]], Activations]
    dimension: int
    resize: str
    has_classes: bool = True
    by_channel: bool = False


def folded(tensors: dict[str, np.ndarray], conv: str, norm: str) -> dict[str, np.ndarray]:
    """Folds a BatchNorm of PyTorch into the convolution before it, by `fold`.

    Args:
      tensors: a PyTorch state dict.
      conv: the convolution's name in it; its weight is (O, I, h, w).
      norm: the BatchNorm's name in it.
    """
    weight, *statistics = (
        tensors[name]
        for name in (
            f"{conv}.weight",
            f"{norm}.bias",
            f"{norm}.running_mean",
            f"{norm}.running_var",
            f"{norm}.weight",
        )
    )
    return fold(weight.transpose(2, 3, 1, 0), *statistics)


def fold(
    kernel: np.ndarray,
    shift: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray | float = 1.0,
) -> dict[str, np.ndarray]:
    """Folds a BatchNorm in inference into the convolution before it, which gets a bias.

    Args:
      kernel: (h, w, I, O), the convolution's.
      shift: (O,), what the BatchNorm adds.
      mean: (O,), its running average of means.
      variance: (O,), its running average of variances.
      scale: (O,), what it multiplies by.

    Returns:
      "kernel" (h, w, I, O) and "bias" (O,), float32.
    """
    factor = np.asarray(scale, np.float64) / np.sqrt(variance.astype(np.float64) + EPSILON)
    return {
        "kernel": np.ascontiguousarray(kernel * factor, np.float32),
        "bias": (shift - mean * factor).astype(np.float32),
    }


def dense(tensors: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Converts a dense layer of a PyTorch state dict to "kernel" (I, O) and "bias" (O,)."""
    return {
        "kernel": np.ascontiguousarray(tensors[f"{name}.weight"].T),
        "bias": tensors[f"{name}.bias"],
    }


def matmul(x: Float[Array, "n i"], kernel: Float[Array, "i o"]) -> Float[Array, "n o"]:
    """Multiplies matrices in float32 precision on every device."""
    return jnp.matmul(x, kernel, precision=PRECISION)


def conv(
    x: Float[Array, "n _ _ _"], layer: Params, stride: int = 1, padding: str = "SAME"
) -> Float[Array, "n _ _ _"]:
    """Applies a convolution and its bias, without an activation.

    Args:
      x: the input, channels last.
      layer: "kernel" (h, w, I, O) and "bias" (O,).
      stride: the stride along both axes.
      padding: "SAME" or "VALID".
    """
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


def depthwise(x: Float[Array, "n _ _ c"], layer: Params, stride: int) -> Float[Array, "n _ _ c"]:
    """Applies a depthwise convolution of stride 1 or 2, padded as SAME, and its bias.

    It is written as a sum of shifted images, which XLA fuses into one loop that is faster on CPUs
    than its grouped convolution (docs/metrics.md).

    Args:
      x: the input.
      layer: "kernel" (h, w, C) and "bias" (C,).
      stride: the stride along both axes.
    """
    kernel = layer["kernel"]
    (height, width), window = x.shape[1:3], kernel.shape[:2]
    pads = lax.padtype_to_pads((height, width), window, (stride, stride), "SAME")
    # Numbers of rows and columns that the stride divides can be cut into blocks below.
    pads = [
        (low, high + (n + low + high) % stride)
        for n, (low, high) in zip(x.shape[1:3], pads, strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = -(-height // stride), -(-width // stride)
    n, h, w, c = x.shape
    # Blocks of stride x stride pixels become one pixel: then every shift is a plain slice.
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


def bias(layer: Params) -> Float[Array, "1 1 1 o"]:
    """Returns a layer's bias in the shape in which it is added to activations."""
    return layer["bias"][None, None, None]
