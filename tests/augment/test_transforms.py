"""Colours, inverses, shifts and cuts against what they are said to do."""

import jax.numpy as jnp
import numpy as np
import pytest
from augmentations import images
from PIL import Image

from ganjax.augment import affine, colour, corrupt, diffaugment

ONE, ANGLE, FACTOR = jnp.ones(1), jnp.array([0.3]), jnp.array([1.7])


def recolour(x, matrix):
    return np.asarray(colour.apply(jnp.asarray(x, jnp.float32), matrix, (-1.0, 1.0)))


def hue_of(x):
    """Returns PIL's hue, of 256 steps in a turn, of the first pixel of images in [-1, 1]."""
    image = Image.fromarray(((x[0] + 1) * 127.5).astype(np.uint8))
    return int(np.asarray(image.convert("HSV"))[0, 0, 0])


def test_each_colour_transform_does_what_its_name_says():
    x = np.asarray(images(1), np.float64)
    grey = x.mean(-1, keepdims=True)
    for matrix, expected in [
        (colour.brightness(0.3 * ONE), x + 0.3),
        (colour.contrast(1.7 * ONE), 1.7 * x),
        (colour.luma_flip(ONE), x - 2 * grey),
        (colour.saturation(0.4 * ONE), grey + 0.4 * (x - grey)),
        # A third of a turn exchanges the channels in a circle.
        (colour.hue(2 * jnp.pi / 3 * ONE), x[..., [2, 0, 1]]),
    ]:
        np.testing.assert_allclose(recolour(x, matrix), expected, atol=1e-6)


def test_hue_turns_by_the_angle_as_pil_sees_it():
    muted = np.full((1, 1, 1, 3), 0.5) + np.array([0.02, -0.02, 0.0])
    turned = recolour(muted, colour.hue(np.deg2rad(30) * ONE))
    assert abs((hue_of(turned) - hue_of(muted)) % 256 - 30 / 360 * 256) < 20


@pytest.mark.parametrize(
    ("transform", "inverse"),
    [
        (colour.hue(ANGLE), colour.hue(-ANGLE)),
        (colour.contrast(FACTOR), colour.contrast(1 / FACTOR)),
        (colour.saturation(FACTOR), colour.saturation(1 / FACTOR)),
        (colour.brightness(ANGLE), colour.brightness(-ANGLE)),
        (colour.luma_flip(ONE), colour.luma_flip(ONE)),
        (affine.rotate(ANGLE), affine.rotate(-ANGLE)),
        (affine.scale(FACTOR, ANGLE), affine.scale(1 / FACTOR, 1 / ANGLE)),
        (affine.translate(FACTOR, ANGLE), affine.translate(-FACTOR, -ANGLE)),
    ],
    ids=["hue", "contrast", "saturation", "brightness", "flip", "rotate", "scale", "translate"],
)
def test_a_transform_of_the_inverse_parameter_undoes_it(transform, inverse):
    product = affine.compose(transform, inverse)[0]
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


def test_a_cut_fills_a_rectangle_round_its_centre():
    x = images(1)
    expected = np.array(x)
    expected[:, :8, 4:12] = 0
    np.testing.assert_array_equal(corrupt.cut(x, jnp.array([[0.5, 0.25]]), 0.5, 0.0), expected)


def test_a_shift_moves_down_and_right_and_fills_what_comes_in():
    x = images(1)
    expected = np.full(x.shape, 0.5, np.float32)
    expected[:, 2:, :-1] = x[:, :-2, 1:]
    np.testing.assert_array_equal(diffaugment.shifted(x, jnp.array([[2, -1]]), 0.5), expected)
