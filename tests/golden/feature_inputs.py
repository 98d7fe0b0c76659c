"""The inputs that the golden scripts and the tests share. Nothing here needs PyTorch."""

import zlib
from importlib import resources

import numpy as np

IMAGES = (3, 700)


def images():
    """Returns two of the embedded emoji, uint8 (2, 64, 64, 3)."""
    path = resources.files("ganjax.data") / "embedded" / "emoji64.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        return arrays["image"][list(IMAGES)]


def random_tensors(shapes):
    """Returns a state dict of seeded random numbers, scaled such that activations keep their size.

    Args:
      shapes: the shape of each tensor by its name.
    """
    tensors = {}
    for name, shape in shapes.items():
        random = np.random.RandomState(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            tensors[name] = np.zeros(shape, np.int64)
            continue
        if name.endswith("running_var"):
            value = random.uniform(0.5, 1.5, shape)
        elif name.endswith("bn.weight"):
            value = random.uniform(0.8, 1.2, shape)
        elif len(shape) > 1:
            value = random.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            value = random.randn(*shape) * 0.1
        tensors[name] = value.astype(np.float32)
    return tensors


def random_keras_tensors(shapes):
    """Weights of Keras' layers by name, likewise; kernels are (h, w, I, O)."""
    tensors = {}
    for name, shape in shapes.items():
        random = np.random.RandomState(zlib.crc32(name.encode()))
        if name.endswith("moving_variance"):
            value = random.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            value = random.randn(*shape) * np.sqrt(2 / np.prod(shape[:-1]))
        else:
            value = random.randn(*shape) * 0.1
        tensors[name] = value.astype(np.float32)
    return tensors


def thinned(activation):
    """Returns a few pixels and channels of activations (N, H, W, C), (N, 2, 2, 8)."""
    _, height, width, channels = activation.shape
    rows, columns = [height // 3, height - 1], [0, width // 2]
    return activation[:, rows][:, :, columns][..., :: channels // 8][..., :8]


def features(seed, count=300, dimension=64):
    """Returns random features, float32 (count, dimension), correlated and not centred."""
    mixing = np.random.RandomState(0).randn(dimension, dimension) / np.sqrt(dimension)
    random = np.random.RandomState(seed)
    x = random.randn(count, dimension) @ mixing + 0.1 * seed
    return np.maximum(x, 0).astype(np.float32)


def logits(count=300, classes=20):
    """Returns random logits, float32 (count, classes)."""
    return (3 * np.random.RandomState(5).randn(count, classes)).astype(np.float32)
