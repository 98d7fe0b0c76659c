"""Detection of leaking augmentations: whether the generator makes augmented images.

A discriminator that sees nothing but augmented images can teach the generator to make them
(Karras et al. 2020, arXiv:2006.06676, section 2.2). For each transform that may leak, a probe is
fitted once: a linear classifier on random convolutional features that distinguishes transformed
training images from those as they are. The figure is the share of samples that it classifies as
transformed, corrected for its errors on images that it was not fitted to.

The figure errs by some hundredths, and early samples, which look like no image, may be classified
as transformed. A share that grows late in training is the sign of a leak.
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
from ganjax.engine.meanings import Meaning
from ganjax.engine.pixels import from_uint8
from ganjax.keys import fold
from ganjax.training.window import SEED

# The most training images that are used: half to fit the probe, half to measure its errors.
REALS = 1_200
SAMPLES = 500
# The number of images whose features are computed at once.
BATCH = 100
# The longer side in pixels to which larger images are reduced.
MOST_PIXELS = 32
# The least difference between rates of true and of false alarms for a probe to be of use.
SKILL = 0.1
# The growth of a share over its smallest value at which there is a warning.
GROWTH = 0.2
# The names of shares: leak_rotation, and leak_rotation_seed_3 where a run has several seeds.
PREFIX = "leak_"
# The number of random filters, their side in pixels, the cells a side over which their outputs are
# averaged, and the ridge of the regression.
FILTERS, SIDE, GRID, RIDGE = 64, 5, 4, 1e-1

MEANINGS = {
    f"{PREFIX}<transform>": Meaning(
        "the share of samples that a probe takes for images with this augmentation",
        least=0,
        most=1,
        reading="it errs by some hundredths; growth late in training is a leak, and a rise of "
        f"{GROWTH:g} over its least value is warned of",
    ),
}


class Probe(NamedTuple):
    """A linear classifier that finds transformed images by their features, and its error rates.

    Attributes:
      weights: (F,); images whose features have a positive product with them count as transformed.
      false_alarms: the share of plain images that it classifies as transformed.
      hits: the share of transformed images that it classifies as transformed.
    """

    weights: np.ndarray
    false_alarms: float
    hits: float

    def share(self, features: np.ndarray) -> float:
        """Estimates the share of transformed images in a set, given their features.

        If the true share is s, the probe counts hits * s + false_alarms * (1 - s), which is solved
        for s (Forman 2008, "Quantifying counts and costs via classification", section 2.2).

        Args:
          features: (N, F), the features of the images.

        Returns:
          The share, in [0, 1].
        """
        counted = np.mean(features @ self.weights > 0)
        return float(np.clip((counted - self.false_alarms) / (self.hits - self.false_alarms), 0, 1))


def features(images: jax.Array) -> jax.Array:
    """Computes features of images: rectified random filters, and colours, averaged in a 4x4 grid.

    Args:
      images: (N, H, W, C) in [-1, 1]; larger ones are first reduced to 32 pixels on the longer
        side.

    Returns:
      The features, (N, F).
    """
    n, *sides, channels = images.shape
    if max(sides) > MOST_PIXELS:
        height, width = (max(1, round(side * MOST_PIXELS / max(sides))) for side in sides)
        shape = (n, height, width, channels)
        images = jax.image.resize(images, shape, "linear", antialias=True)
    kernel = np.random.RandomState(0).randn(SIDE, SIDE, channels, FILTERS).astype(np.float32)
    # The first images of a growing run are smaller than a filter.
    padding = "VALID" if min(images.shape[1:3]) >= SIDE else "SAME"
    kernel -= kernel.mean((0, 1), keepdims=True)  # Filters see edges; colours are further features.
    edges = jax.lax.conv_general_dilated(
        images, kernel / SIDE, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    maps = [jax.nn.relu(edges), jax.nn.relu(-edges), images, images**2]
    if channels == 3:
        maps.append(images * jnp.roll(images, 1, axis=-1))

    def averaged(x):
        shape = (n, GRID, GRID, x.shape[-1])
        return jax.image.resize(x, shape, "linear", antialias=True).reshape(n, -1)

    return jnp.concatenate([jnp.ones((n, 1)), *map(averaged, maps)], axis=-1)


def fit(plain: np.ndarray, transformed: np.ndarray) -> Probe | None:
    """Fits a probe to one half of the features, and measures its errors on the other half.

    The fit is a ridge regression to -1 for plain and +1 for transformed images.

    Args:
      plain: features of plain images, (N, F).
      transformed: features of transformed images, (N, F).

    Returns:
      The probe, or None if it is hardly better than chance.
    """
    half = len(plain) // 2
    x = np.concatenate([plain[:half], transformed[:half]]).astype(np.float64)
    y = np.repeat([-1.0, 1.0], [half, len(transformed[:half])])
    scale = x.std(0) + 1e-6
    z = x / scale
    # The dual form, since there are more features than images.
    weights = z.T @ np.linalg.solve(z @ z.T + RIDGE * len(z) * np.eye(len(z)), y) / scale
    false_alarms, hits = (np.mean(f[half:] @ weights > 0) for f in (plain, transformed))
    return Probe(weights, false_alarms, hits) if hits - false_alarms >= SKILL else None


def make_measure(algorithm: Algorithm, *, key: jax.Array, sampler: Callable) -> Callable:
    """Makes `measure(ema, phase, training) -> {"leak_<name>": share}`, for `algorithm.leaks`.

    A share is in [0, 1]. The first call in a phase fits a probe for each transform to `training`,
    the phase's training images. A transform that its probe cannot detect in these images has no
    figure.

    Args:
      algorithm: the algorithm whose generator is measured.
      key: the run's root key, on this process's own device.
      sampler: the compiled sampler of `ganjax.engine.step.make_sampler`.
    """
    if not algorithm.leaks:
        return lambda ema, phase, training: {}
    key = fold(key, "leaks")
    low, high = algorithm.value_range
    z, label = jax.device_get(steps.sample_inputs(algorithm, key, SAMPLES))
    probes = {}

    @partial(jax.jit, static_argnums=2)
    def batch_features(images, key, transform):
        seen = transform(from_uint8(images, algorithm.value_range), key).clip(low, high)
        return features((seen - low) / (high - low) * 2 - 1)

    def transformed_features(images, name="", transform=lambda images, key: images):
        """Computes the features of images, uint8 (N, H, W, C), after a transform."""
        starts = range(0, len(images), BATCH)
        # The last batch is padded with the last image, since another shape would be compiled anew.
        rows = [np.minimum(np.arange(start, start + BATCH), len(images) - 1) for start in starts]
        batches = [
            np.asarray(batch_features(images[row], fold(key, name, start), transform))
            for row, start in zip(rows, starts, strict=True)
        ]
        return np.concatenate(batches)[: len(images)]

    def fit_probes(training: Source) -> dict[str, Probe]:
        chosen = np.random.RandomState(0).permutation(training.size)[:REALS]
        images = training.fetch(chosen)["image"]
        plain = transformed_features(images)
        fitted = {
            name: fit(plain, transformed_features(images, name, transform))
            for name, transform in algorithm.leaks.items()
        }
        return {name: probe for name, probe in fitted.items() if probe is not None}

    def measure(ema, phase, training: Source) -> dict[str, float]:
        if phase not in probes:
            probes[phase] = fit_probes(training)
        of_samples = transformed_features(np.asarray(sampler(ema, z, label, phase=phase)))
        return {f"{PREFIX}{name}": probe.share(of_samples) for name, probe in probes[phase].items()}

    return measure


def least_of(rows: Sequence[dict[str, float]], seed: int | None = None) -> dict[str, float]:
    """Returns the smallest share of each name so far, which `warnings` compares with.

    Args:
      rows: rows of metrics, some of which have shares.
      seed: the seed of the member whose shares are read, in a run of several. Rows without shares
        of single members, which older versions wrote, stand in with their means.
    """
    least, own = {}, f"{SEED}{seed}"
    for row in rows:
        shares = {name: value for name, value in row.items() if SEED not in name}
        shares |= {n.removesuffix(own): value for n, value in row.items() if n.endswith(own)}
        warnings(shares, least)
    return least


def warnings(figures: dict[str, float], least: dict[str, float]) -> list[str]:
    """Returns a line for each share that has grown by `GROWTH` or more over its smallest value.

    Args:
      figures: the figures of an evaluation.
      least: the smallest share so far by name, which this call updates.
    """
    lines = []
    for name, share in figures.items():
        if name.startswith(PREFIX):
            least[name] = min(share, least.get(name, share))
            if share - least[name] >= GROWTH:
                lines.append(
                    f"{name}={share:.2f}, up from {least[name]:.2f}: the generator makes "
                    "augmented images; another run with a lower p, or p_max, holds it back"
                )
    return lines
