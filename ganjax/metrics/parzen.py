"""Parzen-window log-likelihood of a generator's samples, as the first GAN papers report it.

A Gaussian window stands on each sample; the mean of the windows is a density, under which
held-out points are scored. Goodfellow et al. 2014 (arXiv:1406.2661), section 5, after
Breuleux et al. 2011 (Neural Computation 23(8)); Mirza & Osindero 2014 (arXiv:1411.1784),
table 1. Images are in [0, 1], flattened, as there: the value depends on the scale. The
papers choose the width on validation points, 10,000 samples, and score the test points.

Use it to compare with those tables: in high dimension it neither estimates the likelihood
well nor ranks models as it does (Theis et al. 2016, arXiv:1511.01844, section 4.2).
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

# The grid of the papers' own code.
WIDTHS = tuple(np.logspace(-1, 0, 10).tolist())
# Distances held at once: 32 MiB in float32, and a few times as much in temporaries.
PAIRS = 1 << 23


def flat(images: np.ndarray) -> np.ndarray:
    """uint8 (N, ...) images -> float32 (N, D) in [0, 1], which the others take."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def log_likelihood(samples: jax.Array, points: jax.Array, width: float) -> jax.Array:
    """The log-likelihood of each point under Gaussian windows on the samples.

    log p(x) = log (1/M) sum_i N(x; s_i, width^2 I). Breuleux et al. 2011, section 3.

    Computed in the arguments' common dtype, float32 at least: there, for images in [0, 1] and
    widths of 0.1 or more, it is exact to 0.01 nats.

    Args:
      samples: (M, D) floats, flattened images in [0, 1], from the generator.
      points: (N, D) floats, held-out data in [0, 1].
      width: the windows' standard deviation, positive, in units of the pixels.

    Returns:
      (N,) nats. The papers report their mean, plus or minus its standard error.

    Raises:
      ValueError: an argument is empty, integer, of the wrong shape, or not positive.
    """
    return _log_likelihoods(samples, points, [width])[:, 0]


def choose_width(samples: jax.Array, points: jax.Array, widths: Sequence[float] = WIDTHS) -> float:
    """The width under which the points are likeliest on average.

    Args:
      samples: as `log_likelihood`.
      points: as `log_likelihood`: validation points, not those to be scored.
      widths: what to choose from.

    Returns:
      One of `widths`, the first of equals.

    Raises:
      ValueError: as `log_likelihood`, or there are no widths.
    """
    return parzen(samples, points, widths)[1]


def parzen(
    samples: jax.Array, validation: jax.Array, widths: Sequence[float] = WIDTHS
) -> tuple[float, float]:
    """The best width, and the points' mean log-likelihood under it.

    Chosen and scored on the same points, so slightly too high: to report a test set's, give
    the width to `log_likelihood`.

    Args:
      samples: as `log_likelihood`.
      validation: (N, D) floats, points in [0, 1].
      widths: what to choose from.

    Returns:
      (mean log-likelihood in nats, width).

    Raises:
      ValueError: as `choose_width`.
    """
    values = np.asarray(_log_likelihoods(samples, validation, widths))
    means = np.mean(values, axis=0, dtype=np.float64)
    best = int(np.argmax(means))
    return float(means[best]), float(widths[best])


def _log_likelihoods(samples, points, widths) -> jax.Array:
    """(N, W) nats under each width: the distances, the costly part, serve all widths."""
    samples, points = jnp.asarray(samples), jnp.asarray(points)
    _check(samples, points, widths)
    dtype = jnp.result_type(samples, points, jnp.float32)
    widths = jnp.asarray(widths, dtype)
    # The nearer to the origin, the less of a squared distance is lost when it cancels below.
    centre = jnp.mean(samples, axis=0, keepdims=True, dtype=dtype)
    samples, points = samples - centre, points - centre
    # A multiple of 8 pads little; the last chunk is filled up so that one shape is compiled.
    chunk = min(max(8, PAIRS // len(samples) // 8 * 8), len(points))
    starts = range(0, len(points), chunk)
    padded = jnp.pad(points, ((0, -len(points) % chunk), (0, 0)))
    parts = [_of_chunk(samples, padded[i : i + chunk], widths) for i in starts]
    return jnp.concatenate(parts)[: len(points)]


@jax.jit
def _of_chunk(samples, points, widths):
    """(n, W) nats of n points."""
    squares = lambda x: jnp.sum(jnp.square(x), axis=-1)  # noqa: E731
    # |x - s|^2 = |x|^2 - 2 x.s + |s|^2; accelerators would round the factors to 10 bits.
    products = jnp.matmul(points, samples.T, precision=jax.lax.Precision.HIGHEST)
    distances = squares(points)[:, None] - 2 * products + squares(samples)[None]
    distances = jnp.maximum(distances, 0)
    count, dimension = samples.shape

    def under(width):
        normaliser = math.log(count) + dimension * jnp.log(math.sqrt(2 * math.pi) * width)
        return logsumexp(-distances / (2 * jnp.square(width)), axis=-1) - normaliser

    # One width at a time, so that memory does not grow with their number.
    return jax.lax.map(under, widths).T


def _check(samples, points, widths):
    for name, x in (("samples", samples), ("points", points)):
        if x.ndim != 2 or x.size == 0:
            raise ValueError(f"parzen: {name} are {x.shape}: need (count, dimension), none 0")
        # What `sample` returns; distances between bytes have no meaning here.
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(f"parzen: {name} are {x.dtype}: divide them by their range first")
    if samples.shape[1] != points.shape[1]:
        raise ValueError(
            f"parzen: samples have {samples.shape[1]} dimensions but points {points.shape[1]}"
        )
    if len(widths) == 0 or not all(0 < width < math.inf for width in widths):
        raise ValueError(
            f"parzen: widths {[float(w) for w in widths]}: need one or more, all positive"
        )
