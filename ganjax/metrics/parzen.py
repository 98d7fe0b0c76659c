"""Parzen-window log-likelihood of a generator's samples, as the first GAN papers report it.

A Gaussian window is placed on each sample; the mean of the windows is a density, under which
held-out points are scored. This is the measure of Goodfellow et al. 2014 (arXiv:1406.2661),
section 5, after Breuleux et al. 2011 (Neural Computation 23(8)), and of Mirza & Osindero 2014
(arXiv:1411.1784), table 1. As in these papers, images are flattened and in [0, 1], a scale on
which the value depends. The papers draw 10,000 samples, choose the width on validation points,
and score the test points.

Use it to compare with those tables: in high dimension it neither estimates the likelihood
well nor ranks models as the likelihood does (Theis et al. 2016, arXiv:1511.01844, section 4.2).
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Float32, Num, UInt8

from ganjax.engine.meanings import Meaning
from ganjax.metrics.image_set import ImageSet
from ganjax.metrics.metric import Counts, Figure, Metric, Taken
from ganjax.runtime import memory

# The grid of the papers' own code.
WIDTHS = tuple(np.logspace(-1, 0, 10).tolist())
# The most distances that are held at once, besides a few times as many temporaries.
PAIRS = 1 << 23
# The papers' number of samples, and as many real images.
MOST = 10_000
# Flattened images (count, dimension). `_check` checks their shapes, since its errors say more.
Points = Num[Array, "..."] | Num[np.ndarray, "..."]
_LIKELIHOOD = Meaning(
    "the mean log-likelihood of held-out images under Parzen windows on samples, in nats an image",
    reading="it compares with the tables of the first GAN papers, and ranks models poorly (Theis "
    "et al. 2016)",
)
_WIDTH = Meaning(
    "the standard deviation of the Parzen windows, of pixels in [0, 1]", WIDTHS[0], WIDTHS[-1]
)


class LogLikelihood(Metric):
    """The log-likelihood of one half of the real images; the other half chooses the width."""

    name = "log_likelihood"
    figures = (
        Figure("log_likelihood", _LIKELIHOOD),
        Figure(
            "log_likelihood_standard_error",
            Meaning("the standard error of log_likelihood, in nats", least=0),
        ),
        Figure("parzen_width", _WIDTH),
    )
    needs = "images"
    while_training = False

    def choose_counts(self, counts: Counts) -> Taken:
        """Returns at most `MOST` images of each set."""
        return Taken(min(MOST, counts.reference), min(MOST, counts.fake))

    def prepare(self, reference: ImageSet) -> Float32[np.ndarray, "n d"]:
        """Flattens the real images."""
        return _points(reference)

    def measure(self, reference: Float32[np.ndarray, "n d"], fake: ImageSet) -> dict[str, float]:
        """Returns the second half's mean in nats an image, its standard error, and the width."""
        samples, half = _points(fake), len(reference) // 2
        width = choose_width(samples, reference[:half])
        each = np.asarray(log_likelihood(samples, reference[half:], width), np.float64)
        return {
            "log_likelihood": float(np.mean(each)),
            "log_likelihood_standard_error": float(np.std(each, ddof=1) / np.sqrt(len(each))),
            "parzen_width": width,
        }

    def protocol(self, taken: Taken) -> dict[str, Any]:
        """Returns how the width is chosen and the numbers of images."""
        return {
            "width": "best on the first half of the reals; scored on the second",
            "reals": taken.reference,
            "fakes": taken.fake,
        }


class HeldOutLogLikelihood(Metric):
    """The log-likelihood of all held-out images under the width that is best for them.

    It is measured during training, to choose the best model (Mirza & Osindero 2014, section 4.1).
    """

    name = "val_log_likelihood"
    figures = (
        Figure("val_log_likelihood", _LIKELIHOOD, better="more"),
        Figure("val_parzen_width", _WIDTH),
    )
    needs = "images"
    fewest = 1

    def prepare(self, reference: ImageSet) -> Float32[np.ndarray, "n d"]:
        """Flattens the held-out images."""
        return _points(reference)

    def measure(self, reference: Float32[np.ndarray, "n d"], fake: ImageSet) -> dict[str, float]:
        """Returns the mean in nats an image, and the windows' standard deviation."""
        mean, width = best_log_likelihood(_points(fake), reference)
        return {"val_log_likelihood": mean, "val_parzen_width": width}


