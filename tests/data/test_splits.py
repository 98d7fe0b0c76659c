"""What is held out of a set, and the subsets of the rest."""

import numpy as np
import pytest

from ganjax.data import splits
from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.errors import DataError


def digits(split="train", **fields):
    data = DataFields(source="embedded:mnist5k", channels=1, **fields)
    return open_source(data, split, image_size=28)


def test_subsets_are_nested_and_independent_of_labels():
    def drawn(split="train", **fields):
        source = digits(split, **fields)
        return {image.tobytes() for image in source.fetch(np.arange(source.size))["image"]}

    some, more = drawn(num_examples=100), drawn(fraction=0.2)
    assert (len(some), len(more)) == (100, 900)
    assert some < more < drawn()
    assert some == drawn(num_examples=100, label="label", num_classes=10)
    assert some != drawn(num_examples=100, subset_seed=1)
    assert len(drawn("validation", num_examples=100)) == 500, "all held-out images are kept"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"num_examples": 4_501},
            r"num_examples=4501: embedded:mnist5k has 4500 training images and 500 that are held "
            r"out; set 4500 or fewer, or 0 for all",
        ),
        ({"num_examples": 9, "fraction": 0.5}, r"num_examples=9: config.data.fraction=0.5 is set"),
    ],
)
def test_an_impossible_subset_is_refused(fields, message):
    with pytest.raises(DataError, match=message):
        digits(**fields)


@pytest.mark.parametrize(
    ("counts", "held"),
    [((500, 30, 10), (50, 3, 1)), ((9, 9, 9), 2), ((3,), 1), ((1, 1), 1), ((100, 4, 4, 4), 11)],
)
def test_a_tenth_of_each_class_is_held_out(counts, held):
    """Classes of fewer than ten images count together, and at least one image is held out."""
    label = np.random.RandomState(1).permutation(np.repeat(np.arange(len(counts)), counts))
    mask = splits.held_out(label, 0.1)
    if isinstance(held, tuple):
        assert tuple(np.bincount(label[mask])) == held
    assert mask.sum() == np.sum(held)


def test_the_held_out_images_are_frozen():
    """A run that goes on under another version must not train on what it held out before."""
    held = splits.held_out(np.repeat([0, 1], [20, 30]), 0.1)
    assert np.flatnonzero(held).tolist() == [1, 18, 22, 33, 48]


@pytest.mark.parametrize(
    ("share", "held"),
    [
        (0.29, (29, 5, 0)),
        (0.5, (50, 10, 1)),
        (0.001, (1, 0, 0)),
        (0.9, (90, 18, 2)),
        (0.0, (0,) * 3),
    ],
)
def test_the_share_that_is_held_out_can_be_set(share, held):
    """It is exact: 0.29 of 100 images are 29, where floats give 28. Some image is always left."""
    label = np.repeat([0, 1, 2], [100, 20, 3])
    mask = splits.held_out(label, share)
    if share == 0.001:
        assert mask.sum() == 1
    else:
        assert np.bincount(label[mask], minlength=3).tolist() == list(held)


def test_a_larger_share_holds_out_what_a_smaller_one_does():
    fewer, more = (splits.held_out(np.zeros(100, int), share) for share in (0.1, 0.3))
    assert fewer.sum() == 10
    assert more[fewer].all()


def test_where_nothing_is_held_out_all_images_train():
    training, held_out = (digits(split, held_out=0.0) for split in ("train", "validation"))
    assert (training.size, held_out.size) == (5_000, 0)
    assert held_out.labels().shape == (0,)
