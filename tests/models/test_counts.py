"""Shapes and numbers of parameters of the networks, against the papers."""

import jax
import jax.numpy as jnp
import pytest
from small import shipped

from ganjax.models import dcgan, layers, maxout, mlp, resnet
from ganjax.training import schema

pytestmark = pytest.mark.usefixtures("native_convolutions")


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


LABEL = jnp.zeros(2, jnp.int32)


def shapes_of(module, x, kind="Conv"):
    """Returns the output shape of every layer of a kind, by the layers' names."""
    _, state = jax.eval_shape(
        lambda x: module.init_with_output(
            jax.random.key(0), x, LABEL, train=False, capture_intermediates=True, mutable=True
        ),
        x,
    )
    outputs = state["intermediates"]
    names = sorted(name for name in outputs if name.startswith(kind))
    return [outputs[name]["__call__"][0].shape for name in names]


def count_of(module, x):
    return count(
        jax.eval_shape(lambda x: module.init(jax.random.key(0), x, LABEL, train=False), x)["params"]
    )


def test_dcgans_generator_at_64_is_the_papers():
    """F = 64; its 4x4 kernels have no bias, and each BatchNorm has a scale and a bias."""
    g = dcgan.Generator((512, 256, 128, 64), 3)
    z = jnp.zeros((2, 100))
    assert shapes_of(g, z) == [
        (2, 4, 4, 512),
        (2, 8, 8, 256),
        (2, 16, 16, 128),
        (2, 32, 32, 64),
        (2, 64, 64, 3),
    ]
    variables = jax.eval_shape(lambda z: g.init(jax.random.key(0), z, LABEL, train=False), z)
    kernels = 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    assert count(variables["params"]) == kernels + 2 * (512 + 256 + 128 + 64) == 3_576_704


def test_the_critic_at_64_has_biases_and_no_batch_norm():
    d = dcgan.Discriminator((64, 128, 256, 512), (False,) * 4, (0.0,) * 4)
    x = jnp.zeros((2, 64, 64, 3))
    assert shapes_of(d, x) == [
        (2, 32, 32, 64),
        (2, 16, 16, 128),
        (2, 8, 8, 256),
        (2, 4, 4, 512),
        (2, 1, 1, 1),
    ]
    variables = jax.eval_shape(lambda x: d.init(jax.random.key(0), x, LABEL, train=False), x)
    kernels = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    biases = 64 + 128 + 256 + 512 + 1
    assert count(variables["params"]) == kernels + biases
    assert "batch_stats" not in variables


def test_sngan_at_32_is_table_4_of_its_paper():
    """Miyato et al. 2018, counted by hand."""
    g = resnet.Generator((256, 256, 256), 3)
    conv = 9 * 256 * 256 + 256
    block = 2 * conv + (256 * 256 + 256) + 2 * 2 * 256
    dense = 128 * 16 * 256 + 16 * 256
    assert count_of(g, jnp.zeros((2, 128))) == dense + 3 * block + 2 * 256 + 9 * 256 * 3 + 3
    d = resnet.Discriminator((128,) * 4, (False,) * 4, (0.0,) * 4)
    conv, side = 9 * 128 * 128 + 128, 128 * 128 + 128
    first = 9 * 3 * 128 + 128 + conv + 3 * 128 + 128
    expected = first + (2 * conv + side) + 2 * (2 * conv) + 128 + 1
    assert count_of(d, jnp.zeros((2, 32, 32, 3))) == expected
    shapes = shapes_of(d, jnp.zeros((2, 32, 32, 3)))
    assert {shape[1] for shape in shapes} == {32, 16, 8}


