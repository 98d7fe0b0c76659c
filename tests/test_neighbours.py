"""The nearest of many images, beside brute force."""

import numpy as np

from ganjax.data.sources import Source
from ganjax.neighbours import CHUNK_BYTES, nearest


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
