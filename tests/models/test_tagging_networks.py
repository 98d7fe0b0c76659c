"""The networks over word vectors: their sizes by the paper, layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import shipped

from ganjax.models import tagging
from ganjax.training import layer_table, schema

# Paper: 4,096 numbers of an image and 100 of a latent to a word vector of 200.
G_LAYERS = {
    "latent": (500, 101 * 500),
    "feature": (2_000, 4_097 * 2_000),
    "joint": (200, 2_501 * 200),
}
D_LAYERS = {
    "vector": (500, 201 * 500),
    "feature": (1_200, 4_097 * 1_200),
    "joint": (3_000, 1_701 * 3_000),
    "score": (1, 1_001),
}


@pytest.mark.parametrize(("player", "expected"), [(0, G_LAYERS), (1, D_LAYERS)])
def test_the_papers_networks_have_its_layers_and_parameters(player, expected):
    config, module = schema.load(shipped("tagging", "paper"))
    _, networks = layer_table.trace(module.build(config), jax.random.key(0))
    dense = [each for each in networks[player].layers if each.kind == "Dense"]
    layers = {each.name: (each.output[-1], each.trainable) for each in dense}
    assert layers == expected
    assert networks[player].trainable == sum(count for _, count in expected.values())
    assert networks[player].others == 0


def test_the_generator_is_two_branches_and_a_linear_map():
    random = np.random.RandomState(0)
    z, feature = random.randn(3, 2), random.randn(3, 4)
    network = tagging.Generator(dim=5, latent_width=6, feature_width=7)
    params = network.init(jax.random.key(0), z, feature, train=False)["params"]
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    hidden = [
        np.maximum(x @ p[name]["kernel"] + p[name]["bias"], 0)
        for name, x in (("latent", z), ("feature", feature))
    ]
    expected = np.concatenate(hidden, 1) @ p["joint"]["kernel"] + p["joint"]["bias"]
    found = network.apply({"params": params}, z, feature, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_discriminator_is_two_branches_and_a_maxout_layer():
    random = np.random.RandomState(0)
    vector, feature = random.randn(3, 2), random.randn(3, 4)
    network = tagging.Discriminator(vector_width=6, feature_width=7, joint_maxout=(5, 3))
    params = network.init(jax.random.key(0), vector, feature, train=False)["params"]
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    hidden = [
        np.maximum(x @ p[name]["kernel"] + p[name]["bias"], 0)
        for name, x in (("vector", vector), ("feature", feature))
    ]
    joint = np.concatenate(hidden, 1) @ p["joint"]["kernel"] + p["joint"]["bias"]
    expected = joint.reshape(3, 5, 3).max(-1) @ p["score"]["kernel"] + p["score"]["bias"]
    found = network.apply({"params": params}, vector, feature, train=False)
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-5, atol=1e-6)


def test_dropout_acts_in_training_alone():
    network = tagging.Discriminator(vector_width=64, feature_width=64, joint_maxout=(64, 2))
    x = jnp.ones((1, 8))
    params = network.init(jax.random.key(0), x, x, train=False)

    def score(seed):
        return network.apply(params, x, x, train=True, rngs={"dropout": jax.random.key(seed)})

    assert score(0) != score(1)
    assert network.apply(params, x, x, train=False) == network.apply(params, x, x, train=False)
