"""Convolutional layers: Flax's parameters and values, resampling, and a vector beside the input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import BATCH, INPUTS, OUTPUTS, assert_near, normal
from flax import linen as nn

from ganjax.models import layers


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize(("padding", "use_bias"), [("SAME", True), (1, False)])
def test_layers_match_flax(name, padding, use_bias):
    x = normal(BATCH, 7, 5, INPUTS)
    settings = {"strides": (2, 2), "padding": padding, "use_bias": use_bias}
    more = {"transpose_kernel": True} if name == "ConvTranspose" else {}
    ours = getattr(layers, name)(OUTPUTS, (4, 4), **settings)
    flax = getattr(nn, name)(OUTPUTS, (4, 4), **settings, **more)
    variables = flax.init(jax.random.key(0), x)
    if use_bias:
        variables["params"]["bias"] = jnp.asarray(normal(OUTPUTS))
    assert jax.eval_shape(ours.init, jax.random.key(0), x) == jax.eval_shape(lambda: variables)
    with jax.default_matmul_precision("highest"):
        assert_near({"y": ours.apply(variables, x)}, {"y": flax.apply(variables, x)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resample": "upwards"}, "resample='upwards', .* there are up, down"),
        ({"resample": "up", "strides": 2}, "resample='up', strides=2"),
        ({"resample": "down", "padding": "VALID"}, "padding='VALID': .* of stride 1 and 'SAME'"),
    ],
)
def test_a_layer_resamples_at_stride_1_alone(settings, message):
    with pytest.raises(ValueError, match=message):
        layers.Conv(2, (3, 3), **settings).init(jax.random.key(0), normal(2, 4, 4, 3))


@pytest.mark.parametrize("resample", ["up", "down"])
def test_a_layer_that_resamples_takes_a_vector_beside_its_input(resample):
    x, beside = normal(2, 4, 4, 3), normal(2, 5, seed=1)
    layer = layers.Conv(2, (3, 3), resample=resample)
    params = layer.init(jax.random.key(0), x, beside)
    wide = jnp.concatenate([x, jnp.broadcast_to(beside[:, None, None], (2, 4, 4, 5))], -1)
    np.testing.assert_allclose(layer.apply(params, x, beside), layer.apply(params, wide), 0, 1e-5)
