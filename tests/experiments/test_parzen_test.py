"""The likelihood of images that chose nothing, against SciPy."""

import numpy as np
import pytest
import scipy
from small import shipped

from experiments import parzen_test
from ganjax.data.sources import open_source
from ganjax.errors import UserError
from ganjax.metrics import parzen
from ganjax.training import schema


def test_the_images_that_are_tested_neither_trained_nor_chose():
    """Of 5,000 digits: told apart by their pixels, of which no two digits' are the same."""
    data = schema.load(shipped("cgan", "paper_mnist5k")).config.data
    parts = [parzen_test.unused(data, 28)]
    for split in ("train", "validation"):
        source = open_source(data, split, image_size=28)
        parts.append(source.fetch(np.arange(source.size))["image"])
    assert [len(part) for part in parts] == [500, 4_000, 500]
    assert len({image.tobytes() for part in parts for image in part}) == 5_000
    whole = data.model_copy(update={"num_examples": 0})
    with pytest.raises(UserError, match="no image of embedded:mnist5k is left out of training"):
        parzen_test.unused(whole, 28)


def test_a_score_is_that_of_the_test_images_under_the_width_that_is_best_for_the_held_out_ones():
    random = np.random.RandomState(0)
    windows, held_out, test = (
        random.randint(0, 256, (count, 2, 2, 1)).astype(np.uint8) for count in (20, 30, 40)
    )

    def nats(images):
        """For each width and image."""
        x, s = (each.reshape(-1, 1, 4) / 255 for each in (images, windows))
        squares = np.sum((x - s.transpose(1, 0, 2)) ** 2, -1)
        return np.asarray(
            [
                scipy.special.logsumexp(-squares / 2 / w**2, 1)
                - np.log(20)
                - 2 * np.log(2 * np.pi * w**2)
                for w in parzen.WIDTHS
            ]
        )

    best = np.argmax(nats(held_out).mean(1))
    expected = nats(test)[best]
    found = parzen_test.score(windows, held_out, test)
    assert (found.width, found.windows) == (parzen.WIDTHS[best], 20)
    np.testing.assert_allclose(found.mean, expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.standard_error, expected.std(ddof=1) / 40**0.5, rtol=1e-4)
