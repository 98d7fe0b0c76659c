"""Shapes, counts and initialisation of the networks, against the spec."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.models import dcgan


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes_of(module, x):
    """The output shape of every convolution, in order, without computing any."""
    _, state = jax.eval_shape(
        lambda x: module.init_with_output(
            jax.random.key(0), x, train=False, capture_intermediates=True, mutable=True
        ),
        x,
    )
    found = state["intermediates"]
    return [
        found[name]["__call__"][0].shape
        for name in sorted(n for n in found if n.startswith("Conv"))
    ]


def test_generator_at_64():
    """S1's activations; 4x4 kernels without bias, scale and bias for each BatchNorm."""
    g = dcgan.Generator((512, 256, 128, 64), 3)
    z = jnp.zeros((2, 100))
    assert shapes_of(g, z) == [
        (2, 4, 4, 512),
        (2, 8, 8, 256),
        (2, 16, 16, 128),
        (2, 32, 32, 64),
        (2, 64, 64, 3),
    ]
    variables = jax.eval_shape(lambda z: g.init(jax.random.key(0), z, train=False), z)
    kernels = 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    assert count(variables["params"]) == kernels + 2 * (512 + 256 + 128 + 64) == 3_576_704


def test_critic_at_64():
    d = dcgan.Discriminator((64, 128, 256, 512), (False,) * 4, (0.0,) * 4)
    x = jnp.zeros((2, 64, 64, 3))
    assert shapes_of(d, x) == [
        (2, 32, 32, 64),
        (2, 16, 16, 128),
        (2, 8, 8, 256),
        (2, 4, 4, 512),
        (2, 1, 1, 1),
    ]
    variables = jax.eval_shape(lambda x: d.init(jax.random.key(0), x, train=False), x)
    kernels = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    biases = 64 + 128 + 256 + 512 + 1
    assert count(variables["params"]) == kernels + biases
    assert "batch_stats" not in variables


def test_batch_norm_takes_the_bias_of_its_convolution():
    d = dcgan.Discriminator((4, 4), (False, True), (0.0, 0.0))
    params = d.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)), train=False)["params"]
    assert "bias" in params["Conv_0"]
    assert "bias" not in params["Conv_1"]
    assert list(params["BatchNorm_0"]["scale"].shape) == [4]


def test_initialisation():
    g = dcgan.Generator((64, 64), 3)
    params = g.init(jax.random.key(0), jnp.zeros((1, 100)), train=False)["params"]
    kernel = np.asarray(params["ConvTranspose_0"]["kernel"])
    assert abs(kernel.std() - 0.02) < 1e-3
    assert abs(kernel.mean()) < 1e-3
    scale = np.concatenate([params[f"BatchNorm_{i}"]["scale"] for i in range(2)])
    assert abs(scale.mean() - 1) < 0.01
    assert abs(scale.std() - 0.02) < 0.01
    assert not np.any(params["BatchNorm_0"]["bias"])


def test_generator_range_and_batch_statistics():
    g = dcgan.Generator((8, 8), 1, momentum=0.9)
    z = jax.random.normal(jax.random.key(1), (16, 10))
    variables = g.init(jax.random.key(0), z, train=False)
    x, new = g.apply(variables, z, train=True, mutable=["batch_stats"])
    assert x.shape == (16, 16, 16, 1)
    assert -1 <= float(x.min()) < float(x.max()) <= 1
    # Momentum .9 is the running average's decay, from a start of 1.
    old = np.asarray(variables["batch_stats"]["BatchNorm_0"]["var"])
    assert np.all(old == 1)
    assert np.all(np.asarray(new["batch_stats"]["BatchNorm_0"]["var"]) < 0.95)


def test_dropout_acts_in_training_only():
    d = dcgan.Discriminator((8, 8), (False,) * 2, (0.0, 0.5))
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    variables = d.init(jax.random.key(0), x, train=False)

    def at(key, train):
        return np.asarray(d.apply(variables, x, train=train, rngs={"dropout": jax.random.key(key)}))

    assert np.array_equal(at(0, False), at(1, False))
    assert not np.array_equal(at(0, True), at(1, True))


@pytest.mark.parametrize(("widths", "size"), [((4,), 8), ((4, 4, 4), 32), ((4,) * 8, 1024)])
def test_image_size(widths, size):
    assert dcgan.image_size(widths) == size
