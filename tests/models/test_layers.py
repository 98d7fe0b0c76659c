"""Layers against Flax's: parameters and values, resampling, side inputs, projection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import BATCH, INPUTS, OUTPUTS, assert_near, normal
from flax import linen as nn
from initial import initial

from ganjax.models import layers


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize(("padding", "use_bias"), [("SAME", True), (1, False)])
def test_a_layer_has_the_parameters_and_values_of_flaxs(name, padding, use_bias):
    x = normal(BATCH, 7, 5, INPUTS)
    settings = {"strides": (2, 2), "padding": padding, "use_bias": use_bias}
    transpose = {"transpose_kernel": True} if name == "ConvTranspose" else {}
    ours = getattr(layers, name)(OUTPUTS, (4, 4), **settings)
    flax = getattr(nn, name)(OUTPUTS, (4, 4), **settings, **transpose)
    variables = initial(flax.init, jax.random.key(0), x)
    if use_bias:
        variables["params"]["bias"] = jnp.asarray(normal(OUTPUTS))
    assert jax.eval_shape(ours.init, jax.random.key(0), x) == jax.eval_shape(lambda: variables)
    with jax.default_matmul_precision("highest"):
        assert_near(
            {"y": jax.jit(ours.apply)(variables, x)}, {"y": jax.jit(flax.apply)(variables, x)}
        )


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
def test_a_layer_that_resamples_takes_a_side_input(resample):
    x, side_input = normal(2, 4, 4, 3), normal(2, 5, seed=1)
    layer = layers.Conv(2, (3, 3), resample=resample)
    params, apply = initial(layer.init, jax.random.key(0), x, side_input), jax.jit(layer.apply)
    wide = jnp.concatenate([x, jnp.broadcast_to(side_input[:, None, None], (2, 4, 4, 5))], -1)
    y, expected = apply(params, x, side_input), apply(params, wide)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "peer", "shape"),
    [
        (layers.Conv(6, (4, 4), 2, 1), nn.Conv(6, (4, 4), 2, 1), (2, 8, 8, 3)),
        (layers.Conv(6, (3, 3)), nn.Conv(6, (3, 3)), (2, 5, 5, 3)),
        (
            layers.ConvTranspose(6, (4, 4), 1, "VALID"),
            nn.ConvTranspose(6, (4, 4), 1, "VALID", transpose_kernel=True),
            (2, 1, 1, 3),
        ),
        (layers.Dense(6), nn.Dense(6), (2, 7)),
    ],
)
def test_a_side_input_is_as_channels_of_the_image_size(layer, peer, shape):
    """Values and both gradients are those of Flax's layer on the concatenation."""
    x = jax.random.normal(jax.random.key(1), shape)
    vector = jax.random.normal(jax.random.key(2), (2, 5))
    variables = initial(layer.init, jax.random.key(0), x, vector)

    def joined(x, vector):
        y = vector.reshape(2, *(1,) * (x.ndim - 2), 5)
        return jnp.concatenate([x, jnp.broadcast_to(y, (*x.shape[:-1], 5))], axis=-1)

    def ours(variables, x, vector):
        y = layer.apply(variables, x, vector)
        return jnp.sum(jnp.sin(y)), y

    def theirs(variables, x, vector):
        y = peer.apply(variables, joined(x, vector))
        return jnp.sum(jnp.sin(y)), y

    gradients, expected = (
        jax.jit(jax.grad(f, (0, 1, 2), has_aux=True))(variables, x, vector) for f in (ours, theirs)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradients, expected
    )


def test_the_projection_adds_the_product_with_the_embedding_of_the_label():
    class Head(nn.Module):
        @nn.compact
        def __call__(self, features, label):
            return layers.add_projection(
                features.sum(-1), features, label, layers.Conditioning("projection", 3)
            )

    features, label = jax.random.normal(jax.random.key(1), (4, 6)), jnp.array([0, 2, 1, 2])
    variables = Head().init(jax.random.key(0), features, label)
    table = np.asarray(variables["params"]["Embed_0"]["embedding"])
    expected = features.sum(-1) + (table[label] * features).sum(-1)
    np.testing.assert_allclose(Head().apply(variables, features, label), expected, rtol=1e-5)


def test_pooling_takes_means_and_undoes_repetition():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(layers.mean_pool(jnp.asarray(layers.repeat(x))), x)
    np.testing.assert_array_equal(layers.mean_pool(x)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])


@pytest.mark.parametrize("groups", [2, 4])
def test_a_layer_of_groups_has_the_parameters_and_values_of_flaxs(groups):
    x, settings = normal(BATCH, 5, 4, 4), {"feature_group_count": groups}
    ours, flax = (module.Conv(8, (3, 3), **settings) for module in (layers, nn))
    variables = flax.init(jax.random.key(0), x)
    assert jax.eval_shape(ours.init, jax.random.key(0), x) == jax.eval_shape(lambda: variables)
    with jax.default_matmul_precision("highest"):
        assert_near({"y": ours.apply(variables, x)}, {"y": flax.apply(variables, x)})


def test_a_layer_of_groups_refuses_what_belongs_to_no_group():
    x, side_input = normal(2, 4, 4, 4), normal(2, 5)
    for layer, message in (
        (layers.Conv(6, (3, 3), feature_group_count=4), "4 divides not both 4 and 6 channels"),
        (layers.Conv(8, (3, 3), feature_group_count=4), "a side input belongs to no group"),
    ):
        with pytest.raises(ValueError, match=message):
            layer.init(jax.random.key(0), x, side_input)