def test_the_dense_cgan_at_28_is_that_of_tutorials():
    """784 pixels, embeddings 10 -> 10, no bias before BatchNorm."""
    conditioning = layers.Conditioning("embedding", 10, 10)
    g = mlp.Generator((128, 256, 512, 1024), (28, 28), 1, conditioning=conditioning)
    kernels = 110 * 128 + 128 * 256 + 256 * 512 + 512 * 1024 + 1024 * 784
    expected = 100 + kernels + 128 + 2 * (256 + 512 + 1024) + 784
    assert count_of(g, jnp.zeros((2, 100))) == expected
    widths = [128, 256, 512, 1024, 784]
    assert shapes_of(g, jnp.zeros((2, 100)), "Dense") == [(2, width) for width in widths]
    d = mlp.Discriminator((512, 512, 512), (False,) * 3, (0.0, 0.4, 0.4), conditioning=conditioning)
    expected = 100 + 794 * 512 + 2 * 512 * 512 + 512 + 3 * 512 + 1
    x = jnp.zeros((2, 28, 28, 1))
    assert count_of(d, x) == expected
    assert shapes_of(d, x, "Dense") == [(2, width) for width in (512, 512, 512, 1)]


def test_the_maxout_cgan_is_the_papers():
    g = maxout.Generator((28, 28), 1, 10)
    expected = 100 * 200 + 200 + 10 * 1000 + 1000 + 1200 * 1200 + 1200 + 1200 * 784 + 784
    assert count_of(g, jnp.zeros((2, 100))) == expected
    # The layers are ordered by name: the last one is made before its input.
    widths = [200, 1000, 784, 1200]
    assert shapes_of(g, jnp.zeros((2, 100)), "Dense") == [(2, width) for width in widths]
    d = maxout.Discriminator(10)
    expected = 784 * 1200 + 1200 + 10 * 250 + 250 + 290 * 960 + 960 + 240 + 1
    x = jnp.zeros((2, 28, 28, 1))
    assert count_of(d, x) == expected
    # Shapes before the largest of 5, 5 and 4 pieces is taken.
    widths = [240 * 5, 50 * 5, 240 * 4, 1]
    assert shapes_of(d, x, "Dense") == [(2, width) for width in widths]


# Kernels of DCGAN at 64x64 (outermost width 64) without the first and the last layer of either.
INNER = 16 * (512 * 256 + 256 * 128 + 128 * 64)


# Scale and bias of each BatchNorm, or a bias of each convolution without one.
G_NORMS, D_NORMS, D_BIASES = 2 * (512 + 256 + 128 + 64), 2 * (128 + 256 + 512), 128 + 256 + 512


@pytest.mark.parametrize(
    ("name", "preset", "g", "d"),
    [
        # D's first layer has a bias instead of BatchNorm, and so has its last.
        (
            "dcgan",
            "celeb_a",
            16 * (100 * 512 + 64 * 3) + INNER + G_NORMS,
            16 * (3 * 64 + 512) + INNER + 64 + D_NORMS + 1,
        ),
        # The same networks, for grey images.
        (
            "dcgan_noisy",
            "folder",
            16 * (100 * 512 + 64 * 1) + INNER + G_NORMS,
            16 * (1 * 64 + 512) + INNER + 64 + D_NORMS + 1,
        ),
        # The critic has biases instead of BatchNorm; z has 128 numbers.
        (
            "wgan_gp",
            "celeb_a",
            16 * (128 * 512 + 64 * 3) + INNER + G_NORMS,
            16 * (3 * 64 + 512) + INNER + 64 + D_BIASES + 1,
        ),
        # G takes 32 + 2 numbers, the critic 3 + 2 channels.
        (
            "cwgan_gp",
            "celeb_a",
            16 * (34 * 512 + 64 * 3) + INNER + G_NORMS,
            16 * (5 * 64 + 512) + INNER + 64 + D_BIASES + 1,
        ),
    ],
)
def test_a_shipped_config_has_the_parameters_of_its_layers(name, preset, g, d):
    loaded, module = schema.load(shipped(name, preset))
    (g_params, _), (d_params, _) = jax.eval_shape(module.build(loaded).init, jax.random.key(0))
    assert (count(g_params), count(d_params)) == (g, d)
