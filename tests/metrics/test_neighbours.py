"""The nearest of many images, beside brute force."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy

from ganjax.analysis import attributes, grids, measurement
from ganjax.data.base import Source
from ganjax.metrics import features, neighbours
from ganjax.metrics.image_set import from_source
from ganjax.metrics.layers import Activations
from ganjax.metrics.neighbours import CHUNK_BYTES, nearest


def test_neighbours_among_many_are_read_in_chunks():
    size, limit = 200_000, 30_000
    read = []

    def fetch(indices):
        assert len(indices) <= limit
        read.append(len(indices))
        levels = indices[:, None] * np.array([7919, 104729, 1299709, 15485863]) // 8 % 256
        return {"image": levels.astype(np.uint8).reshape(-1, 2, 2, 1)}

    samples = np.random.RandomState(0).randint(0, 256, (3, 2, 2, 1)).astype(np.uint8)
    found = nearest(samples, Source(size, fetch, ()), 5, chunk=limit)
    assert sum(read) == size + samples.shape[0] * 5, "every one once, then the answer"
    read.clear()
    every = np.concatenate([fetch(part)["image"] for part in np.split(np.arange(size), 8)])
    for i, one in enumerate(samples):
        total = np.abs(every.astype(int) - one).sum((1, 2, 3))
        nearest_ones = np.argsort(total, kind="stable")[:5]
        np.testing.assert_array_equal(found.index[i], nearest_ones)
        np.testing.assert_allclose(found.distance[i], total[nearest_ones] / 1020, rtol=1e-12)


def test_a_chunk_is_bounded_in_bytes_and_distance_in_one():
    def blank(indices):
        assert len(indices) * 64 * 64 * 3 <= CHUNK_BYTES
        return {"image": np.zeros((len(indices), 64, 64, 3), np.uint8)}

    white = np.full((1, 64, 64, 3), 255, np.uint8)
    assert nearest(white, Source(3_000, blank, ()), 1).distance.item() == 1.0


def test_neighbours_by_features_are_those_of_brute_force(monkeypatch):
    """By a network that looks at the mean of each row."""
    rows = features.NETWORKS["efflite0"]._replace(
        make_params=lambda tensors: {"scale": np.float32(1)},
        prepare=lambda images: images.astype("float32"),
        apply=lambda params, x: Activations(x.mean((2, 3)) * params["scale"], x.mean((2, 3)), ()),
    )
    monkeypatch.setitem(features.NETWORKS, "rows", rows)
    monkeypatch.setattr(neighbours, "CHUNK_BYTES", 48 * 100)
    random = np.random.RandomState(0)
    reals = random.randint(0, 256, (250, 4, 4, 3)).astype(np.uint8)
    samples = random.randint(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    source = Source(250, lambda i: {"image": reals[i]}, ())
    found = neighbours.nearest_by_features(samples, source, 4, "rows")
    apart = scipy.spatial.distance.cdist(samples.mean((2, 3)), reals.mean((2, 3)))
    np.testing.assert_array_equal(found.index, apart.argsort(1)[:, :4])
    np.testing.assert_allclose(found.distance, np.sort(apart, 1)[:, :4], rtol=1e-4)
    np.testing.assert_array_equal(found.image, reals[found.index])


def of_columns(params, x):
    """Features that a flip changes: the mean of each column."""
    made = x.mean((1, 3)) * params["scale"]
    return Activations(made, made, ())


@pytest.fixture
def columns(monkeypatch):
    network = features.NETWORKS["efflite0"]._replace(
        make_params=lambda tensors: {"scale": np.float32(1)},
        prepare=lambda images: images.astype("float32"),
        apply=of_columns,
    )
    monkeypatch.setitem(features.NETWORKS, "columns", network)


def images(seed, num):
    return np.random.RandomState(seed).randint(0, 256, (num, 4, 4, 3)).astype(np.uint8)


def source_of(array):
    return Source(len(array), lambda i: {"image": array[i]}, ())


@pytest.mark.parametrize("by", ["pixels", "columns"])
def test_the_nearer_orientation_of_each_image_counts(by, columns):
    """Both are often among the nearest, as of a nearly symmetric one; each is named once."""
    reals = images(0, 40)
    reals[20:, :, 2:] = reals[20:, :, 1::-1]
    reals[20:, :, 0] |= 7  # Now half of them are nearly symmetric.
    samples = np.concatenate([reals[3:4, :, ::-1], reals[5:6], images(1, 6)])
    if by == "pixels":
        found = nearest(samples, source_of(reals), 5, mirror=True, chunk=7)
        flat = [x.reshape(len(x), -1).astype(float) for x in (samples, reals, reals[:, :, ::-1])]
        apart = np.stack(
            [
                scipy.spatial.distance.cdist(flat[0], each, "cityblock") / (255 * 48)
                for each in flat[1:]
            ]
        )
    else:
        found = neighbours.nearest_by_features(samples, source_of(reals), 5, by, mirror=True)
        flat = [x.mean((1, 3)) for x in (samples, reals, reals[:, :, ::-1])]
        apart = np.stack([scipy.spatial.distance.cdist(flat[0], each) for each in flat[1:]])
    order = apart.min(0).argsort(1)[:, :5]
    np.testing.assert_array_equal(found.index, order)
    expected = np.take_along_axis(apart.min(0), order, axis=1)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-4, atol=1e-4)
    mirrored = np.take_along_axis(apart.argmin(0) == 1, order, axis=1)
    np.testing.assert_array_equal(found.mirrored, mirrored)
    shown = np.where(mirrored[..., None, None, None], reals[order][:, :, :, ::-1], reals[order])
    np.testing.assert_array_equal(found.image, shown)
    assert found.mirrored[0, 0]
    assert not found.mirrored[1, 0]


def test_flipped_copies_are_copies_for_a_run_that_was_trained_on_both_orientations(columns):
    reals, params = images(0, 20), {"scale": np.float32(1)}
    fake = from_source("fakes", source_of(reals[::-1, :, ::-1]), None)
    figures = {}
    for mirrored in (False, True):
        real = from_source("reals", source_of(reals), None)._replace(mirrored=mirrored)
        sets = measurement.Sets(real, fake, from_source("others", source_of(images(1, 9)), None))
        names = ["neighbours", "pixel_neighbours"]
        figures[mirrored] = measurement.measure_sets(sets, names, "columns", params)
    found = figures[True]["figures"]
    assert found["neighbour_distance_columns"] == found["neighbour_distance_pixels"] == 0
    assert found["distinct_neighbours_columns"] == found["distinct_neighbours_pixels"] == 1
    assert figures[True]["protocol"]["neighbours_among"]["mirror_images"]
    apart = figures[False]["figures"]
    assert apart["neighbour_distance_pixels"] > 0.1
    assert apart["neighbour_distance_columns"] > 1
    # Other images in place of the fakes are compared in the same way.
    floors = [figures[mirrored]["floor"]["neighbour_distance_columns"] for mirrored in figures]
    assert floors[1] < floors[0]


def test_the_picture_shows_a_mirrored_neighbour_as_it_is_near(monkeypatch):
    reals = images(0, 9).repeat(4, 1).repeat(4, 2)
    monkeypatch.setattr(
        grids, "grid", lambda *_: SimpleNamespace(arrays={"image": reals[6:7, :, ::-1]})
    )
    for mirror in (False, True):
        run = SimpleNamespace(
            training_images=lambda: source_of(reals),
            config=SimpleNamespace(data=SimpleNamespace(mirror=mirror)),
        )
        view = grids.neighbour_grid(run, 1, k=2)
        assert ("0.0000 mirrored #6" in view.report[1]) == mirror
        assert view.arrays["neighbour_mirrored"][0, 0] == mirror
        equal = view.arrays["neighbour_image"][0, 0] == view.arrays["image"][0]
        assert equal.all() == mirror
        picture = view.picture()
        large = (picture.shape[1] - 2 * 2) // 3  # Two pixels apart.
        sample, first = picture[:large, :large], picture[:large, large + 2 : 2 * large + 2]
        assert (sample == first).all() == mirror


def test_flipped_copies_vote_as_the_images_that_they_copy(columns):
    """By pixels and by features; unflipped, other images are nearer to most."""
    reals, label = images(0, 60), np.arange(60) % 2
    run = SimpleNamespace(
        training_images=lambda: source_of(reals)._replace(
            fetch=lambda i: {"image": reals[i], "label": label[i]},
            label_names=("no", "yes"),
        ),
        config=SimpleNamespace(data=SimpleNamespace(mirror=True)),
        inputs=lambda num, seed: (num,),
        generate=lambda num: reals[:num, :, ::-1],
    )
    for by in ("pixels", "columns"):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(attributes, "VOTES", 1)
            patched.setattr(attributes, "_attribute", lambda *_: (1, ("no", "yes")))
            sides = attributes._voted(run, 1, None, (), 60, by)
        np.testing.assert_array_equal(sides.have, np.flatnonzero(label))
