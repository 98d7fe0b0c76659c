"""The classifier of digits reads digits that it has not seen, as a plain form of its network."""

import jax
import numpy as np
import pytest
import scipy
from digit_classifier import classify, digits

from ganjax.metrics import digits as network
from ganjax.metrics import features


@pytest.fixture(scope="module")
def params():
    return features.load("digits")


def plain_conv(x, layer):
    """A convolution of stride 2 over float64 (H, W, I), its padding split with the rest behind."""
    kernel = np.float64(layer["kernel"])
    total = max(kernel.shape[0] - 2, 0)
    x = np.pad(x, ((total // 2, total - total // 2),) * 2 + ((0, 0),))
    maps = [
        sum(
            scipy.signal.correlate2d(x[..., i], kernel[..., i, o], "valid")
            for i in range(x.shape[-1])
        )
        for o in range(kernel.shape[-1])
    ]
    return np.maximum(np.stack(maps, -1)[::2, ::2] + layer["bias"], 0)


def plain(params, image):
    """The features and log-probabilities of one grey image, uint8 (32, 32, 1), in float64."""
    x = image / 255
    for name in ("conv0", "conv1", "conv2"):
        x = plain_conv(x, params[name])
    hidden = x.reshape(-1) @ np.float64(params["hidden"]["kernel"]) + params["hidden"]["bias"]
    hidden = np.maximum(hidden, 0)
    logits = hidden @ np.float64(params["classes"]["kernel"]) + params["classes"]["bias"]
    return hidden, scipy.special.log_softmax(logits)


def test_the_network_is_its_plain_form_channel_by_channel(params):
    images = digits("validation")[0][[3, 200, 450]]
    stacked = np.concatenate([images[0], images[1], images[2]], -1)[None]
    compiled = jax.jit(lambda params, x: network.apply(params, network.prepare(x)))
    of_each = [plain(params, image) for image in images]
    grey, rgb = compiled(params, images), compiled(params, stacked)
    for i, (hidden, log_p) in enumerate(of_each):
        np.testing.assert_allclose(grey.features[i], hidden, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(grey.logits[i], log_p, rtol=1e-4, atol=1e-4)
    (_, a), (_, b), (_, c) = of_each
    joint = (a[:, None, None] + b[:, None] + c).reshape(1, 1000)
    np.testing.assert_allclose(rgb.logits, joint, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(rgb.features[0], np.concatenate([f for f, _ in of_each]), rtol=1e-3)
    assert grey.features.shape[1] == network.NETWORK.dimension


def test_held_out_digits_are_read():
    images, labels = digits("validation")
    # Measured: .992 of 500.
    assert np.mean(classify(images) == labels) > 0.985


def test_28_and_32_alike():
    images, _ = digits("validation")
    # Their borders are as empty as what is put in their place.
    np.testing.assert_array_equal(classify(images), classify(images[:, 2:-2, 2:-2]))


def test_other_sizes_are_read_too():
    images, labels = digits("validation")
    large = images.repeat(2, 1).repeat(2, 2)
    assert np.mean(classify(large) == labels) > 0.97


def test_blurred_noisy_and_pale_digits_are_read():
    """As generators draw them."""
    images, labels = digits("validation")
    x = images.astype(np.float32)
    for axis in (1, 2):
        x = (np.roll(x, 1, axis) + 2 * x + np.roll(x, -1, axis)) / 4
    noisy = 0.8 * x + 25 * np.random.RandomState(0).randn(*x.shape)
    assert np.mean(classify(noisy.clip(0, 255).astype(np.uint8)) == labels) > 0.95
