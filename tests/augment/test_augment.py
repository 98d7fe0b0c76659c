"""Augmentations against plain references, their draws, identity, gradients and devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, signal, stats

from ganjax.augment import affine, blit, colour, corrupt, filter, geometric, keras, wavelets
from ganjax.augment import diffaugment as diff
from ganjax.augment import pipeline as ada
from ganjax.keys import fold
from ganjax.parallel.sharding import make_layout

SIZE = 16
RANGES = ((-1.0, 1.0), (0.0, 1.0))


def images(n=4, size=SIZE, value_range=(-1.0, 1.0), smooth=0.0, channels=3):
    low, high = value_range
    x = np.random.RandomState(0).rand(n, size, size, channels)
    if smooth:
        x = ndimage.gaussian_filter(x, (0, smooth, smooth, 0), mode="mirror")
    return (x * (high - low) + low).astype(np.float32)


def policies(value_range):
    return {
        "keras": keras.keras(0.125, 0.125, 0.25),
        "ada": ada.pipeline(tuple(ada.FAMILIES), value_range, {}),
        "diffaugment": diff.diffaugment(tuple(diff.FAMILIES), value_range),
    }


TRANSFORMS = ada.transforms(tuple(ada.FAMILIES))


def every(family, p):
    """The same probability for each of a family's transforms."""
    return dict.fromkeys(family.TRANSFORMS, p)


NAMES = tuple(policies((0.0, 1.0)))


