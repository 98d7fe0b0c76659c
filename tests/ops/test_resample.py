"""Resampling by [1, 3, 3, 1] / 8 against lax's convolutions of images with zeros between pixels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import normal
from jax import lax

from ganjax.ops.resample import downsample, upsample

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def convolved(x, gain, **options):
    """Convolves each channel by itself with the filter times a gain."""
    kernel = jnp.tile(gain * FILTER[:, :, None, None], (1, 1, 1, x.shape[3])).astype(x.dtype)
    layout = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "precision": "highest"}
    return lax.conv_general_dilated(x, kernel, feature_group_count=x.shape[3], **options, **layout)


PEERS = {
    upsample: partial(
        convolved, gain=4, window_strides=(1, 1), padding=((2, 2), (2, 2)), lhs_dilation=(2, 2)
    ),
    downsample: partial(convolved, gain=1, window_strides=(2, 2), padding=((1, 1), (1, 1))),
}
both = pytest.mark.parametrize("function", PEERS, ids=lambda f: f.__name__)


@both
def test_values_and_derivatives_match_lax(function):
    x, tangent = normal(2, 6, 4, 3), normal(2, 6, 4, 3, seed=1)

    @partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
    def run(function, x):
        gradient = jax.grad(lambda x: jnp.sum(jnp.sin(function(x))))
        penalty = jax.grad(lambda x: jnp.sum(gradient(x) ** 2))
        second = jax.jvp(gradient, (x,), (tangent,))[1]
        mapped = jax.vmap(lambda a: function(a[..., None])[..., 0], 3, 3)(x)
        return function(x), gradient(x), penalty(x), second, mapped

    got, want = run(function, x), run(PEERS[function], x)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@both
def test_half_precision_is_rounded_once(function):
    x = normal(2, 6, 4, 3).astype(jnp.bfloat16)
    got, want = function(x), PEERS[function](x.astype(jnp.float32))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got, want.astype(jnp.bfloat16))


def test_a_grey_image_stays_grey_but_for_its_edge():
    grey = jnp.full((1, 8, 8, 1), 0.5)
    for function in PEERS:
        np.testing.assert_allclose(function(grey)[:, 1:-1, 1:-1], 0.5)


def test_odd_images_cannot_be_halved():
    with pytest.raises(ValueError, match=r"an image of \(5, 4\) has no 2x2 pixels"):
        downsample(normal(1, 5, 4, 1))
