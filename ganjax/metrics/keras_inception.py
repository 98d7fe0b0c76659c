"""Keras' Inception v3 at 75 pixels: the network of KIDs in Keras' examples.

Szegedy et al. 2016 (arXiv:1512.00567), trained on ImageNet, without its classes. Its figures
compare with those of https://keras.io/examples/generative/gan_ada/ and with no others. The weights
are TensorFlow's (Apache-2.0), converted for Keras.

It is the usual Inception v3, which in its last block has an average pool where FID's has a max
pool. At 75 pixels that pool is of a single pixel, so that the layers of both are the same.
"""

import re

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from ganjax.metrics import hdf5, inception, resize
from ganjax.metrics.layers import Activations, Network, Params, fold
from ganjax.metrics.weights import File, WeightsError

FILE = File(
    name="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    hash="bcbd6486424b2319ff4ef7d526e38f63",
    algorithm="md5",
    urls=(
        "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    read=hdf5.read,
    requires=hdf5.MODULE,
)
# The least that fits the network, which is what the example takes.
SIZE = 75
RESIZE = f"bilinear of TensorFlow 2 (no antialiasing) to {SIZE}x{SIZE}"

_STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")
_DOUBLE = ("branch3x3dbl_1", "branch3x3dbl_2")
_SEVEN = ("branch7x7_1", "branch7x7_2", "branch7x7_3")
_DOUBLE_SEVEN = tuple(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5))
_BLOCKS = (
    (
        ("5b", "5c", "5d"),
        ("branch1x1", "branch5x5_1", "branch5x5_2", *_DOUBLE, "branch3x3dbl_3", "branch_pool"),
    ),
    (("6a",), ("branch3x3", *_DOUBLE, "branch3x3dbl_3")),
    (("6b", "6c", "6d", "6e"), ("branch1x1", *_SEVEN, *_DOUBLE_SEVEN, "branch_pool")),
    (("7a",), ("branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4)))),
    (
        ("7b", "7c"),
        (
            *("branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b"),
            *(*_DOUBLE, "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"),
        ),
    ),
)
# The names that `ganjax.metrics.inception.layers` has for the convolutions, in the order in which
# Keras makes and numbers them.
CONVOLUTIONS = (
    *(f"Conv2d_{name}" for name in _STEM),
    *(f"Mixed_{block}.{name}" for blocks, names in _BLOCKS for block in blocks for name in names),
)


def make_params(tensors: dict[str, np.ndarray]) -> Params:
    """Converts tensors of Keras to the parameters of `apply`.

    Args:
      tensors: the kernels and the BatchNorms' beta, moving_mean and moving_variance by the names of
        `ganjax.metrics.hdf5.read`. Keras numbers layers in the order in which it made them.

    Raises:
      WeightsError: there are not as many layers as the network has.
    """
    convs, norms = (_numbered(tensors, kind) for kind in ("conv2d", "batch_normalization"))
    if not len(convs) == len(norms) == len(CONVOLUTIONS):
        raise WeightsError(
            f"the weights {FILE.name} have {len(convs)} convolutions and {len(norms)} BatchNorms, "
            f"not {len(CONVOLUTIONS)} each"
        )
    statistics = ("beta", "moving_mean", "moving_variance")
    return {
        name: fold(
            tensors[f"{conv}/kernel"], *(tensors[f"{norm}/{statistic}"] for statistic in statistics)
        )
        for name, conv, norm in zip(CONVOLUTIONS, convs, norms, strict=True)
    }


def _numbered(tensors: dict[str, np.ndarray], kind: str) -> list[str]:
    """Returns the names of the layers of a kind, in the order of their numbers.

    Keras numbers them from 1, or in other versions gives the first one no number.
    """
    layers = {name.partition("/")[0] for name in tensors}
    numbers = {
        name: int(match[1] or 0)
        for name in layers
        if (match := re.fullmatch(rf"{kind}(?:_(\d+))?", name))
    }
    return sorted(numbers, key=numbers.__getitem__)


def prepare(images: UInt8[Array, "n h w 3"]) -> Float32[Array, "n s s 3"]:
    """Resizes images as Keras does, and scales them to [-1, 1]."""
    return resize.tf2_bilinear(images.astype(jnp.float32), SIZE) / 127.5 - 1


def apply(params: Params, x: Float32[Array, "n h w 3"]) -> Activations:
    """Runs the network.

    Args:
      params: the parameters, from `make_params`.
      x: images in [-1, 1], of 75 pixels a side.

    Returns:
      2048 features, no logits, and the last activations at each of five sizes.
    """
    stages = inception.layers(params, x)
    return Activations(jnp.mean(stages[-1], axis=(1, 2)), None, stages)


NETWORK = Network(FILE, make_params, prepare, apply, inception.DIMENSION, RESIZE, has_classes=False)