@pytest.mark.parametrize("value_range", RANGES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_happens_at_0_and_all_is_moved_at_1(name, value_range):
    """Bit for bit; compiled, as in a step, where rounding could differ."""
    x = images(value_range=value_range)
    augment = jax.jit(policies(value_range)[name])
    np.testing.assert_array_equal(augment(x, 0.0, jax.random.key(0)), x)
    y = np.asarray(augment(x, 1.0, jax.random.key(0)))
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert all((a != b).any() for a, b in zip(x, y, strict=True))
    np.testing.assert_array_equal(augment(x, 1.0, jax.random.key(0)), y)
    assert (augment(x, 1.0, jax.random.key(1)) != y).any()


@pytest.mark.parametrize("name", ["ada", "diffaugment"])
def test_the_value_range_does_not_matter(name):
    """Images in [0, 1] are treated as the same ones in [-1, 1]."""
    x, key = images(), jax.random.key(3)
    one, other = (policies(value_range)[name] for value_range in RANGES)
    y = 2 * other((x + 1) / 2, 1.0, key) - 1
    np.testing.assert_allclose(y, one(x, 1.0, key), atol=5e-5)


def scipy_affine(x, inverse, mode):
    """Each image under its map by scipy: rows and columns about the centre."""
    out = []
    for image, matrix in zip(np.asarray(x), np.asarray(inverse, np.float64), strict=True):
        turned = matrix[:2, :2][::-1, ::-1]  # (x, y) -> (row, column).
        middle = (np.array(image.shape[:2]) - 1) / 2
        offset = middle - turned @ middle + matrix[:2, 2][::-1]
        planes = [
            ndimage.affine_transform(plane, turned, offset, order=1, mode=mode)
            for plane in np.moveaxis(image.astype(np.float64), -1, 0)
        ]
        out.append(np.stack(planes, -1))
    return np.stack(out)


MAPS = {
    "scale": affine.scale(jnp.array([0.7, 1.3]), jnp.array([1.1, 0.6])),
    "rotate": affine.rotate(jnp.array([0.5, -2.0])),
    "translate": affine.translate(jnp.array([2.3, -5.0]), jnp.array([-20.6, 1.5])),
}
MAPS["all"] = affine.compose(*MAPS.values())


@pytest.mark.parametrize("name", MAPS)
def test_lookup_is_scipys(name):
    x = images(2)
    got = affine.resample(x, MAPS[name])
    np.testing.assert_allclose(got, scipy_affine(x, MAPS[name], "reflect"), atol=2e-5)


@pytest.mark.parametrize("name", MAPS)
def test_filtered_resampling_step_by_step(name):
    """Mirrored far out by NumPy, upsampled by SciPy's convolutions, looked up by scipy, and down:
    the paper's steps, with a margin so wide that it holds all that the maps reach."""
    size, margin = 12, 40
    x = images(2, size)
    taps = 2**0.5 * wavelets.SYM6[::-1]
    padded = np.pad(x.astype(np.float64), ((0, 0), (margin, margin), (margin, margin), (0, 0)),
                    mode="reflect")  # fmt: skip

    def along(function, x):
        return np.apply_along_axis(function, 2, np.apply_along_axis(function, 1, x))

    doubled = along(lambda v: signal.upfirdn(taps, v, up=2), padded)[:, 5:, 5:]
    doubled = doubled[:, : 2 * padded.shape[1], : 2 * padded.shape[2]]
    # The image lies that far to the right and below in both grids.
    first = np.eye(3)
    first[:2, 2] = wavelets.SHIFT
    inverse = np.array(MAPS[name], np.float64)
    inverse[:, :2, 2] *= 2
    moved = scipy_affine(doubled, first @ inverse @ np.linalg.inv(first), "constant")
    down = along(lambda v: np.correlate(v, taps / 2, "valid")[1::2], moved)
    first = (down.shape[1] - size) // 2
    expected = down[:, first : first + size, first : first + size]
    np.testing.assert_allclose(geometric.apply(x, MAPS[name]), expected, atol=5e-5)


@pytest.mark.parametrize("period", [7, 28, 60, 126, 252])
def test_a_whole_number_of_periods_is_the_first_pixel(period):
    """Compiled, where XLA's quotient by a constant is a product and rounds to either side."""
    places = np.arange(-3000.0, 3001.0, dtype=np.float32)[None]
    pixel, part = jax.jit(partial(affine.periodic, period=period))(places)
    np.testing.assert_array_equal(pixel, places % period)
    np.testing.assert_array_equal(part, 0)


def test_chunks_of_the_batch(monkeypatch):
    """And groups: both change the order of the work alone."""
    n = 6
    x, weight = images(n), images(n, smooth=1.0)
    moves = geometric.inverse(jax.random.key(0), n, every(geometric, 0.9), (SIZE, SIZE))

    def made(apply):
        y, back = jax.vjp(jax.jit(partial(apply, inverse=moves)), x)
        return y, *back(weight)

    monkeypatch.setattr(affine, "GROUPS", 1)
    whole = made(geometric._apply)
    monkeypatch.setattr(geometric, "CHUNK_BYTES", 2 * 4 * geometric.DOUBLED * x[0].size)
    monkeypatch.setattr(affine, "GROUPS", 2)
    cut = made(geometric.apply)
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_whole_pixels():
    """Whole shifts pass the filters as they are: sym6 is orthogonal. Flips and quarter turns
    exchange the slightly asymmetric filters, and leave less than a tenth of the contrast."""
    x = images(4, smooth=1.0)
    shift = affine.translate(jnp.full(4, 2.0), jnp.full(4, -1.0))
    expected = np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)), mode="reflect")[:, :SIZE, 2:]
    np.testing.assert_allclose(geometric.apply(x, shift), expected, atol=1e-5)

    def error(got, expected):
        return np.sqrt(np.mean((np.asarray(got) - expected) ** 2)) / x.std()

    turned = geometric.apply(x, blit.quarter_turns(jnp.array([0, 1, 2, 3])))
    # The inverse turns back: the image turns counter-clockwise.
    assert error(turned, np.stack([np.rot90(image, k) for k, image in enumerate(x)])) < 0.1
    flip = affine.scale(-jnp.ones(4), jnp.ones(4))
    assert error(geometric.apply(x, flip), x[:, :, ::-1]) < 0.1


