"""Functions of a batch computed in chunks: how many, and that nothing else is in the result."""

import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.ops import chunks


def test_the_largest_cache_is_what_linux_says(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CACHES", tmp_path)
    assert chunks.cache_bytes.__wrapped__() == chunks.USUAL_CACHE
    for i, size in enumerate(("48K", "2048K", "491520K")):
        (tmp_path / f"index{i}").mkdir()
        (tmp_path / f"index{i}" / "size").write_text(f"{size}\n")
    assert chunks.cache_bytes.__wrapped__() == 480 << 20


@pytest.mark.parametrize(
    ("batch", "total", "most", "count"),
    [(32, 100, 100, 1), (32, 101, 100, 2), (32, 300, 100, 4), (6, 600, 140, 6), (7, 2, 1, 7)],
)
def test_chunks_are_equal_and_within_the_bytes_they_may_take(batch, total, most, count):
    assert chunks.count_chunks(batch, total, most) == count


def test_an_image_beyond_the_bytes_is_a_chunk():
    assert chunks.count_chunks(3, 900, 100) == 3


def test_results_keep_nothing_of_the_values_that_their_arrays_began_with():
    """Those are values of the input, NaN here."""
    x, g = jnp.ones((4, 2)).at[0, 0].set(jnp.nan), jnp.full((4, 2), 2.0)
    written = chunks.write_chunks(jnp.nan_to_num, x, 2, g)
    np.testing.assert_array_equal(written, [[0, 1], [1, 1], [1, 1], [1, 1]])
    summed = chunks.sum_chunks(lambda x, g: jnp.sum(jnp.nan_to_num(x) * g, 0), x, g, 2)
    np.testing.assert_array_equal(summed, [6, 8])
