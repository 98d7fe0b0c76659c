"""Reads digits, to judge what conditional generators draw: a small CNN, trained in place.

It learns mnist5k's training split alone. Generated strokes are blurrier, noisier and paler
than MNIST's, so the augmentation shows it such too.
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
    """(N, 32, 32, 1) float32 in [0, 1] -> (N, 10) logits."""

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
    """mnist5k's images, uint8 (N, 32, 32, 1), and labels (N,)."""
    digits = {"label": "label", "num_classes": 10, "channels": 1, "fit": "pad"}
    data = DataFields(source="embedded:mnist5k", **digits)
    source = open_source(data, split, image_size=SIZE)
    batch = source.fetch(np.arange(source.size))
    return batch["image"], batch["label"]


@cache
def train_classifier(seed: int = 0) -> Classifier:
    """Trains on mnist5k's training split; the same call again costs nothing.

    Args:
      seed: of the initialisation, the order, the augmentation and the dropout.

    Returns:
      A function of uint8 (N, S, S, 1) images, white on black, S = 28 or 32, to their (N,)
      digits, int32. A smaller image is centred on black, MNIST's background.
    """
    images, labels = digits("train")
    random = np.random.RandomState(seed)
    model = CNN()
    init_key, dropout_key = jax.random.split(jax.random.key(seed))
    steps = len(images) // BATCH
    optimizer = optax.adamw(
        optax.cosine_onecycle_schedule(EPOCHS * steps, peak_value=4e-3), weight_decay=1e-3
    )
    # Jitted: op by op, each op of the initialisation would be compiled by itself.
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

    # Not lax.scan: JAX's gradients of convolutions are twenty times slower in a loop on CPUs.
    for epoch in range(EPOCHS):
        # It costs half as much as an epoch's steps, so that it serves two.
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
    """uint8 (N, S, S, 1) -> float32 in [0, 1]: each moved, blurred, paled and noised anew."""
    n = len(images)
    per_image = lambda low, high: random.uniform(low, high, (n, 1, 1)).astype(np.float32)  # noqa: E731
    x = _moved(images[..., 0].astype(np.float32) / 255, per_image)
    # [w, 1 - 2w, w] down and across: from sharp to as blurred as a 3x3 mean.
    for axis in (1, 2):
        weight = per_image(-1 / 3, 1 / 3).clip(0)
        x = x + weight * (np.roll(x, 1, axis) + np.roll(x, -1, axis) - 2 * x)
    x = x * per_image(0.6, 1.2)
    x += per_image(-0.2, 0.2).clip(0) * random.standard_normal(x.shape).astype(np.float32)
    return x.clip(0, 1)[..., None]


def _moved(x, per_image):
    """(N, S, S), turned, scaled, sheared and shifted, by bilinear interpolation."""
    n, size = x.shape[:2]
    angle, shear = per_image(-0.25, 0.25), per_image(-0.2, 0.2)
    tall, wide = per_image(0.87, 1.15), per_image(0.87, 1.15)
    centre = (size - 1) / 2
    row, column = np.mgrid[:size, :size].astype(np.float32)[:, None] - np.float32(centre)
    sheared = column + shear * row
    down = tall * (np.cos(angle) * row - np.sin(angle) * sheared) + centre + per_image(-2, 2)
    right = wide * (np.sin(angle) * row + np.cos(angle) * sheared) + centre + per_image(-2, 2)
    # Outside is the border's colour; the last pixel needs a neighbour to be mixed with.
    down, right = down.clip(0, size - 1.001), right.clip(0, size - 1.001)
    top, left = np.floor(down), np.floor(right)
    down, right = down - top, right - left
    flat = x.ravel()
    corner = (np.arange(n) * size * size)[:, None, None] + (top * size + left).astype(np.int32)
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + size] * (1 - right) + flat[corner + size + 1] * right
    return upper * (1 - down) + lower * down


def held_out_accuracy(classify: Classifier) -> float:
    """The share in [0, 1] of mnist5k's 500 validation digits that are read right."""
    images, labels = digits("validation")
    return float(np.mean(classify(images) == labels))