def test_wavelets():
    """Orthonormal and of as many vanishing moments as they should be, which defines them; sym6
    is the one of nearly linear phase."""
    for taps, moments in ((wavelets.SYM2, 2), (wavelets.SYM6, 6)):
        assert len(taps) == 2 * moments
        products = np.correlate(taps, taps, "full")[len(taps) - 1 :: 2]
        np.testing.assert_allclose(products, [1] + [0] * (moments - 1), atol=1e-10)
        signs = (-1.0) ** np.arange(len(taps))
        for k in range(moments):
            assert abs(np.sum(signs * np.arange(len(taps)) ** k * taps)) < 1e-5
    frequencies, response = signal.freqz(wavelets.SYM6, worN=200)
    passed = frequencies < np.pi / 2
    phase = np.unwrap(np.angle(response))[passed]
    slope, intercept = np.polyfit(frequencies[passed], phase, 1)
    assert np.abs(phase - slope * frequencies[passed] - intercept).max() < 0.1


def test_up_and_down_is_identity():
    up, down = wavelets.upsampling(9), wavelets.downsampling(9)
    positions = np.arange(-wavelets.REACH, 18 + wavelets.REACH) % (len(up) - 1)
    np.testing.assert_allclose(down @ up[positions], np.eye(9), atol=1e-9)


def hsv(x):
    return np.asarray(Image.fromarray(x).convert("HSV"), int)


def test_colours():
    """Each of the five against what it says of a colour; hue against PIL's."""
    x = images(1).astype(np.float64)
    map_of = lambda m, x=x: np.asarray(colour.apply(jnp.asarray(x), m, (-1.0, 1.0)))  # noqa: E731
    one = jnp.ones(1)
    np.testing.assert_allclose(map_of(colour.brightness(0.3 * one)), x + 0.3, atol=1e-6)
    np.testing.assert_allclose(map_of(colour.contrast(1.7 * one)), 1.7 * x, atol=1e-6)
    grey = x.mean(-1, keepdims=True)
    np.testing.assert_allclose(map_of(colour.luma_flip(one)), x - 2 * grey, atol=1e-6)
    np.testing.assert_allclose(
        map_of(colour.saturation(0.4 * one)), grey + 0.4 * (x - grey), atol=1e-6
    )
    # A third of a turn exchanges the channels in a circle.
    third = map_of(colour.hue(2 * jnp.pi / 3 * one))
    np.testing.assert_allclose(third, x[..., [2, 0, 1]], atol=1e-6)
    angle = np.deg2rad(30)
    muted = np.full((1, 1, 1, 3), 0.5) + np.array([0.02, -0.02, 0.0])
    turned = map_of(colour.hue(angle * one), muted)
    got, start = (hsv(((v[0] + 1) * 127.5).astype(np.uint8))[0, 0, 0] for v in (turned, muted))
    assert abs((got - start) % 256 - 30 / 360 * 256) < 20


def test_inverses():
    """Parameters' inverses undo colour and maps."""
    angle, factor = jnp.array([0.3]), jnp.array([1.7])
    pairs = [
        (colour.hue(angle), colour.hue(-angle)),
        (colour.contrast(factor), colour.contrast(1 / factor)),
        (colour.saturation(factor), colour.saturation(1 / factor)),
        (colour.brightness(angle), colour.brightness(-angle)),
        (colour.luma_flip(jnp.ones(1)), colour.luma_flip(jnp.ones(1))),
        (affine.rotate(angle), affine.rotate(-angle)),
        (affine.scale(factor, angle), affine.scale(1 / factor, 1 / angle)),
        (affine.translate(factor, angle), affine.translate(-factor, -angle)),
    ]
    for one, other in pairs:
        np.testing.assert_allclose(affine.compose(one, other)[0], np.eye(len(one[0])), atol=1e-6)


