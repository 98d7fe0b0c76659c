"""The Inception network of FID: Inception v3 as in TensorFlow's graph of 2015-12-05.

The architecture is that of Szegedy et al. 2016 (arXiv:1512.00567) with the peculiarities of that
graph: 1008 classes, average pools that leave the padding out, a max pool in the last block, and
Inception Scores from logits without their bias. Published FIDs are those of this network; the
weights are TensorFlow's (Apache-2.0), converted to PyTorch's format.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, UInt8

from ganjax.metrics import resize
from ganjax.metrics.layers import Activations, Network, Params, conv, dense, folded, matmul
from ganjax.metrics.weights import File

FILE = File(
    name="pt_inception-2015-12-05-6726825d.pth",
    hash="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    urls=(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
    ),
)
DIMENSION = 2048
SIZE = 299
RESIZE = f"bilinear of TensorFlow 1 (no antialiasing) to {SIZE}x{SIZE}"
RESIZE_CLEAN = f"bicubic with antialiasing (Pillow's, in float32) to {SIZE}x{SIZE}"


def make_params(tensors: dict[str, np.ndarray]) -> Params:
    """Converts the published tensors to the parameters of `apply`, by each layer's name."""
    convs = [name.removesuffix(".conv.weight") for name in tensors if name.endswith(".conv.weight")]
    params = {name: folded(tensors, f"{name}.conv", f"{name}.bn") for name in convs}
    return params | {"fc": dense(tensors, "fc")}


def prepare(images: UInt8[Array, "n h w 3"]) -> Float32[Array, "n s s 3"]:
    """Resizes images in [0, 255] as TensorFlow 1 did, and scales them as `apply` takes them."""
    return (resize.tf1_bilinear(images.astype(jnp.float32), SIZE) - 128) / 128


def prepare_clean(images: UInt8[Array, "n h w 3"]) -> Float32[Array, "n s s 3"]:
    """Does what `prepare` does, without aliasing (Parmar et al. 2022, arXiv:2104.11222)."""
    return (resize.clean(images.astype(jnp.float32), SIZE) - 128) / 128


def apply(params: Params, x: Float32[Array, "n h w 3"]) -> Activations:
    """Runs the network.

    Args:
      params: the parameters, from `make_params`.
      x: images, scaled from 0..255 by (x - 128) / 128. Figures are made at 299 pixels a side; the
        network needs at least 75.

    Returns:
      2048 features, 1008 logits without their bias, and the last activations at each of five
      sizes, from fine to coarse.
    """
    stages = layers(params, x)
    features = jnp.mean(stages[-1], axis=(1, 2))
    logits = matmul(features, params["fc"]["kernel"])
    return Activations(features, logits, stages)


def layers(params: Params, x: Float32[Array, "n h w 3"]) -> tuple[Float32[Array, "n _ _ _"], ...]:
    """Runs the network up to its last block.

    Args:
      params: the kernels and biases, by each convolution's name.
      x: images, scaled to about [-1, 1].

    Returns:
      The last activations at each of five sizes, from fine to coarse.
    """

    def unit(x, name, stride=1, padding="SAME"):
        return jax.nn.relu(conv(x, params[name], stride, padding))

    def chain(x, block, *names):
        for name in names:
            x = unit(x, f"{block}.{name}")
        return x

    def pooled(x, block):
        return unit(_average_pool(x), f"{block}.branch_pool")

    def block_a(x, block):
        return _joined(
            chain(x, block, "branch1x1"),
            chain(x, block, "branch5x5_1", "branch5x5_2"),
            chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            pooled(x, block),
        )

    def block_b(x, block):
        double = chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2")
        return _joined(
            unit(x, f"{block}.branch3x3", 2, "VALID"),
            unit(double, f"{block}.branch3x3dbl_3", 2, "VALID"),
            _max_pool(x, 2, "VALID"),
        )

    def block_c(x, block):
        return _joined(
            chain(x, block, "branch1x1"),
            chain(x, block, *(f"branch7x7_{i}" for i in (1, 2, 3))),
            chain(x, block, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5))),
            pooled(x, block),
        )

    def block_d(x, block):
        three = chain(x, block, "branch3x3_1")
        seven = chain(x, block, "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3")
        return _joined(
            unit(three, f"{block}.branch3x3_2", 2, "VALID"),
            unit(seven, f"{block}.branch7x7x3_4", 2, "VALID"),
            _max_pool(x, 2, "VALID"),
        )

    def block_e(x, block, pool):
        three = chain(x, block, "branch3x3_1")
        double = chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2")
        return _joined(
            chain(x, block, "branch1x1"),
            chain(three, block, "branch3x3_2a"),
            chain(three, block, "branch3x3_2b"),
            chain(double, block, "branch3x3dbl_3a"),
            chain(double, block, "branch3x3dbl_3b"),
            unit(pool(x), f"{block}.branch_pool"),
        )

    x = unit(x, "Conv2d_1a_3x3", 2, "VALID")
    x = unit(x, "Conv2d_2a_3x3", 1, "VALID")
    first = unit(x, "Conv2d_2b_3x3")
    x = unit(_max_pool(first, 2, "VALID"), "Conv2d_3b_1x1")
    second = unit(x, "Conv2d_4a_3x3", 1, "VALID")
    x = _max_pool(second, 2, "VALID")
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = block_a(x, name)
    third = x
    x = block_b(x, "Mixed_6a")
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = block_c(x, name)
    fourth = x
    x = block_d(x, "Mixed_7a")
    x = block_e(x, "Mixed_7b", _average_pool)
    x = block_e(x, "Mixed_7c", lambda x: _max_pool(x, 1, "SAME"))
    return first, second, third, fourth, x


def _joined(*branches):
    return jnp.concatenate(branches, axis=-1)


def _max_pool(x, stride, padding):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, stride, stride, 1), padding)


def _average_pool(x):
    """Averages 3x3 pixels, without counting the padding."""
    window = ((1, 3, 3, 1), (1, 1, 1, 1), "SAME")
    total = lax.reduce_window(x, 0.0, lax.add, *window)
    # The counts are computed in NumPy, so that they are a constant of the program.
    height, width = x.shape[1:3]
    padded = np.pad(np.ones((height, width), np.float32), 1)
    shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return total / np.sum(shifted, axis=0)[None, :, :, None]


NETWORK = Network(FILE, make_params, prepare, apply, DIMENSION, RESIZE)
NETWORK_CLEAN = NETWORK._replace(prepare=prepare_clean, resize=RESIZE_CLEAN)
