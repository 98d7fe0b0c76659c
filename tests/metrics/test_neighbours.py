"""The nearest of many images, beside brute force."""

import numpy as np
from scipy.spatial.distance import cdist

from ganjax.data.base import Source
from ganjax.metrics import features, neighbours
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
    apart = cdist(samples.mean((2, 3)), reals.mean((2, 3)))
    np.testing.assert_array_equal(found.index, apart.argsort(1)[:, :4])
    np.testing.assert_allclose(found.distance, np.sort(apart, 1)[:, :4], rtol=1e-4)
    np.testing.assert_array_equal(found.image, reals[found.index])