def test_bands_split_the_spectrum():
    """They add up to the identity, and each passes its own octave most."""
    bands = wavelets.bands()
    middle = len(bands[0]) // 2
    total = sum(np.pad(band, middle - len(band) // 2) for band in bands)
    np.testing.assert_allclose(total, np.eye(2 * middle + 1)[middle], atol=1e-12)
    for i, centre in enumerate((1 / 16, 3 / 16, 3 / 8, 3 / 4)):
        gains = [abs(signal.freqz(band, worN=[centre * np.pi])[1][0]) for band in bands]
        assert np.argmax(gains) == i


def test_filtering_is_scipys():
    x, gains = images(2, 24), jnp.array([[1.0, 2.0, 0.5, 0.25], [1.0, 1.0, 1.0, 1.0]])
    bands = wavelets.bands()
    reach = len(bands[0]) // 2
    taps = sum(
        float(gain) * np.pad(band, reach - len(band) // 2)
        for gain, band in zip(gains[0], bands, strict=True)
    )
    expected = x[0].astype(np.float64)
    for axis in (0, 1):
        expected = ndimage.correlate1d(expected, taps, axis, mode="mirror")
    got = filter.apply(x, gains, (-1.0, 1.0))
    np.testing.assert_allclose(got[0], expected, atol=2e-5)
    np.testing.assert_array_equal(got[1], x[1])


def test_cutout_and_shift():
    x = images(1)
    cut = np.asarray(corrupt.cut(jnp.asarray(x), jnp.array([[0.5, 0.25]]), 0.5, 0.0))
    expected = x.copy()
    expected[:, :8, 4:12] = 0
    np.testing.assert_array_equal(cut, expected)
    shifted = diff.shifted(jnp.asarray(x), jnp.array([[2, -1]]), 0.5)
    expected = np.full_like(x, 0.5)
    expected[:, 2:, :-1] = x[:, :-2, 1:]
    np.testing.assert_array_equal(shifted, expected)


N, P = 20_000, 0.4


def share(drawn, expected):
    assert abs(np.mean(np.asarray(drawn)) - expected) < 4 * (expected * (1 - expected) / N) ** 0.5


def is_normal(values, sigma):
    assert stats.kstest(np.asarray(values), stats.norm(0, sigma).cdf).pvalue > 1e-4


def is_uniform(values, low, high):
    assert stats.kstest(np.asarray(values), stats.uniform(low, high - low).cdf).pvalue > 1e-4


def test_statistics_of_blitting():
    """A flip in p / 2 of all, a turn by each of three angles in p / 4."""
    inverse = np.asarray(blit.inverse(jax.random.key(0), N, every(blit, P), (64, 64)), np.float64)
    share(np.linalg.det(inverse) < 0, P / 2)
    share(np.abs(inverse[:, 0, 1]) > 0.5, P / 2)
    assert set(np.unique(np.abs(inverse[:, :2, 2]))) == set(range(9))
    moved = np.any(inverse[:, :2, 2] != 0, -1)
    # round(U[-8, 8)) is 0 in one of 16, in both axes of one of 256.
    share(moved, P * (1 - 1 / 256))


def test_statistics_of_the_geometric_family():
    """Rotated in p of all (before or after the anisotropic scaling), and so on."""
    inverse = np.asarray(
        geometric.inverse(jax.random.key(0), N, every(geometric, P), (64, 64)), np.float64
    )
    linear = inverse[:, :2, :2]
    determinant = np.linalg.det(linear)
    scaled = np.abs(determinant - 1) > 1e-5
    share(scaled, P)
    is_normal(np.log2(determinant[scaled]) / -2, 0.2)
    singular = np.linalg.svd(linear, compute_uv=False)
    stretched = singular[:, 0] / singular[:, 1] > 1 + 1e-4
    share(stretched, P)
    straight = np.abs(linear[:, 0, 1]) + np.abs(linear[:, 1, 0]) < 1e-6
    share(straight, 1 - P)
    turned = ~straight & ~scaled & ~stretched
    is_uniform(np.arctan2(linear[turned, 1, 0], linear[turned, 0, 0]), -np.pi, np.pi)
    forward = np.linalg.inv(inverse)
    alone = straight & ~scaled & ~stretched
    shifts = forward[alone, :2, 2]
    shifts = shifts[np.any(shifts != 0, -1)]
    is_normal(shifts.ravel(), 8.0)
    assert abs(len(shifts) / alone.sum() - P) < 0.03


def test_statistics_of_colours():
    """Of p = 1: what is drawn for each, read off the composed matrix."""
    matrix = np.asarray(colour.matrix(jax.random.key(0), N, every(colour, 1.0)), np.float64)
    white = matrix[:, :3, :3].sum(2).mean(1)  # Greys stay grey: contrast, and the luma flip.
    share(white < 0, 0.5)
    is_normal(np.log2(np.abs(white)), 0.5)
    is_normal(matrix[:, :3, 3].mean(1) / white, 0.2)
    np.testing.assert_allclose(matrix[:, :3, :3].sum(2), np.tile(white[:, None], 3), atol=1e-4)
    across = np.linalg.svd(matrix[:, :3, :3] - white[:, None, None] / 3, compute_uv=False)[:, 0]
    is_normal(np.log2(across / np.abs(white)), 1.0)
    gated = np.asarray(colour.matrix(jax.random.key(0), N, every(colour, P)))
    share((gated == np.eye(4)).all((1, 2)), (1 - P) ** 4 * (1 - P / 2))


def test_statistics_of_gains():
    """All bands untouched in (1 - p)^4 of all; the expected power is what it was."""
    gains = np.asarray(filter.gains(jax.random.key(0), N, every(filter, P)), np.float64)
    share((gains == 1).all(-1), (1 - P) ** 4)
    once = np.asarray(filter.gains(jax.random.key(0), 1_000, every(filter, 1.0)), np.float64)
    assert np.isfinite(once).all()
    only = (gains != 1).any(-1) & (np.ptp(gains[:, :3], axis=-1) < 1e-6)  # The last band alone.
    power = (gains[only] ** 2) @ np.array([10, 1, 1, 1]) / 13
    np.testing.assert_allclose(power, 1, rtol=1e-5)


def test_statistics_of_corruption():
    x = jnp.zeros((2_000, 16, 16, 1))
    noisy = np.asarray(corrupt.noise(x, jax.random.key(0), every(corrupt, P), (-1.0, 1.0)))
    sigma = noisy.std((1, 2, 3))
    assert abs(np.mean(sigma > 0) - P) < 0.05
    # A half-normal of scale .1 has the mean .1 sqrt(2 / pi).
    assert abs(sigma[sigma > 0].mean() - 0.1 * (2 / np.pi) ** 0.5) < 0.01
    cut = np.asarray(corrupt.cutout(x + 1, jax.random.key(0), every(corrupt, P), (-1.0, 1.0)))
    gone = (cut == 0).mean((1, 2, 3))
    assert abs(np.mean(gone > 0) - P) < 0.05
    # E[overlap of [c - 1/4, c + 1/4] with [0, 1]] = 7/16 on each axis.
    assert abs(gone[gone > 0].mean() - (7 / 16) ** 2) < 0.01


def test_keras_draws_one_gate_for_all():
    x = images(1)
    many = jnp.tile(x, (1_000, 1, 1, 1))
    y = np.asarray(keras.keras(0.125, 0.125, 0.25)(many, 0.3, jax.random.key(0)))
    same = (y == x).all((1, 2, 3))
    assert abs(np.mean(~same) - 0.3) < 0.06
    assert len(np.unique(y[~same].reshape((~same).sum(), -1)[:, 0])) > 0.9 * (~same).sum()


def test_statistics_of_the_keras_form(monkeypatch):
    """A flip, whole shifts, a rotation and a zoom in, of the ranges that are asked for."""
    drawn = []
    monkeypatch.setattr(affine, "resample", lambda x, inverse: drawn.append(inverse) or x)
    keras.keras(0.125, 0.125, 0.25)(jnp.zeros((N, 16, 16, 1)), P, jax.random.key(0))
    inverse = np.asarray(drawn[0], np.float64)
    moved = (inverse != np.eye(3)).any((1, 2))
    share(moved, P)
    flips = np.linalg.det(inverse) < 0
    share(flips, P / 2)
    inverse[flips, 0] *= -1  # Without the flip.
    inverse = inverse[moved]
    zoom = np.linalg.norm(inverse[:, :2, :2], axis=1)
    is_uniform(zoom[:, 0], 0.75, 1)
    is_uniform(zoom[:, 1], 0.75, 1)
    is_uniform(np.arctan2(inverse[:, 1, 0], inverse[:, 0, 0]), -np.pi / 4, np.pi / 4)
    for shift in inverse[:, 0, 2], inverse[:, 1, 2]:
        # round(U[-2, 2)): the outermost are half as frequent as the others.
        assert set(np.unique(np.abs(shift))) == {0, 1, 2}
        assert abs(np.mean(np.abs(shift) == 2) - 1 / 4) < 0.03


def test_statistics_of_diffaugments_colours():
    """What was drawn, read off the images: they are what these three make of them."""
    x = images(4_000, 4).astype(np.float64)
    y = np.asarray(
        diff.colour(jnp.asarray(x, jnp.float32), 1.0, jax.random.key(0), (-1.0, 1.0)), np.float64
    )

    def parts(x):
        mean, grey = x.mean((1, 2, 3), keepdims=True), x.mean(-1, keepdims=True)
        return mean, grey - mean, x - grey

    def factor(new, old):
        return (new * old).sum((1, 2, 3), keepdims=True) / (old**2).sum((1, 2, 3), keepdims=True)

    (mean, light, colours), (new_mean, new_light, new_colours) = parts(x), parts(y)
    contrast, both = factor(new_light, light), factor(new_colours, colours)
    np.testing.assert_allclose(y, new_mean + contrast * light + both * colours, atol=1e-5)
    is_uniform((new_mean - mean).ravel(), -0.5, 0.5)
    is_uniform(contrast.ravel(), 0.5, 1.5)
    is_uniform((both / contrast).ravel(), 0, 2)


def test_statistics_of_diffaugments_places(monkeypatch):
    """Shifts of up to an eighth, all as frequent; squares of half the size, anywhere."""
    drawn = {}
    monkeypatch.setattr(diff, "shifted", lambda x, shift, value: drawn.update(shift=shift))
    monkeypatch.setattr(
        corrupt, "cut", lambda x, centre, size, value: drawn.update(centre=centre, size=size)
    )
    x = jnp.zeros((N, 16, 16, 1))
    for transform in diff.translation, diff.cutout:
        transform(x, 1.0, jax.random.key(0), (-1.0, 1.0))
    for shift in np.asarray(drawn["shift"]).T:
        for pixels in range(-2, 3):
            share(shift == pixels, 1 / 5)
        assert np.abs(shift).max() == 2
    assert drawn["size"] == 0.5
    for centre in np.asarray(drawn["centre"], np.float64).T:
        is_uniform(centre, 0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name):
    """Affine in the image: a difference of values is the gradient's product, at any distance; and
    the transpose and its transpose belong together, which second orders rest on."""
    augment = jax.jit(partial(policies((-1.0, 1.0))[name], p=1.0, key=jax.random.key(2)))
    x, v = images(2, 8), np.random.RandomState(1).randn(2, 8, 8, 3).astype(np.float32)
    w = np.random.RandomState(2).randn(2, 8, 8, 3).astype(np.float32)

    @jax.jit
    @jax.value_and_grad
    def penalty(x):
        return jnp.sum(jnp.square(jax.grad(lambda x: jnp.sum(jnp.sin(augment(x))))(x)))

    gradient = jax.jit(jax.grad(lambda x: jnp.sum(w * augment(x))))(x)
    difference = np.sum(w * (np.asarray(augment(x + v)) - np.asarray(augment(x))))
    np.testing.assert_allclose(np.sum(gradient * v), difference, rtol=1e-3, atol=1e-3)
    second = penalty(x)[1]
    numerical = (penalty(x + 1e-2 * v)[0] - penalty(x - 1e-2 * v)[0]) / 2e-2
    np.testing.assert_allclose(np.sum(second * v), numerical, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_one_device_and_eight_agree(name):
    augment, x = policies((-1.0, 1.0))[name], images(8, 8)
    function = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.sin(augment(x, 0.7, key)))))
    key = jax.random.key(5)
    one = function(x)
    eight = function(jax.device_put(x, make_layout().batch))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), one, eight)


