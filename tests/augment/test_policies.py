"""What holds for every policy: identity at p = 0, ranges, gradients, devices, probabilities."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augmentations import NAMES, RANGES, every, images, policies

from ganjax.augment import (
    ada,
    affine,
    blit,
    colour,
    corrupt,
    filter,
    geometric,
    keras,
)
from ganjax.keys import fold
from ganjax.parallel.sharding import make_layout

# All transforms of ADA take seconds to compile.
ADA_IS_SLOW = [pytest.param(n, marks=pytest.mark.slow if n == "ada" else ()) for n in NAMES]


@pytest.mark.parametrize(
    ("name", "value_range"),
    [
        pytest.param(name, each, marks=pytest.mark.slow if (name, i) == ("ada", 1) else ())
        for name in NAMES
        for i, each in enumerate(RANGES)
    ],
)
def test_nothing_happens_at_0_and_all_is_moved_at_1(name, value_range):
    """Bit for bit; compiled, as in a step, where rounding could differ."""
    x = np.asarray(images(value_range=value_range))
    augment = jax.jit(policies(value_range)[name])
    np.testing.assert_array_equal(augment(x, 0.0, jax.random.key(0)), x)
    y = np.asarray(augment(x, 1.0, jax.random.key(0)))
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert all((a != b).any() for a, b in zip(x, y, strict=True))
    np.testing.assert_array_equal(augment(x, 1.0, jax.random.key(0)), y)
    assert (augment(x, 1.0, jax.random.key(1)) != y).any()


@pytest.mark.parametrize("name", NAMES)
def test_images_that_are_not_square_keep_their_shape(name):
    x = jnp.zeros((4, 12, 20, 3))
    made = jax.eval_shape(policies((-1.0, 1.0))[name], x, 0.5, jax.random.key(0))
    assert made.shape == x.shape


@pytest.mark.parametrize("name", ["ada", "diffaugment"])
def test_the_value_range_does_not_matter(name):
    """Images in [0, 1] are treated as the same ones in [-1, 1]."""
    x, key = images(), jax.random.key(3)
    signed, unsigned = (policies(value_range)[name] for value_range in RANGES)
    y = 2 * unsigned((x + 1) / 2, 1.0, key) - 1
    np.testing.assert_allclose(y, signed(x, 1.0, key), atol=5e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", NAMES)
def test_the_dtype_of_images_is_kept_also_under_vmap(name, dtype):
    x = jnp.zeros((3, 4, 8, 8, 3), dtype)
    members = jax.vmap(policies((-1.0, 1.0))[name])
    made = jax.eval_shape(members, x, jnp.full(3, 0.5), jax.random.split(jax.random.key(0), 3))
    assert (made.shape, made.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize("name", ADA_IS_SLOW)
def test_gradients_of_both_orders_agree_with_differences(name):
    """A policy is affine in the image, so that the first order's difference may be large.

    The second order rests on the transpose and on the transpose's own.
    """
    augment = partial(policies((-1.0, 1.0))[name], p=1.0, key=jax.random.key(2))
    x, v = images(2, 8), np.random.RandomState(1).randn(2, 8, 8, 3).astype(np.float32)
    w = np.random.RandomState(2).randn(2, 8, 8, 3).astype(np.float32)

    @jax.jit
    def first_order(x):
        y, transpose = jax.vjp(augment, x)
        return y, transpose(w)[0]

    @jax.jit
    @jax.value_and_grad
    def penalty(x):
        return jnp.sum(jnp.square(jax.grad(lambda x: jnp.sum(jnp.sin(augment(x))))(x)))

    y, gradient = first_order(x)
    difference = np.sum(w * (np.asarray(first_order(x + v)[0]) - np.asarray(y)))
    np.testing.assert_allclose(np.sum(gradient * v), difference, rtol=1e-3, atol=1e-3)
    second = penalty(x)[1]
    numerical = (penalty(x + 1e-2 * v)[0] - penalty(x - 1e-2 * v)[0]) / 2e-2
    np.testing.assert_allclose(np.sum(second * v), numerical, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("name", ADA_IS_SLOW)
def test_one_device_and_eight_agree(name):
    augment, x = policies((-1.0, 1.0))[name], images(8, 8)
    function = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.sin(augment(x, 0.7, key)))))
    key = jax.random.key(5)
    single = function(x)
    eight = function(jax.device_put(x, make_layout().batch))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), single, eight)


def test_keras_draws_one_gate_for_all_of_an_image():
    x = images(1)
    many = jnp.tile(x, (1_000, 1, 1, 1))
    y = np.asarray(keras.make_transform(0.125, 0.125, 0.25)(many, 0.3, jax.random.key(0)))
    same = (y == x).all((1, 2, 3))
    assert abs(np.mean(~same) - 0.3) < 0.06
    assert len(np.unique(y[~same].reshape((~same).sum(), -1)[:, 0])) > 0.9 * (~same).sum()


TRANSFORMS = ada.transforms(tuple(ada.FAMILIES))


def changed(p, n):
    """Returns by family, bool (n,), the samples that something happens to, given p by transform."""
    key, size, x = jax.random.key(7), (64, 64), jnp.full((n, 2, 2, 1), 0.5)
    noise = corrupt.noise(x, key, p, (-1.0, 1.0))
    cut = corrupt.cutout(x, key, p, (-1.0, 1.0))
    drawn_by_family = {
        "blit": (jnp.column_stack(blit.draw(key, n, p, size)), np.zeros(4)),
        "geometric": (geometric.inverse(key, n, p, size), np.eye(3)),
        "colour": (colour.matrix(key, n, p), np.eye(4)),
        "filter": (filter.gains(key, n, p), np.ones(4)),
        "corrupt": (jnp.concatenate([noise, cut], 1), np.full((4, 2, 1), 0.5)),
    }
    return {
        family: (np.asarray(drawn) != nothing).reshape(n, -1).any(1)
        for family, (drawn, nothing) in drawn_by_family.items()
    }


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_transform_has_a_probability_of_its_own(name):
    zeros = dict.fromkeys(TRANSFORMS, 0.0)
    for family, samples in changed(zeros | {name: 0.5}, 400).items():
        # Of flips and of 0 to 3 quarter turns some change nothing, filtering has four draws, and
        # a cut rectangle may lie between the centres of so few pixels.
        share = {"x_flip": 1 / 2, "luma_flip": 1 / 2, "rotate_90": 3 / 4}.get(name, 1.0)
        expected = 1 - (1 - 0.5) ** 4 if name == "filter" else 0.5 * share
        assert abs(samples.mean() - expected * (name in ada.FAMILIES[family])) < 0.09


def test_a_multiplier_is_a_factor_of_p_up_to_1():
    """Transforms that have none are drawn with p."""
    x, key = images(6, 8), jax.random.key(3)
    multipliers = dict.fromkeys(ada.FAMILIES["colour"], 0.0) | {"luma_flip": 9.0, "hue": 0.5}
    augment = jax.jit(ada.make_transform(("colour",), (-1.0, 1.0), multipliers))
    p = dict.fromkeys(ada.FAMILIES["colour"], 0.0) | {"luma_flip": 1.0, "hue": 0.4}
    expected = colour.apply(x, colour.matrix(fold(key, "colour"), 6, p), (-1.0, 1.0))
    np.testing.assert_allclose(augment(x, 0.8, key), expected, rtol=1e-5, atol=1e-6)
    del multipliers["hue"]
    assert (
        np.asarray(ada.make_transform(("colour",), (-1.0, 1.0), multipliers)(x, 0.8, key))
        != expected
    ).any()


def test_a_multiplier_of_a_transform_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"multipliers=\['hue'\]: there are x_flip, rotate_90"):
        ada.make_transform(("blit",), (-1.0, 1.0), {"hue": 0.5})


def test_whole_pixel_moves_are_exact_and_come_before_the_others():
    """NumPy flips, turns and rolls into a mirrored margin; no filter blurs it."""
    n, key = 32, jax.random.key(5)
    x = images(n)
    moves = blit.draw(fold(key, "blit"), n, every(blit, 1.0), x.shape[1:3])
    expected = []
    for image, flip, turns, (right, down) in zip(
        np.asarray(x), *map(np.asarray, moves), strict=True
    ):
        image = np.rot90(image[:, ::-1] if flip else image, turns)
        margin = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
        expected.append(np.roll(margin, (int(down), int(right)), (0, 1))[4:-4, 4:-4])
    augment = ada.make_transform(("blit",), (-1.0, 1.0), {})
    np.testing.assert_allclose(augment(x, 1.0, key), expected, atol=1e-5)
    still = ada.make_transform(("blit",), (-1.0, 1.0), {"integer_translation": 0.0})
    oriented = np.asarray(blit.reorient(x, moves.flips, moves.turns))
    np.testing.assert_array_equal(still(x, 1.0, key), oriented)
    assert len(np.unique(np.column_stack(moves[:2]), axis=0)) == 8


def test_families_act_in_the_order_of_the_paper():
    """The order in which they are named does not matter."""
    x = images()
    n, size, key, value_range = len(x), x.shape[1:3], jax.random.key(3), (-1.0, 1.0)
    # Operation by operation, as below, so that both compile the same ones.
    got = ada.make_transform(tuple(ada.FAMILIES)[::-1], value_range, {})(x, 1.0, key)
    moves = blit.draw(fold(key, "blit"), n, every(blit, 1.0), size)
    moved = geometric.inverse(fold(key, "geometric"), n, every(geometric, 1.0), size)
    x = blit.reorient(x, moves.flips, moves.turns)
    x = geometric.apply(x, affine.compose(moves.inverse_translation(), moved))
    x = colour.apply(x, colour.matrix(fold(key, "colour"), n, every(colour, 1.0)), value_range)
    x = filter.apply(x, filter.gains(fold(key, "filter"), n, every(filter, 1.0)), value_range)
    key = fold(key, "corrupt")
    p = every(corrupt, 1.0)
    x = corrupt.cutout(corrupt.noise(x, key, p, value_range), key, p, value_range)
    np.testing.assert_allclose(got, x, rtol=1e-4, atol=1e-4)
