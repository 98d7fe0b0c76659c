"""The distributions of what is drawn, by their statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from augmentations import every, images

from ganjax.augment import affine, blit, colour, corrupt, diffaugment, filter, geometric, keras

N, P = 20_000, 0.4


def assert_share(drawn, expected):
    assert abs(np.mean(np.asarray(drawn)) - expected) < 4 * (expected * (1 - expected) / N) ** 0.5


def assert_normal(values, sigma):
    assert scipy.stats.kstest(np.asarray(values), scipy.stats.norm(0, sigma).cdf).pvalue > 1e-4


def assert_uniform(values, low, high):
    assert (
        scipy.stats.kstest(np.asarray(values), scipy.stats.uniform(low, high - low).cdf).pvalue
        > 1e-4
    )


def test_blitting_flips_half_of_p_and_turns_a_quarter_by_each_angle():
    moves = blit.draw(jax.random.key(0), N, every(blit, P), (64, 64))
    assert_share(moves.flips, P / 2)
    for turns in (1, 2, 3):
        assert_share(np.asarray(moves.turns) == turns, P / 4)
    shift = np.asarray(moves.shift)
    assert set(np.unique(shift)) == set(range(-8, 9))
    # round(U[-8, 8)) is 0 in one of 16, in both axes of one of 256.
    assert_share(np.any(shift != 0, -1), P * (1 - 1 / 256))


def test_images_that_are_not_square_are_turned_upside_down_and_moved_along_each_axis():
    moves = blit.draw(jax.random.key(0), N, every(blit, P), (32, 64))
    assert set(np.unique(moves.turns)) == {0, 2}
    assert_share(np.asarray(moves.turns) == 2, P / 2)
    across, down = np.abs(moves.shift).max(0)
    assert (across, down) == (8, 4)
    x = np.asarray(images(2, (6, 10)))
    turned = blit.reorient(jnp.asarray(x), jnp.array([False, True]), jnp.array([2, 0]))
    np.testing.assert_array_equal(turned[0], np.rot90(x[0], 2))
    np.testing.assert_array_equal(turned[1], x[1, :, ::-1])


def test_the_geometric_family_has_the_papers_probabilities_and_deviations():
    """Rotations before and after the anisotropic scaling together have probability p."""
    inverse = np.asarray(
        geometric.inverse(jax.random.key(0), N, every(geometric, P), (64, 64)), np.float64
    )
    linear = inverse[:, :2, :2]
    determinant = np.linalg.det(linear)
    scaled = np.abs(determinant - 1) > 1e-5
    assert_share(scaled, P)
    assert_normal(np.log2(determinant[scaled]) / -2, 0.2)
    singular = np.linalg.svd(linear, compute_uv=False)
    stretched = singular[:, 0] / singular[:, 1] > 1 + 1e-4
    assert_share(stretched, P)
    straight = np.abs(linear[:, 0, 1]) + np.abs(linear[:, 1, 0]) < 1e-6
    assert_share(straight, 1 - P)
    turned = ~straight & ~scaled & ~stretched
    assert_uniform(np.arctan2(linear[turned, 1, 0], linear[turned, 0, 0]), -np.pi, np.pi)
    forward = np.linalg.inv(inverse)
    alone = straight & ~scaled & ~stretched
    shifts = forward[alone, :2, 2]
    shifts = shifts[np.any(shifts != 0, -1)]
    assert_normal(shifts.ravel(), 8.0)
    assert abs(len(shifts) / alone.sum() - P) < 0.03


def test_colours_have_the_papers_probabilities_and_deviations():
    """What was drawn is read off the composed matrices."""
    matrix = np.asarray(colour.matrix(jax.random.key(0), N, every(colour, 1.0)), np.float64)
    white = matrix[:, :3, :3].sum(2).mean(1)  # Greys stay grey: contrast, and the luma flip.
    assert_share(white < 0, 0.5)
    assert_normal(np.log2(np.abs(white)), 0.5)
    assert_normal(matrix[:, :3, 3].mean(1) / white, 0.2)
    np.testing.assert_allclose(matrix[:, :3, :3].sum(2), np.tile(white[:, None], 3), atol=1e-4)
    across = np.linalg.svd(matrix[:, :3, :3] - white[:, None, None] / 3, compute_uv=False)[:, 0]
    assert_normal(np.log2(across / np.abs(white)), 1.0)
    gated = np.asarray(colour.matrix(jax.random.key(0), N, every(colour, P)))
    assert_share((gated == np.eye(4)).all((1, 2)), (1 - P) ** 4 * (1 - P / 2))


def test_gains_keep_the_expected_power():
    """All four are 1 for (1 - p)^4 of all images."""
    gains = np.asarray(filter.gains(jax.random.key(0), N, every(filter, P)), np.float64)
    assert_share((gains == 1).all(-1), (1 - P) ** 4)
    always = np.asarray(filter.gains(jax.random.key(0), 1_000, every(filter, 1.0)), np.float64)
    assert np.isfinite(always).all()
    last_alone = (gains != 1).any(-1) & (np.ptp(gains[:, :3], axis=-1) < 1e-6)
    power = (gains[last_alone] ** 2) @ np.array([10, 1, 1, 1]) / 13
    np.testing.assert_allclose(power, 1, rtol=1e-5)


def test_noise_and_cuts_have_the_papers_sizes():
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


def test_the_keras_form_draws_from_the_ranges_that_it_is_given(monkeypatch):
    """It flips, shifts by whole pixels, rotates and zooms in."""
    drawn = []
    monkeypatch.setattr(affine, "resample", lambda x, inverse: drawn.append(inverse) or x)
    keras.make_transform(0.125, 0.125, 0.25)(jnp.zeros((N, 16, 16, 1)), P, jax.random.key(0))
    inverse = np.asarray(drawn[0], np.float64)
    moved = (inverse != np.eye(3)).any((1, 2))
    assert_share(moved, P)
    flips = np.linalg.det(inverse) < 0
    assert_share(flips, P / 2)
    inverse[flips, 0] *= -1  # Without the flip.
    inverse = inverse[moved]
    zoom = np.linalg.norm(inverse[:, :2, :2], axis=1)
    assert_uniform(zoom[:, 0], 0.75, 1)
    assert_uniform(zoom[:, 1], 0.75, 1)
    assert_uniform(np.arctan2(inverse[:, 1, 0], inverse[:, 0, 0]), -np.pi / 4, np.pi / 4)
    for shift in inverse[:, 0, 2], inverse[:, 1, 2]:
        # round(U[-2, 2)): the outermost are half as frequent as the others.
        assert set(np.unique(np.abs(shift))) == {0, 1, 2}
        assert abs(np.mean(np.abs(shift) == 2) - 1 / 4) < 0.03


def test_diffaugments_colours_are_uniform_in_their_ranges():
    """What was drawn is read off the images, which are what the three make of them."""
    x = np.asarray(images(4_000, 4), np.float64)
    y = np.asarray(
        diffaugment.colour(jnp.asarray(x, jnp.float32), 1.0, jax.random.key(0), (-1.0, 1.0)),
        np.float64,
    )

    def parts(x):
        mean, grey = x.mean((1, 2, 3), keepdims=True), x.mean(-1, keepdims=True)
        return mean, grey - mean, x - grey

    def factor(new, old):
        return (new * old).sum((1, 2, 3), keepdims=True) / (old**2).sum((1, 2, 3), keepdims=True)

    (mean, light, colours), (new_mean, new_light, new_colours) = parts(x), parts(y)
    contrast, both = factor(new_light, light), factor(new_colours, colours)
    np.testing.assert_allclose(y, new_mean + contrast * light + both * colours, atol=1e-5)
    assert_uniform((new_mean - mean).ravel(), -0.5, 0.5)
    assert_uniform(contrast.ravel(), 0.5, 1.5)
    assert_uniform((both / contrast).ravel(), 0, 2)


@pytest.mark.parametrize(("size", "largest"), [(4, 1), (12, 2), (20, 3), (16, 2), (11, 1)])
def test_diffaugments_largest_shift_is_rounded_halves_up(monkeypatch, size, largest):
    drawn = []
    monkeypatch.setattr(diffaugment, "shifted", lambda x, shift, value: drawn.append(shift) or x)
    x = jnp.zeros((200, size, size, 1))
    diffaugment.translation(x, 1.0, jax.random.key(0), (-1.0, 1.0))
    assert (np.asarray(drawn).min(), np.asarray(drawn).max()) == (-largest, largest)


def test_diffaugment_shifts_by_up_to_an_eighth_and_cuts_anywhere(monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        diffaugment, "shifted", lambda x, shift, value: drawn.update(shift=shift) or x
    )
    monkeypatch.setattr(
        corrupt, "cut", lambda x, centre, size, value: drawn.update(centre=centre, size=size) or x
    )
    x = jnp.zeros((N, 16, 16, 1))
    for transform in diffaugment.translation, diffaugment.cutout:
        transform(x, 1.0, jax.random.key(0), (-1.0, 1.0))
    for shift in np.asarray(drawn["shift"]).T:
        for pixels in range(-2, 3):
            assert_share(shift == pixels, 1 / 5)
        assert np.abs(shift).max() == 2
    assert drawn["size"] == 0.5
    for centre in np.asarray(drawn["centre"], np.float64).T:
        assert_uniform(centre, 0, 1)