def changed(p, n):
    """Family -> bool (n,): which samples something happens to, given each transform's p."""
    key, size, x = jax.random.key(7), (64, 64), jnp.full((n, 2, 2, 1), 0.5)
    noise = corrupt.noise(x, key, p, (-1.0, 1.0))
    cut = corrupt.cutout(x, key, p, (-1.0, 1.0))
    found = {
        "blit": (blit.inverse(key, n, p, size), np.eye(3)),
        "geometric": (geometric.inverse(key, n, p, size), np.eye(3)),
        "colour": (colour.matrix(key, n, p), np.eye(4)),
        "filter": (filter.gains(key, n, p), np.ones(4)),
        "corrupt": (jnp.concatenate([noise, cut], 1), np.full((4, 2, 1), 0.5)),
    }
    return {
        family: (np.asarray(drawn) != nothing).reshape(n, -1).any(1)
        for family, (drawn, nothing) in found.items()
    }


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_transform_has_a_probability_of_its_own(name):
    none = dict.fromkeys(TRANSFORMS, 0.0)
    for family, samples in changed(none | {name: 0.5}, 400).items():
        # Of flips and of 0 to 3 quarter turns some change nothing, filtering has four draws, and
        # a cut rectangle may lie between the centres of so few pixels.
        share = {"x_flip": 1 / 2, "luma_flip": 1 / 2, "rotate_90": 3 / 4}.get(name, 1.0)
        most = 1 - (1 - 0.5) ** 4 if name == "filter" else 0.5 * share
        assert abs(samples.mean() - most * (name in ada.FAMILIES[family])) < 0.09


