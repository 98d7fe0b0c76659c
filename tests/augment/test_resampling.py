"""Maps of the plane, wavelets and filters against SciPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from augmentations import SIZE, every, images

from ganjax.augment import (
    affine,
    filter,
    geometric,
    wavelets,
)


def scipy_affine(x, inverse, mode):
    """Moves images by SciPy, which has rows and columns where a map has x and y."""
    moved = []
    for image, matrix in zip(np.asarray(x), np.asarray(inverse, np.float64), strict=True):
        linear = matrix[:2, :2][::-1, ::-1]
        middle = (np.array(image.shape[:2]) - 1) / 2
        offset = middle - linear @ middle + matrix[:2, 2][::-1]
        planes = [
            scipy.ndimage.affine_transform(plane, linear, offset, order=1, mode=mode)
            for plane in np.moveaxis(image.astype(np.float64), -1, 0)
        ]
        moved.append(np.stack(planes, -1))
    return np.stack(moved)


MAPS = {
    "scale": affine.scale(jnp.array([0.7, 1.3]), jnp.array([1.1, 0.6])),
    "rotate": affine.rotate(jnp.array([0.5, -2.0])),
    "translate": affine.translate(jnp.array([2.3, -5.0]), jnp.array([-20.6, 1.5])),
}


MAPS["all"] = affine.compose(*MAPS.values())


SIZES = [*((name, (12, 12)) for name in MAPS), ("rotate", (9, 14)), ("all", (12, 18))]


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_lookup_is_scipys(name, size):
    x = images(2, size)
    moved = affine.resample(x, MAPS[name])
    np.testing.assert_allclose(moved, scipy_affine(x, MAPS[name], "reflect"), atol=2e-5)


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_filtered_resampling_is_the_papers_step_by_step(name, size):
    """NumPy mirrors, SciPy filters and looks up, in a margin that holds all that maps reach."""
    margin = 40
    x = images(2, size)
    taps = 2**0.5 * wavelets.SYM6[::-1]
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (margin, margin), (margin, margin), (0, 0)),
                    mode="reflect")  # fmt: skip

    def along(function, x):
        return np.apply_along_axis(function, 2, np.apply_along_axis(function, 1, x))

    doubled = along(lambda v: scipy.signal.upfirdn(taps, v, up=2), padded)[:, 5:, 5:]
    doubled = doubled[:, : 2 * padded.shape[1], : 2 * padded.shape[2]]
    # The image lies that far to the right and below in both grids.
    first = np.eye(3)
    first[:2, 2] = wavelets.SHIFT
    inverse = np.array(MAPS[name], np.float64)
    inverse[:, :2, 2] *= 2
    moved = scipy_affine(doubled, first @ inverse @ np.linalg.inv(first), "constant")
    down = along(lambda v: np.correlate(v, taps / 2, "valid")[1::2], moved)
    top, left = ((made - side) // 2 for made, side in zip(down.shape[1:3], size, strict=True))
    expected = down[:, top : top + size[0], left : left + size[1]]
    np.testing.assert_allclose(geometric.apply(x, MAPS[name]), expected, atol=5e-5)


@pytest.mark.parametrize("period", [7, 28, 60, 126, 252])
def test_a_whole_number_of_periods_is_the_first_pixel(period):
    """When compiled too, where XLA's quotient by a constant is a product and rounds either way."""
    places = np.arange(-3000.0, 3001.0, dtype=np.float32)[None]
    pixel, part = jax.jit(partial(affine.periodic, period=period))(places)
    np.testing.assert_array_equal(pixel, places % period)
    np.testing.assert_array_equal(part, 0)


def test_chunks_and_groups_of_a_batch_change_no_result(monkeypatch):
    n = 6
    x, weight = images(n), images(n, smooth=1.0)
    moves = geometric.inverse(jax.random.key(0), n, every(geometric, 0.9), (SIZE, SIZE))

    def value_and_gradient(apply):
        y, pull_back = jax.vjp(jax.jit(partial(apply, inverse=moves)), x)
        return y, *pull_back(weight)

    monkeypatch.setattr(affine, "GROUPS", 1)
    whole = value_and_gradient(geometric._apply)
    monkeypatch.setattr(geometric, "CHUNK_BYTES", 2 * 4 * geometric.DOUBLED * x[0].size)
    monkeypatch.setattr(affine, "GROUPS", 2)
    chunked = value_and_gradient(geometric.apply)
    for a, b in zip(whole, chunked, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_shifts_by_whole_pixels_pass_the_filters():
    """They pass as they are, since sym6 is orthogonal."""
    x = images(4, smooth=1.0)
    shift = affine.translate(jnp.full(4, 2.0), jnp.full(4, -1.0))
    expected = np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)), mode="reflect")[:, :SIZE, 2:]
    np.testing.assert_allclose(geometric.apply(x, shift), expected, atol=1e-5)


def test_wavelets_are_orthonormal_with_their_vanishing_moments():
    """This defines them, but that sym6 is the one of nearly linear phase."""
    for taps, moments in ((wavelets.SYM2, 2), (wavelets.SYM6, 6)):
        assert len(taps) == 2 * moments
        products = np.correlate(taps, taps, "full")[len(taps) - 1 :: 2]
        np.testing.assert_allclose(products, [1] + [0] * (moments - 1), atol=1e-10)
        signs = (-1.0) ** np.arange(len(taps))
        for k in range(moments):
            assert abs(np.sum(signs * np.arange(len(taps)) ** k * taps)) < 1e-5
    frequencies, response = scipy.signal.freqz(wavelets.SYM6, worN=200)
    passed = frequencies < np.pi / 2
    phase = np.unwrap(np.angle(response))[passed]
    slope, intercept = np.polyfit(frequencies[passed], phase, 1)
    assert np.abs(phase - slope * frequencies[passed] - intercept).max() < 0.1


def test_downsampling_undoes_upsampling():
    up, down = wavelets.upsampling(9), wavelets.downsampling(9)
    positions = np.arange(-wavelets.REACH, 18 + wavelets.REACH) % (len(up) - 1)
    np.testing.assert_allclose(down @ up[positions], np.eye(9), atol=1e-9)


def test_bands_split_the_spectrum():
    """The bands add up to the identity, and each passes its own octave most."""
    bands = wavelets.bands()
    middle = len(bands[0]) // 2
    total = sum(np.pad(band, middle - len(band) // 2) for band in bands)
    np.testing.assert_allclose(total, np.eye(2 * middle + 1)[middle], atol=1e-12)
    for i, centre in enumerate((1 / 16, 3 / 16, 3 / 8, 3 / 4)):
        gains = [abs(scipy.signal.freqz(band, worN=[centre * np.pi])[1][0]) for band in bands]
        assert np.argmax(gains) == i


def test_filtering_is_scipys():
    x, gains = images(2, 24), jnp.array([[1.0, 2.0, 0.5, 0.25], [1.0, 1.0, 1.0, 1.0]])
    bands = wavelets.bands()
    reach = len(bands[0]) // 2
    taps = sum(
        float(gain) * np.pad(band, reach - len(band) // 2)
        for gain, band in zip(gains[0], bands, strict=True)
    )
    expected = np.asarray(x[0], np.float64)
    for axis in (0, 1):
        expected = scipy.ndimage.correlate1d(expected, taps, axis, mode="mirror")
    filtered = filter.apply(x, gains, (-1.0, 1.0))
    np.testing.assert_allclose(filtered[0], expected, atol=2e-5)
    np.testing.assert_array_equal(filtered[1], x[1])
