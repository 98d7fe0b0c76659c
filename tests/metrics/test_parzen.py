"""Parzen windows against every window written out in float64."""

import jax
import numpy as np
import pytest
import scipy

from ganjax.errors import UserError
from ganjax.metrics import parzen
from ganjax.metrics.image_set import ImageSet
from ganjax.runtime import memory

RANDOM = np.random.RandomState(0)


def images(count, dimension=784):
    """In [0, 1], mostly at its ends, as MNIST's pixels are."""
    return np.clip(RANDOM.randn(count, dimension) * 0.4 + 0.1, 0, 1)


def reference(samples, points, width):
    logs = [scipy.stats.norm.logpdf(point, samples, width).sum(-1) for point in points]
    return scipy.special.logsumexp(logs, axis=-1) - np.log(len(samples))


SAMPLES, POINTS = images(70), images(19)
# One point on a sample and one next to it: there a distance cancels most.
POINTS[0], POINTS[1] = SAMPLES[3], SAMPLES[4] + 1e-3


@pytest.mark.parametrize("width", parzen.WIDTHS[::3])
def test_float64(width):
    with jax.enable_x64(True):
        value = parzen.log_likelihood(SAMPLES, POINTS, width)
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, reference(SAMPLES, POINTS, width), rtol=1e-10)


@pytest.mark.parametrize("width", parzen.WIDTHS[::3])
def test_float32(width):
    value = parzen.log_likelihood(SAMPLES.astype(np.float32), POINTS.astype(np.float32), width)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, reference(SAMPLES, POINTS, width), rtol=0, atol=1e-2)


def test_float32_far_from_the_origin():
    """Why the data are centred: uncentred, this is off by a thousand nats."""
    shift = np.float32(100)
    value = parzen.log_likelihood(
        SAMPLES.astype(np.float32) + shift, POINTS.astype(np.float32) + shift, 0.1
    )
    np.testing.assert_allclose(value, reference(SAMPLES, POINTS, 0.1), rtol=0, atol=0.05)


def test_chunks_change_nothing(monkeypatch):
    whole = parzen.log_likelihood(SAMPLES, POINTS, 0.2)
    # Chunks of 8, 8 and 3, the last of which is filled up.
    monkeypatch.setattr(parzen, "PAIRS", 1)
    np.testing.assert_allclose(parzen.log_likelihood(SAMPLES, POINTS, 0.2), whole, rtol=1e-5)


def test_the_density_integrates_to_one():
    samples, line = np.array([[0.2], [0.7]]), np.linspace(-2, 3, 2001)[:, None]
    density = np.exp(parzen.log_likelihood(samples, line, 0.15))
    np.testing.assert_allclose(np.trapezoid(density, line[:, 0]), 1, rtol=1e-5)


def test_the_known_width_is_best():
    """Points drawn from windows of 0.2; and the maximum for one sample is the rms distance."""
    points = SAMPLES.repeat(5, 0) + 0.2 * RANDOM.randn(350, 784)
    widths = [0.1, 0.15, 0.2, 0.25, 0.3]
    assert parzen.choose_width(SAMPLES, points, widths) == 0.2
    rms = np.sqrt(np.mean(np.square(POINTS - SAMPLES[:1])))
    assert parzen.choose_width(SAMPLES[:1], POINTS, [rms * 0.97, rms, rms * 1.03]) == rms


def test_the_best_log_likelihood_is_the_mean_under_the_best_width():
    value, width = parzen.best_log_likelihood(SAMPLES, POINTS)
    means = [reference(SAMPLES, POINTS, width).mean() for width in parzen.WIDTHS]
    assert width == parzen.choose_width(SAMPLES, POINTS) == parzen.WIDTHS[np.argmax(means)]
    np.testing.assert_allclose(value, max(means), rtol=1e-4)


@pytest.mark.parametrize(
    ("samples", "points", "widths", "message"),
    [
        (SAMPLES, POINTS[:, 1:], [0.2], "784 dimensions but points 783"),
        (SAMPLES[:0], POINTS, [0.2], r"samples are \(0, 784\)"),
        (SAMPLES, POINTS[:0], [0.2], r"points are \(0, 784\)"),
        (SAMPLES, POINTS[0], [0.2], r"points are \(784,\)"),
        ((SAMPLES * 255).astype(np.uint8), POINTS, [0.2], "samples are uint8"),
        (SAMPLES, POINTS, [], r"widths \[\]"),
        (SAMPLES, POINTS, [0.2, 0.0], "all positive"),
        (SAMPLES, POINTS, [-0.2], "all positive"),
        (SAMPLES, POINTS, [float("nan")], "all positive"),
    ],
)
def test_invalid(samples, points, widths, message):
    with pytest.raises(ValueError, match=message) as caught:
        parzen.best_log_likelihood(samples, points, widths)
    assert "\n" not in str(caught.value)
    if len(widths) == 1:
        with pytest.raises(ValueError, match=message):
            parzen.log_likelihood(samples, points, widths[0])


def test_images_that_memory_cannot_hold_as_points_are_not_made(monkeypatch):
    images = ImageSet("samples", 10**9, (4, 4, 1), lambda: pytest.fail("it makes them"))
    monkeypatch.setattr(memory, "total", lambda: 1 << 33)
    with pytest.raises(UserError, match=r"samples: 1000000000 images as points take 134.1 GiB"):
        parzen.HeldOutLogLikelihood().measure(np.zeros((1, 16), np.float32), images)
    with pytest.raises(UserError, match=r"samples: 1000000000 images take 14.9 GiB"):
        images.array()