def test_multipliers():
    """Of p, at most 1; what has none is left alone."""
    x, key = images(6, 8), jax.random.key(3)
    others = dict.fromkeys(ada.FAMILIES["colour"], 0.0) | {"luma_flip": 9.0, "hue": 0.5}
    augment = jax.jit(ada.pipeline(("colour",), (-1.0, 1.0), others))
    p = dict.fromkeys(ada.FAMILIES["colour"], 0.0) | {"luma_flip": 1.0, "hue": 0.4}
    wanted = colour.apply(x, colour.matrix(fold(key, "colour"), 6, p), (-1.0, 1.0))
    np.testing.assert_allclose(augment(x, 0.8, key), wanted, rtol=1e-5, atol=1e-6)
    del others["hue"]
    assert (np.asarray(ada.pipeline(("colour",), (-1.0, 1.0), others)(x, 0.8, key)) != wanted).any()


def test_multipliers_of_nothing():
    with pytest.raises(ValueError, match=r"multipliers=\['hue'\]: there are x_flip, rotate_90"):
        ada.pipeline(("blit",), (-1.0, 1.0), {"hue": 0.5})


def test_families_act_in_the_order_of_the_paper():
    """Whatever order they are named in."""
    n, size, key, whole = 6, (8, 8), jax.random.key(3), (-1.0, 1.0)
    x = jax.random.uniform(jax.random.key(4), (n, *size, 3), minval=-1.0)
    got = jax.jit(ada.pipeline(tuple(ada.FAMILIES)[::-1], whole, {}))(x, 1.0, key)
    blitted, moved = (
        each.inverse(fold(key, name), n, every(each, 1.0), size)
        for name, each in (("blit", blit), ("geometric", geometric))
    )
    x = geometric.apply(x, affine.compose(blitted, moved))
    x = colour.apply(x, colour.matrix(fold(key, "colour"), n, every(colour, 1.0)), whole)
    x = filter.apply(x, filter.gains(fold(key, "filter"), n, every(filter, 1.0)), whole)
    key = fold(key, "corrupt")
    p = every(corrupt, 1.0)
    x = corrupt.cutout(corrupt.noise(x, key, p, whole), key, p, whole)
    np.testing.assert_allclose(got, x, rtol=1e-4, atol=1e-4)
