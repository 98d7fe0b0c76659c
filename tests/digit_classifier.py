"""A classifier of digits for samples of conditional generators: a small CNN, trained on the spot.

It learns from the training split of mnist5k alone. Generated strokes are blurrier, noisier and
paler than MNIST's, so it is trained on augmented images.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source

SIZE = 32
EPOCHS = 14
BATCH = 100
CHUNK = 250

Classifier = Callable[[np.ndarray], np.ndarray]


class CNN(nn.Module):
    """A network from float32 images (N, 32, 32, 1) in [0, 1] to logits (N, 10)."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        # Strides instead of pooling, whose gradient is slow on CPUs.
        x = nn.relu(nn.Conv(16, (5, 5), 2)(x))
        x = nn.relu(nn.Conv(32, (3, 3), 2)(x))
        x = nn.relu(nn.Conv(64, (3, 3), 2)(x))
        x = x.reshape(len(x), -1)
        x = nn.relu(nn.Dense(128)(nn.Dropout(0.2, deterministic=not train)(x)))
        return nn.Dense(10)(nn.Dropout(0.2, deterministic=not train)(x))


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, uint8 (N, 32, 32, 1), and labels (N,) of a split of mnist5k."""
    digits = {"label": "label", "num_classes": 10, "channels": 1, "fit": "pad"}
    data = DataFields(source="embedded:mnist5k", **digits)
    source = open_source(data, split, image_size=SIZE)
    batch = source.fetch(np.arange(source.size))
    return batch["image"], batch["label"]


@cache
def train_classifier(seed: int = 0) -> Classifier:
    """Trains a classifier on mnist5k's training split, once for each seed.

    Args:
      seed: the seed of the initialisation, the order, the augmentation and the dropout.

    Returns:
      A function from images, uint8 (N, S, S, 1), white on black, with S = 28 or 32, to their
      digits, int32 (N,). It centres images of 28x28 on black, MNIST's background.
    """
    images, labels = digits("train")
    random = np.random.RandomState(seed)
    model = CNN()
    init_key, dropout_key = jax.random.split(jax.random.key(seed))
    steps = len(images) // BATCH
    optimizer = optax.adamw(
        optax.cosine_onecycle_schedule(EPOCHS * steps, peak_value=4e-3), weight_decay=1e-3
    )
    # Without jit, each operation of the initialisation would be compiled separately.
    params = jax.jit(lambda k: model.init(k, jnp.zeros((1, SIZE, SIZE, 1)), train=False))(init_key)
    state = jax.jit(optimizer.init)(params)

    @jax.jit
    def step(params, state, image, label, index):
        def loss(params):
            rngs = {"dropout": jax.random.fold_in(dropout_key, index)}
            logits = model.apply(params, image, train=True, rngs=rngs)
            one_hot = optax.smooth_labels(jax.nn.one_hot(label, 10), 0.05)
            return jnp.mean(optax.softmax_cross_entropy(logits, one_hot))

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    # Not lax.scan: on CPUs JAX's gradients of convolutions are slower in a loop (docs/speed.md).
    for epoch in range(EPOCHS):
        # Augmenting takes half as long as the steps of an epoch, so its result serves two epochs.
        if epoch % 2 == 0:
            shown = augment(images, random)
        order = random.permutation(len(images))[: steps * BATCH].reshape(steps, BATCH)
        for i, rows in enumerate(order):
            params, state = step(params, state, shown[rows], labels[rows], epoch * steps + i)

    @jax.jit
    def predict(image):
        return jnp.argmax(model.apply(params, image / 255.0, train=False), axis=-1)

    def classify(images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8, images.dtype
        margin = (SIZE - images.shape[1]) // 2
        around = (margin, margin)
        padded = np.pad(images, ((0, -len(images) % CHUNK), around, around, (0, 0)))
        chunks = padded.reshape(-1, CHUNK, SIZE, SIZE, 1)
        return np.concatenate([predict(chunk) for chunk in chunks])[: len(images)]

    return classify


def augment(images: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Moves, blurs, pales and adds noise to images: uint8 (N, S, S, 1) to float32 in [0, 1]."""
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


def held_out_accuracy(classify: Classifier) -> float:
    """Returns the share, in [0, 1], of mnist5k's 500 held-out digits that are classified right."""
    images, labels = digits("validation")
    return float(np.mean(classify(images) == labels))
