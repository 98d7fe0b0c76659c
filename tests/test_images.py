"""Pictures: range, grid, and files written whole."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ganjax import images


def test_to_uint8_rounds_and_clips():
    x = jnp.array([-1.5, -1.0, 0.0, 1.0, 2.0])
    assert images.to_uint8(x, (-1.0, 1.0)).tolist() == [0, 0, 128, 255, 255]
    levels = jnp.arange(256.0)
    for low, high in ((-1.0, 1.0), (0.0, 1.0)):
        back = images.to_uint8(levels / 255 * (high - low) + low, (low, high))
        assert back.tolist() == list(range(256))


@pytest.mark.parametrize(("n", "columns", "shape"), [(4, None, (8, 8)), (5, None, (8, 13))])
def test_grid_shape(n, columns, shape):
    sheet = images.grid(np.full((n, 3, 3, 1), 9, np.uint8), columns)
    assert sheet.shape == (*shape, 1)


def test_grid_places_images_row_by_row():
    cells = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1).repeat(2, 1).repeat(2, 2) + 1
    sheet = images.grid(cells, columns=3, gap=1)[..., 0]
    assert sheet.shape == (5, 8)
    assert sheet[0].tolist() == [1, 1, 0, 2, 2, 0, 3, 3]
    assert not sheet[2].any()
    assert sheet[4].tolist() == [4, 4, 0, 5, 5, 0, 6, 6]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_pixels(tmp_path, channels):
    picture = np.random.RandomState(0).randint(0, 256, (5, 7, channels)).astype(np.uint8)
    images.save_png(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(5, 7, channels), picture)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
