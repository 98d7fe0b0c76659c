"""A classifier of handwritten digits, for samples that resemble MNIST, grey or stacked in RGB.

It reads every channel for itself: the classes of a grey image are its ten digits, those of an RGB
image the 1,000 modes of Stacked MNIST (Metz et al. 2017, arXiv:1611.02163, section 3.3.1), which
are the digits of its channels read as a number. `python -m experiments.digit_classifier` trained it
on the training split of `embedded:mnist5k` and measures its accuracy (docs/metrics.md).
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from ganjax.metrics import resize
from ganjax.metrics.layers import Activations, Network, Params, conv, matmul
from ganjax.metrics.weights import File

# The side in pixels of the images that it was trained on, and of MNIST's own.
SIZE, MNIST_SIZE = 32, 28
RESIZE = (
    f"none at {SIZE}x{SIZE}; a black border to that at {MNIST_SIZE}x{MNIST_SIZE}; else bicubic "
    f"with antialiasing to {SIZE}x{SIZE}"
)
# The convolutions, each of stride 2: (window, channels); then a hidden layer.
CONVOLUTIONS = ((5, 16), (3, 32), (3, 64))
DIMENSION = 128
DIGITS = 10


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads the weights, by name, from an .npz file of float16 arrays: float32."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


FILE = File(
    name="digits.npz",
    hash="c8ffbb01bf1d6bebf00e10cb48ff49e39c502169562b97998d98bb7cdfa1c187",
    package=("ganjax", "metrics/digits.npz"),
    read=read,
)


def make_params(tensors: dict[str, np.ndarray]) -> Params:
    """Converts "<layer>.kernel" and "<layer>.bias" to the parameters of `apply`."""
    layers = sorted({name.split(".")[0] for name in tensors})
    return {
        layer: {part: tensors[f"{layer}.{part}"] for part in ("kernel", "bias")} for layer in layers
    }


def prepare(images: UInt8[Array, "n h w c"]) -> Float32[Array, "n 32 32 c"]:
    """Brings images in [0, 255], white on black, to `SIZE` pixels a side and to [0, 1]."""
    x = images.astype(jnp.float32)
    if x.shape[1:3] == (MNIST_SIZE, MNIST_SIZE):
        margin = (SIZE - MNIST_SIZE) // 2
        x = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    elif x.shape[1:3] != (SIZE, SIZE):
        x = resize.clean(x, SIZE)
    return x / 255


def apply(params: Params, x: Float32[Array, "n 32 32 c"]) -> Activations:
    """Runs the network on every channel of images from `prepare`.

    Args:
      params: the parameters, from `make_params`.
      x: images in [0, 1].

    Returns:
      `DIMENSION` features of each channel, one after the other; the logarithms of the probabilities
      of the 10 to the power of C classes; and the convolutions' outputs, the channels in one axis.
    """
    n, height, width, channels = x.shape
    x = jnp.moveaxis(x, -1, 1).reshape(n * channels, height, width, 1)
    stages = []
    for i in range(len(CONVOLUTIONS)):
        x = jax.nn.relu(conv(x, params[f"conv{i}"], stride=2))
        each = x.reshape(n, channels, *x.shape[1:])
        stages.append(jnp.moveaxis(each, 1, -2).reshape(n, *x.shape[1:3], -1))
    hidden = jax.nn.relu(_dense(x.reshape(len(x), -1), params["hidden"]))
    digits = jax.nn.log_softmax(_dense(hidden, params["classes"])).reshape(n, channels, DIGITS)
    logits = digits[:, 0]
    for channel in range(1, channels):
        logits = (logits[:, :, None] + digits[:, channel, None]).reshape(n, -1)
    return Activations(hidden.reshape(n, -1), logits, tuple(stages))


def _dense(x, layer):
    return matmul(x, layer["kernel"]) + layer["bias"][None]


NETWORK = Network(FILE, make_params, prepare, apply, DIMENSION, RESIZE, by_channel=True)
