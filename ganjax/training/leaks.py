"""Does the generator make augmented images? A small probe that asks its samples.

A discriminator that sees augmented images everywhere can teach the generator to make them
(Karras et al. 2020, arXiv:2006.06676, section 2.2). For each transform that may leak, a linear
classifier on random convolutional features is fitted once to tell training images from training
images so transformed. The share of samples that it takes for transformed, corrected for
what it gets wrong on images that it has not seen, is the figure.

It errs by some hundredths, and samples unlike any image, early in training, can pass for
transformed: what tells is a share that grows late.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.data.base import Source
from ganjax.engine import step as steps
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.levels import from_uint8
from ganjax.keys import fold

# At most so many training images, half to fit the probe and half to learn its errors.
REALS = 1_200
SAMPLES = 500
# Images at once, and pixels a side that are looked at.
PIECE, MOST_PIXELS = 100, 32
# Rate of true less rate of false alarms below which a probe says nothing.
SKILL = 0.1
# By how much a share grows over its least before it is warned of.
GROWTH = 0.2
FILTERS, SIDE, GRID, RIDGE = 64, 5, 4, 1e-1


class Probe(NamedTuple):
    """A linear classifier of features, and what it gets wrong.

    Attributes:
      weights: (F,); above 0 is transformed.
      false_alarms: share of plain images that it takes for transformed.
      hits: share of transformed images that it finds.
    """

    weights: np.ndarray
    false_alarms: float
    hits: float

    def share(self, features: np.ndarray) -> float:
        """The estimated share of transformed images behind features (N, F), in [0, 1].

        The counted share c is hits * s + false_alarms * (1 - s) of the true one s (Forman
        2008, "Quantifying counts and costs via classification", section 2.2).
        """
        counted = np.mean(features @ self.weights > 0)
        return float(np.clip((counted - self.false_alarms) / (self.hits - self.false_alarms), 0, 1))


def features(images: jax.Array) -> jax.Array:
    """images (N, H, W, C) -> (N, F): random filters, rectified, averaged in a 4x4 grid; colours.

    Args:
      images: in [-1, 1]; looked at in 32x32 where they are larger.
    """
    n, size, _, channels = images.shape
    if size > MOST_PIXELS:
        shape = (n, MOST_PIXELS, MOST_PIXELS, channels)
        images = jax.image.resize(images, shape, "linear", antialias=True)
    kernel = np.random.RandomState(0).randn(SIDE, SIDE, channels, FILTERS).astype(np.float32)
    # A growing run's first images are smaller than the window.
    padding = "VALID" if images.shape[1] >= SIDE else "SAME"
    kernel -= kernel.mean((0, 1), keepdims=True)  # Edges; colours come apart.
    edges = jax.lax.conv_general_dilated(
        images, kernel / SIDE, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    parts = [jax.nn.relu(edges), jax.nn.relu(-edges), images, images**2]
    if channels == 3:
        parts.append(images * jnp.roll(images, 1, axis=-1))

    def averaged(x):
        shape = (n, GRID, GRID, x.shape[-1])
        return jax.image.resize(x, shape, "linear", antialias=True).reshape(n, -1)

    return jnp.concatenate([jnp.ones((n, 1)), *map(averaged, parts)], axis=-1)


def fit(plain: np.ndarray, transformed: np.ndarray) -> Probe | None:
    """Fits to one half of the features (N, F) of both kinds, and measures on the other.

    Ridge regression to -1 and +1. None where it does hardly better than chance.
    """
    half = len(plain) // 2
    x = np.concatenate([plain[:half], transformed[:half]]).astype(np.float64)
    y = np.repeat([-1.0, 1.0], [half, len(transformed[:half])])
    scale = x.std(0) + 1e-6
    z = x / scale
    # In its dual form: there are more features than images.
    weights = z.T @ np.linalg.solve(z @ z.T + RIDGE * len(z) * np.eye(len(z)), y) / scale
    false_alarms, hits = (np.mean(f[half:] @ weights > 0) for f in (plain, transformed))
    return Probe(weights, false_alarms, hits) if hits - false_alarms >= SKILL else None


def make_measure(algorithm: Algorithm, *, key: jax.Array, sampler: Callable) -> Callable:
    """`measure(ema, phase, reals) -> {"leak_<name>": share}` for each of `algorithm.leaks`.

    Probes are fitted at the first call of a phase. A transform that the probe cannot see in
    images of this kind has no figure.

    Args:
      algorithm: whose generator.
      key: the run's root key, on this process's own device.
      sampler: `ganjax.engine.step.make_sampler`'s, compiled.
    """
    if not algorithm.leaks:
        return lambda ema, phase, reals: {}
    key = fold(key, "leaks")
    low, high = algorithm.value_range
    z, label = jax.device_get(steps.sample_inputs(algorithm, key, SAMPLES))
    probes = {}

    @partial(jax.jit, static_argnums=2)
    def piece(images, key, transform):
        seen = transform(from_uint8(images, algorithm.value_range), key).clip(low, high)
        return features((seen - low) / (high - low) * 2 - 1)

    def described(images, name="", transform=lambda x, key: x):
        """uint8 (N, ...) -> their features after a transform."""
        starts = range(0, len(images), PIECE)
        # The last ones fill the last piece: another shape would be another compilation.
        rows = [np.minimum(np.arange(i, i + PIECE), len(images) - 1) for i in starts]
        keys = [fold(key, name, i) for i in starts]
        pieces = [
            np.asarray(piece(images[row], one, transform))
            for row, one in zip(rows, keys, strict=True)
        ]
        return np.concatenate(pieces)[: len(images)]

    def fitted(reals: Source) -> dict[str, Probe]:
        order = np.random.RandomState(0).permutation(reals.size)[:REALS]
        images = reals.fetch(order)["image"]
        plain = described(images)
        found = {
            name: fit(plain, described(images, name, transform))
            for name, transform in algorithm.leaks.items()
        }
        return {name: probe for name, probe in found.items() if probe is not None}

    def measure(ema, phase, reals: Source) -> dict[str, float]:
        if phase not in probes:
            probes[phase] = fitted(reals)
        seen = described(np.asarray(sampler(ema, z, label, phase=phase)))
        return {f"leak_{name}": probe.share(seen) for name, probe in probes[phase].items()}

    return measure


def least_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """What `warnings` begins with where a run goes on: the smallest share of each name.

    Args:
      rows: of metrics, some with shares.
    """
    least = {}
    for row in rows:
        warnings(row, least)
    return least


def warnings(figures: dict[str, float], least: dict[str, float]) -> list[str]:
    """A line for each share that has grown; `least` is brought up to date.

    Args:
      figures: of an evaluation.
      least: name -> the smallest share so far.
    """
    lines = []
    for name, share in figures.items():
        if name.startswith("leak_"):
            least[name] = min(share, least.get(name, share))
            if share - least[name] >= GROWTH:
                lines.append(
                    f"{name}={share:.2f}, up from {least[name]:.2f}: the generator makes "
                    "augmented images; another run with a lower p, or p_max, holds it back"
                )
    return lines
