"""Mode coverage by hand and by SciPy, and what real images give of themselves."""

import numpy as np
import pytest
import scipy
from digit_classifier import classify

from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.metrics.features import Observed, Outputs
from ganjax.metrics.image_set import ImageSet
from ganjax.metrics.metric import Counts, Labelled, Taken
from ganjax.metrics.modes import Modes, reverse_kl


def logits_of(classes, k, sure=20.0):
    logits = np.zeros((len(classes), k), np.float32)
    logits[np.arange(len(classes)), classes] = sure
    return logits


def test_by_hand():
    """Four classes, of which samples have two, three to one; the last image is no class's."""
    metric = Modes()
    fake = logits_of([1, 1, 1, 3], 4)
    fake[3, 3] = 1e-3
    prepared = metric.prepare(Labelled(logits_of([0, 1, 2, 3], 4)))
    found = metric.measure(prepared, Labelled(fake, np.int32([1, 1, 0, 3])))
    assert (found["modes"], found["modes_real"]) == (2, 4)
    assert found["reverse_kl"] == pytest.approx(0.75 * np.log(3) + 0.25 * np.log(1))
    assert found["reverse_kl_real"] == pytest.approx(0)
    assert (found["legible"], found["legible_real"]) == (0.75, 1)
    assert found["label_agreement"] == 0.75
    assert "label_agreement" not in metric.measure(prepared, Labelled(fake))


@pytest.mark.parametrize("counts", [[7, 7, 7], [0, 0, 9], [1, 10**9, 0, 3], [5]])
def test_reverse_kl_is_scipys_relative_entropy(counts):
    uniform = np.full(len(counts), 1 / len(counts))
    assert reverse_kl(np.array(counts)) == pytest.approx(
        scipy.stats.entropy(counts, uniform), abs=1e-12
    )


def test_as_many_reals_as_samples():
    assert Modes().choose_counts(Counts(500, 25_600)) == Taken(500, 500)


def test_labels_of_another_number_of_classes_are_not_compared():
    images = ImageSet("samples", 4, (8, 8, 1), lambda: iter(()), labels=np.arange(4))
    logits = Outputs(logits=logits_of([0, 1, 2, 3], 4))
    for classes, labels in ((4, [1, 2]), (8, None)):
        part = Observed(images._replace(num_classes=classes), logits).part("labelled", 1, 3)
        np.testing.assert_array_equal(part.labels, labels)
        np.testing.assert_array_equal(np.argmax(part.logits, 1), [1, 2])


def test_stacked_reals_have_the_modes_that_they_say():
    """By the classifier: three channels, each read right in 99 of 100 cases."""
    data = DataFields(
        source="embedded:stacked_mnist", label="label", num_classes=1000, channels=3, fit="pad"
    )
    held_out = open_source(data, "validation", image_size=32)
    assert held_out.size == 25_600
    batch = held_out.fetch(np.arange(1_000))
    assert batch["image"].shape == (1_000, 32, 32, 3)
    assert np.mean(classify(batch["image"]) == batch["label"]) > 0.96
    assert len(np.unique(held_out.labels())) == 1_000
    assert held_out.label_names[7] == "007"
