"""Trains the classifier of digits that `ganjax.metrics.digits` ships, and measures its accuracy.

    python -m experiments.digit_classifier --out=digits.npz

It learns from the training split of `embedded:mnist5k` alone, on augmented images; what is written
is the average of its weights over the last steps, as float16.
"""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Int, UInt8

from experiments.tools import arguments
from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.metrics import digits
from ganjax.metrics.layers import Params
from ganjax.runtime import storage

EPOCHS = 60
BATCH = 100
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 1e-2
LABEL_SMOOTHING = 0.05
# The decay of the weights' average, which is over some two epochs.
AVERAGE = 0.99


def load(split: str) -> tuple[UInt8[np.ndarray, "n 32 32 1"], Int[np.ndarray, " n"]]:
    """Returns the images and labels of a split of mnist5k."""
    data = DataFields.model_validate(
        {
            "source": "embedded:mnist5k",
            "label": "label",
            "num_classes": 10,
            "channels": 1,
            "fit": "pad",
        }
    )
    source = open_source(data, split, image_size=digits.SIZE)
    batch = source.fetch(np.arange(source.size))
    return batch["image"], batch["label"]


def init(key: jax.Array) -> Params:
    """Draws kernels from N(0, 2 / fan_in); biases are 0."""
    sizes, channels, side = {}, 1, digits.SIZE
    for i, (window, width) in enumerate(digits.CONVOLUTIONS):
        sizes[f"conv{i}"] = (window, window, channels, width)
        channels, side = width, side // 2
    sizes["hidden"] = (side * side * channels, digits.DIMENSION)
    sizes["classes"] = (digits.DIMENSION, digits.DIGITS)

    keys = jax.random.split(key, len(sizes))
    return {
        name: {
            "kernel": np.sqrt(2 / np.prod(shape[:-1])) * jax.random.normal(each, shape),
            "bias": jnp.zeros(shape[-1]),
        }
        for each, (name, shape) in zip(keys, sizes.items(), strict=True)
    }


def train(epochs: int = EPOCHS, seed: int = 0) -> Params:
    """Trains the classifier and returns the average of its weights.

    Args:
      epochs: the number of passes over the training images.
      seed: the seed of the initialisation, the order and the augmentation.
    """
    images, labels = load("train")
    random = np.random.RandomState(seed)
    steps = len(images) // BATCH
    schedule = optax.cosine_onecycle_schedule(epochs * steps, peak_value=LEARNING_RATE)
    optimizer = optax.adamw(schedule, weight_decay=WEIGHT_DECAY)
    params = jax.jit(init)(jax.random.key(seed))
    state, average = jax.jit(optimizer.init)(params), params

    @jax.jit
    def step(params, state, average, image, label):
        def loss(params):
            target = optax.smooth_labels(jax.nn.one_hot(label, digits.DIGITS), LABEL_SMOOTHING)
            logits = digits.apply(params, image).logits
            assert logits is not None  # As some networks have none.
            return optax.softmax_cross_entropy(logits, target).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        return params, state, optax.incremental_update(params, average, 1 - AVERAGE)

    for epoch in range(epochs):
        # Augmenting takes half as long as the steps of an epoch, so its result serves two epochs.
        if epoch % 2 == 0:
            shown = augment(images, random)
        for rows in random.permutation(len(images))[: steps * BATCH].reshape(steps, BATCH):
            params, state, average = step(params, state, average, shown[rows], labels[rows])
    return jax.device_get(average)


def augment(images: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Moves, blurs, pales and adds noise to images: uint8 (N, S, S, 1) to float32 in [0, 1].

    Generated strokes are blurrier, noisier and paler than MNIST's.
    """
    n = len(images)
    per_image = lambda low, high: random.uniform(low, high, (n, 1, 1)).astype(np.float32)  # noqa: E731
    x = _moved(images[..., 0].astype(np.float32) / 255, per_image)
    # The filter [w, 1 - 2w, w] along both axes, from none to the 3x3 mean.
    for axis in (1, 2):
        weight = per_image(-1 / 3, 1 / 3).clip(0)
        x = x + weight * (np.roll(x, 1, axis) + np.roll(x, -1, axis) - 2 * x)
    x = x * per_image(0.6, 1.2)
    x += per_image(-0.2, 0.2).clip(0) * random.standard_normal(x.shape).astype(np.float32)
    return x.clip(0, 1)[..., None]


def _moved(x, per_image):
    """Turns, scales, shears and shifts images (N, S, S) by bilinear interpolation."""
    n, size = x.shape[:2]
    angle, shear = per_image(-0.25, 0.25), per_image(-0.2, 0.2)
    tall, wide = per_image(0.87, 1.15), per_image(0.87, 1.15)
    centre = (size - 1) / 2
    row, column = np.mgrid[:size, :size].astype(np.float32)[:, None] - np.float32(centre)
    sheared = column + shear * row
    down = tall * (np.cos(angle) * row - np.sin(angle) * sheared) + centre + per_image(-2, 2)
    right = wide * (np.sin(angle) * row + np.cos(angle) * sheared) + centre + per_image(-2, 2)
    # Pixels outside have the border's colour; the last pixel needs a neighbour to be mixed with.
    down, right = down.clip(0, size - 1.001), right.clip(0, size - 1.001)
    top, left = np.floor(down), np.floor(right)
    down, right = down - top, right - left
    flat = x.ravel()
    corner = (np.arange(n) * size * size)[:, None, None] + (top * size + left).astype(np.int32)
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + size] * (1 - right) + flat[corner + size + 1] * right
    return upper * (1 - down) + lower * down


def write(path: Path, params: Params) -> str:
    """Writes weights as float16 arrays to an .npz file, and returns its sha256."""
    arrays: dict[str, Any] = {
        f"{layer}.{part}": np.asarray(value, np.float16)
        for layer, parts in params.items()
        for part, value in parts.items()
    }
    with storage.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def accuracy(params: Params, split: str) -> float:
    """Returns the share of a split's digits that is read right, in [0, 1]."""
    images, labels = load(split)
    run = jax.jit(lambda params, x: digits.apply(params, digits.prepare(x)).logits)
    logits = run(params, images)
    return float(np.mean(np.argmax(logits, axis=-1) == labels))


def main() -> None:
    """Trains, writes and prints the hash and the accuracy of what was written."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=arguments.file, required=True, help="the .npz file to write")
    parser.add_argument("--epochs", type=arguments.count, default=EPOCHS)
    parser.add_argument("--seed", type=arguments.seed, default=0)
    args = parser.parse_args()
    found = write(args.out, train(args.epochs, args.seed))
    params = digits.make_params(digits.read(args.out))
    print(f"{args.out}: sha256 {found}; held-out accuracy {accuracy(params, 'validation'):.4f}")


if __name__ == "__main__":
    main()
