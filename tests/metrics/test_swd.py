"""Sliced Wasserstein distance against a plain one by scipy, and against what must hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from small import shipped

from ganjax.config import ConfigError
from ganjax.data.sources import Source
from ganjax.keys import fold
from ganjax.metrics import swd
from ganjax.metrics.image_set import choose
from ganjax.parallel.sharding import make_layout
from ganjax.training import evaluation, schema


def pictures(n, side, channels=3, seed=0):
    """Of smooth noise, uint8."""
    random = np.random.RandomState(seed)
    noise = scipy.ndimage.gaussian_filter(random.randn(n, side, side, channels), (0, 1, 1, 0))
    return np.clip(128 + 120 * noise, 0, 255).astype(np.uint8)


def distance(reals, fakes, seed=0):
    """The distances of two arrays of images."""
    described = (
        swd.describe([images], name, seed=seed) for images, name in ((reals, "a"), (fakes, "b"))
    )
    return swd.distance(*described, seed=seed)


def filtered(image):
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    return scipy.ndimage.convolve(image, kernel[..., None], mode="mirror")


def reference_pyramid(image):
    """Of one image (S, S, C), in float64."""
    levels = []
    while len(image) > 16:
        coarser = filtered(image)[::2, ::2]
        apart = np.zeros_like(image)
        apart[::2, ::2] = coarser
        levels.append(image - 4 * filtered(apart))
        image = coarser
    return [*levels, image]


def test_laplacian_pyramid():
    images = pictures(2, 64)
    levels = swd.laplacian_pyramid(jnp.asarray(images, jnp.float32))
    assert [level.shape[1] for level in levels] == [64, 32, 16]
    for i, image in enumerate(images):
        for ours, theirs in zip(levels, reference_pyramid(image.astype(np.float64)), strict=True):
            np.testing.assert_allclose(ours[i], theirs, atol=1e-3)
    whole = levels[-1]
    for level in levels[-2::-1]:
        whole = swd.expand(whole) + level
    np.testing.assert_allclose(whole, images, atol=1e-3)


def test_patches_are_cut_from_everywhere():
    """Each is a part of its own image, and all places come alike."""
    side = 9
    image = jnp.arange(2 * side * side, dtype=jnp.float32).reshape(2, side, side, 1)
    found = np.asarray(swd.patches(image, jax.random.key(0), 400))[..., 0]
    corners = found[:, :, 0, 0].astype(int)
    for n in range(2):
        places, counts = np.unique(corners[n], return_counts=True)
        expected = n * side * side + (np.arange(3)[:, None] * side + np.arange(3)).ravel()
        np.testing.assert_array_equal(places, expected)
        assert counts.min() > 400 / 9 * 0.6
    offsets = np.arange(7)[:, None] * side + np.arange(7)
    np.testing.assert_array_equal(found, corners[..., None, None] + offsets)


def test_sliced_wasserstein_is_scipys_direction_by_direction():
    random = np.random.RandomState(0)
    a, b = random.randn(50, 6), random.randn(50, 6) * 2 + 1
    key = jax.random.key(3)
    expected = []
    for i in range(3):
        to = np.asarray(jax.random.normal(fold(key, i), (6, 10)), np.float64)
        to /= np.linalg.norm(to, axis=0)
        expected += [scipy.stats.wasserstein_distance(a @ d, b @ d) for d in to.T]
    ours = swd.sliced_wasserstein(np.float32(a), np.float32(b), key, directions=10, repeats=3)
    np.testing.assert_allclose(ours, np.mean(expected), rtol=1e-5)


def test_the_whole_against_a_plain_one():
    """By scipy, image by image, patch by patch, at the same places and directions."""
    reals, fakes, key = pictures(5, 32), pictures(5, 32, seed=1) // 2, jax.random.key(7)
    sets = {}
    for name, images in (("a", reals), ("b", fakes)):
        at = fold(key, name, 0)
        pyramids = [reference_pyramid(image.astype(np.float64)) for image in images]
        for level, size in enumerate((32, 16)):
            corners = jax.random.randint(fold(at, size), (5, 128, 2), 0, size - 6)
            cut = [
                pyramids[i][level][y : y + 7, x : x + 7]
                for i in range(5)
                for y, x in np.asarray(corners[i])
            ]
            cut = np.stack(cut)
            cut = (cut - cut.mean((0, 1, 2))) / cut.std((0, 1, 2))
            sets[name, size] = cut.reshape(len(cut), -1)
    ours = distance(reals, fakes, seed=7)
    assert list(ours.levels) == [32, 16]
    for size in (32, 16):
        distances = []
        for i in range(4):
            to = jax.random.normal(fold(key, "directions", size, i), (147, 128))
            to = np.asarray(to, np.float64)
            to /= np.linalg.norm(to, axis=0)
            a, b = (np.sort(sets[name, size] @ to, axis=0) for name in "ab")
            distances.append(np.abs(a - b).mean())
        np.testing.assert_allclose(ours.levels[size], 1e3 * np.mean(distances), rtol=1e-3)
    np.testing.assert_allclose(ours.average, np.mean(list(ours.levels.values())))


def test_artefacts_are_seen_at_their_scale(monkeypatch):
    """A checkerboard of single pixels is far at the finest level, and gone at the coarsest."""
    monkeypatch.setattr(swd, "BATCH", 3)  # More than one batch.
    a, b = pictures(6, 32), pictures(6, 32, seed=1)
    checkerboard = 60 * (np.indices((32, 32)).sum(axis=0) % 2)[..., None].astype(np.uint8)
    floor, far = (
        distance(a, b),
        distance(a, np.minimum(b, 195) + checkerboard),
    )
    assert far.levels[32] > 2 * floor.levels[32]
    assert far.levels[16] < 2 * floor.levels[16]
    assert distance(a, a).average < floor.average  # Other places of the same images.


def test_a_collapsed_generator_has_a_distance():
    value = distance(pictures(4, 16), np.full((4, 16, 16, 3), 7, np.uint8))
    assert np.isfinite(value.average)
    assert value.average > 100


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 66, 66, 3), "66x66 pixels; taken are sides of 7 pixels or more, which can be halved"),
        ((4, 4, 4, 3), "4x4 pixels"),
        ((4, 64, 66, 3), "64x66"),
    ],
)
def test_images_of_other_sizes_have_no_pyramid(shape, message):
    with pytest.raises(ValueError, match=message):
        swd.describe([np.zeros(shape, np.uint8)], "a")


@pytest.mark.parametrize(
    ("height", "width", "levels"),
    [
        (28, 28, [28]),
        (48, 48, [48, 24]),
        (96, 128, [(96, 128), (48, 64), (24, 32)]),
        (12, 16, [(12, 16)]),
    ],
)
def test_levels_are_halved_until_the_shorter_side_has_less_than_32_pixels(height, width, levels):
    assert [size.field for size in swd.level_sizes(height, width)] == levels


def test_images_that_are_not_square_are_compared_by_patches_of_all_of_them():
    """A mark in the right columns, which no square of the height would hold, is far."""
    reals, others = (pictures(6, 32, seed=seed)[:, :16] for seed in range(2))
    marked = others.copy()
    marked[:, :, 20:] = 255 - marked[:, :, 20:] // 4
    floor, far = distance(reals, others), distance(reals, marked)
    assert list(far.levels) == [(16, 32)]
    assert far.average > 2 * floor.average


def test_while_training():
    """A resolution that is too small has none; else that of held-out images, and its floor."""
    raw = shipped("progan")
    raw.evaluation.update({"metrics": ("swd",), "num_samples": 12})
    config, module = schema.load(raw)
    algorithm = module.build(config)
    measure = evaluation.Evaluator(
        algorithm,
        config,
        sampler=lambda fakes, z, label, phase: fakes[: len(z)],
        sharding=make_layout().batch,
        params=evaluation.load(config),
    )
    key = jax.random.key(0)
    train, held_out, fakes = (pictures(20, 16, 1, seed) for seed in range(3))
    reals, held = (
        Source(20, lambda i, images=images: {"image": images[i]}, ())
        for images in (train, held_out)
    )
    assert measure(fakes[:, :4, :4], algorithm.phases[0], reals, held, key) == {}
    phase = next(phase for phase in algorithm.phases if phase.image_size == 16)
    found = measure(np.concatenate([fakes] * 13), phase, reals, held, key)
    chosen = choose(held, 12)
    expected = distance(held_out[chosen], fakes[:12])
    np.testing.assert_allclose(found["swd"], expected.average)
    np.testing.assert_allclose(found["swd_16"], expected.levels[16])
    floor = distance(held_out[chosen], train[chosen]).average
    np.testing.assert_allclose(found["swd_floor"], floor)
    assert set(found) == {"swd", "swd_16", "swd_floor"}


def test_images_of_other_sizes_are_refused_before_training():
    raw = shipped("cgan")
    raw.image_size = 66
    raw.evaluation.update({"metrics": ("swd",), "num_samples": 12})
    config, _ = schema.load(raw)
    with pytest.raises(ConfigError, match=r"and config.image_size is 66; leave it out"):
        evaluation.check(config, [Source(20, None, ())])
