"""The shipped classifier of digits as a function, for samples of generators."""

from functools import cache, partial

import jax
import numpy as np

from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.metrics import digits as network
from ganjax.metrics import features

CHUNK = 250


def digits(split: str, size: int = network.SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, uint8 (N, size, size, 1), and labels (N,) of a split of mnist5k."""
    fit = "resize" if size < network.MNIST_SIZE else "pad"
    digits = {"label": "label", "num_classes": 10, "channels": 1, "fit": fit}
    data = DataFields(source="embedded:mnist5k", **digits)
    source = open_source(data, split, image_size=size)
    batch = source.fetch(np.arange(source.size))
    return batch["image"], batch["label"]


@cache
def _compiled():
    run = jax.jit(lambda params, images: network.apply(params, network.prepare(images)).logits)
    return partial(run, features.load("digits"))


def classify(images: np.ndarray) -> np.ndarray:
    """Returns the class of each image, uint8 (N, H, W, C): its digit if it is grey."""
    padded = np.pad(images, ((0, -len(images) % CHUNK), (0, 0), (0, 0), (0, 0)))
    logits = [_compiled()(chunk) for chunk in np.split(padded, len(padded) // CHUNK)]
    return np.argmax(np.concatenate(logits), axis=-1)[: len(images)]