def _points(images: ImageSet) -> Float32[np.ndarray, "n d"]:
    """Returns the images of a set as points, if the memory holds them."""
    # The bytes, the floats, and the floats around their mean.
    held = 9 * images.count * math.prod(images.shape)
    memory.check(f"{images.name}: {images.count} images as points", held, "ask for fewer")
    return flat(images.array())


def flat(images: UInt8[np.ndarray, "n ..."]) -> Float32[np.ndarray, "n d"]:
    """Flattens images in [0, 255] to points in [0, 1], which the functions below take."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def log_likelihood(samples: Points, points: Points, width: float) -> Float[Array, " n"]:
    """Computes the log-likelihood of each point under Gaussian windows on the samples.

    It is log p(x) = log (1/M) sum_i N(x; s_i, width^2 I) (Breuleux et al. 2011, section 3),
    computed in the arguments' common dtype, at least float32. In float32, for images in [0, 1] and
    widths of 0.1 or more, it is exact to 0.01 nats.

    Args:
      samples: (M, D) floats, generated images, flattened and in [0, 1].
      points: (N, D) floats, held-out images, flattened and in [0, 1].
      width: the windows' standard deviation, positive, in units of the pixels.

    Returns:
      The log-likelihoods in nats. The papers report their mean and its standard error.

    Raises:
      ValueError: points are empty, integers or of the wrong shape, or the width is not positive.
    """
    return _log_likelihoods(samples, points, [width])[:, 0]


def choose_width(samples: Points, points: Points, widths: Sequence[float] = WIDTHS) -> float:
    """Chooses the width under which the points are likeliest on average.

    Args:
      samples: generated images, as in `log_likelihood`.
      points: validation images, as in `log_likelihood`, not those that are scored later.
      widths: the candidates, positive.

    Returns:
      One of `widths`, the first of equally good ones.

    Raises:
      ValueError: `log_likelihood` would raise one, or there are no widths.
    """
    return best_log_likelihood(samples, points, widths)[1]


def best_log_likelihood(
    samples: Points, validation: Points, widths: Sequence[float] = WIDTHS
) -> tuple[float, float]:
    """Computes the points' mean log-likelihood under the best width, and that width.

    The width is chosen and scored on the same points, so the mean is slightly too high: to report
    that of a test set, pass the width to `log_likelihood`.

    Args:
      samples: generated images, as in `log_likelihood`.
      validation: validation images, as in `log_likelihood`.
      widths: the candidates, positive.

    Returns:
      The mean log-likelihood in nats, and the width.

    Raises:
      ValueError: `choose_width` would raise one.
    """
    values = np.asarray(_log_likelihoods(samples, validation, widths))
    means = values.mean(axis=0, dtype=np.float64)
    best = int(np.argmax(means))
    return float(means[best]), float(widths[best])


def _log_likelihoods(samples, points, widths) -> Float[Array, "n w"]:
    """Computes each point's nats under each width; the costly distances serve all widths."""
    samples, points = jnp.asarray(samples), jnp.asarray(points)
    _check(samples, points, widths)
    dtype = jnp.result_type(samples, points, jnp.float32)
    widths = jnp.asarray(widths, dtype)
    # The nearer points are to the origin, the less of a squared distance is lost below.
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
    """Computes the nats of n points under W widths: (n, W)."""
    squares = lambda x: jnp.sum(jnp.square(x), axis=-1)  # noqa: E731
    # |x - s|^2 = |x|^2 - 2 x.s + |s|^2. By default accelerators round the factors to 10 bits.
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
        # `sample` writes bytes, whose scale is not [0, 1].
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
