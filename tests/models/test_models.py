"""Shapes, counts and initialisation of the networks, against the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import shipped
from flax import linen as nn

from ganjax.models import dcgan, layers, maxout, mlp, norms, resnet
from ganjax.training import schema


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


LABEL = jnp.zeros(2, jnp.int32)


def shapes_of(module, x, kind="Conv"):
    """The output shape of every convolution (or Dense), in order, without computing any."""
    _, state = jax.eval_shape(
        lambda x: module.init_with_output(
            jax.random.key(0), x, LABEL, train=False, capture_intermediates=True, mutable=True
        ),
        x,
    )
    found = state["intermediates"]
    return [
        found[name]["__call__"][0].shape for name in sorted(n for n in found if n.startswith(kind))
    ]


def test_generator_at_64():
    """Activations at 64x64, F = 64; 4x4 kernels without bias, scale and bias for each BatchNorm."""
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
    variables = jax.eval_shape(lambda x: d.init(jax.random.key(0), x, LABEL, train=False), x)
    kernels = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    biases = 64 + 128 + 256 + 512 + 1
    assert count(variables["params"]) == kernels + biases
    assert "batch_stats" not in variables


def test_batch_norm_takes_the_bias_of_its_convolution():
    d = dcgan.Discriminator((4, 4), (False, True), (0.0, 0.0))
    params = d.init(jax.random.key(0), jnp.zeros((2, 16, 16, 1)), LABEL, train=False)["params"]
    assert "bias" in params["Conv_0"]
    assert "bias" not in params["Conv_1"]
    assert list(params["BatchNorm_0"]["scale"].shape) == [4]


def test_initialisation():
    g = dcgan.Generator((64, 64), 3)
    params = g.init(jax.random.key(0), jnp.zeros((2, 100)), LABEL, train=False)["params"]
    kernel = np.asarray(params["ConvTranspose_0"]["kernel"])
    assert abs(kernel.std() - 0.02) < 1e-3
    assert abs(kernel.mean()) < 1e-3
    scale = np.concatenate([params[f"BatchNorm_{i}"]["scale"] for i in range(2)])
    assert abs(scale.mean() - 1) < 0.01
    assert abs(scale.std() - 0.02) < 0.01
    assert not np.any(params["BatchNorm_0"]["bias"])


def test_generator_range_and_batch_statistics():
    g = dcgan.Generator((8, 8), 1, norm=norms.Norm(momentum=0.9))
    z, label = jax.random.normal(jax.random.key(1), (16, 10)), jnp.zeros(16, jnp.int32)
    variables = g.init(jax.random.key(0), z, label, train=False)
    x, new = g.apply(variables, z, label, train=True, mutable=["batch_stats"])
    assert x.shape == (16, 16, 16, 1)
    assert -1 <= float(x.min()) < float(x.max()) <= 1
    # Momentum .9 is the running average's decay, from a start of 1.
    old = np.asarray(variables["batch_stats"]["BatchNorm_0"]["var"])
    assert np.all(old == 1)
    assert np.all(np.asarray(new["batch_stats"]["BatchNorm_0"]["var"]) < 0.95)


def test_dropout_acts_in_training_only():
    d = dcgan.Discriminator((8, 8), (False,) * 2, (0.0, 0.5))
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    variables = d.init(jax.random.key(0), x, LABEL, train=False)

    def at(key, train):
        return np.asarray(
            d.apply(variables, x, LABEL, train=train, rngs={"dropout": jax.random.key(key)})
        )

    assert np.array_equal(at(0, False), at(1, False))
    assert not np.array_equal(at(0, True), at(1, True))


@pytest.mark.parametrize(("widths", "size"), [((4,), 8), ((4, 4, 4), 32), ((4,) * 8, 1024)])
def test_image_size(widths, size):
    assert dcgan.image_size(widths) == size


def count_of(module, x):
    return count(
        jax.eval_shape(lambda x: module.init(jax.random.key(0), x, LABEL, train=False), x)["params"]
    )


def test_sngan_at_32():
    """Table 4 of Miyato et al. 2018, counted by hand."""
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


def test_cgan_at_28():
    """That of tutorials: 784 pixels, embeddings 10 -> 10, no bias before BatchNorm."""
    conditioning = layers.Conditioning("embedding", 10, 10)
    g = mlp.Generator((128, 256, 512, 1024), 28, 1, conditioning=conditioning)
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


def test_maxout_cgan():
    """That of the paper."""
    g = maxout.Generator(28, 1, 10)
    expected = 100 * 200 + 200 + 10 * 1000 + 1000 + 1200 * 1200 + 1200 + 1200 * 784 + 784
    assert count_of(g, jnp.zeros((2, 100))) == expected
    # By their names: the last one is made before its input.
    widths = [200, 1000, 784, 1200]
    assert shapes_of(g, jnp.zeros((2, 100)), "Dense") == [(2, width) for width in widths]
    d = maxout.Discriminator(10)
    expected = 784 * 1200 + 1200 + 10 * 250 + 250 + 290 * 960 + 960 + 240 + 1
    x = jnp.zeros((2, 28, 28, 1))
    assert count_of(d, x) == expected
    # Before the largest of 5, 5 and 4 pieces is taken.
    widths = [240 * 5, 50 * 5, 240 * 4, 1]
    assert shapes_of(d, x, "Dense") == [(2, width) for width in widths]


def test_maxout_is_the_largest_of_affine_maps():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return maxout.maxout(x, 3, 4)

    x = jax.random.normal(jax.random.key(1), (5, 6))
    variables = Layer().init(jax.random.key(0), x)
    kernel = np.asarray(variables["params"]["Dense_0"]["kernel"]).reshape(6, 3, 4)
    expected = np.einsum("nf,fup->nup", x, kernel).max(-1)
    np.testing.assert_allclose(Layer().apply(variables, x), expected, rtol=1e-5, atol=1e-6)


NETWORKS = {
    "dcgan": (
        dcgan.Generator((8, 8), 1),
        dcgan.Discriminator((8, 8), (False, True), (0.0, 0.0)),
    ),
    "resnet": (
        resnet.Generator((8, 8), 1),
        resnet.Discriminator((8, 8, 8), (False,) * 3, (0.0,) * 3),
    ),
    "mlp": (mlp.Generator((8, 8), 16, 1), mlp.Discriminator((8, 8), (False,) * 2, (0.0,) * 2)),
}


@pytest.mark.parametrize("kind", ["none", "embedding", "one_hot", "batch_norm", "projection"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_label_matters_where_it_should(name, kind):
    """Each kind of conditioning in each image network: another label, another output."""
    conditioning = layers.Conditioning(kind, 3, 5)
    z, x = jnp.ones((2, 10)), jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    for module, at, known in zip(
        NETWORKS[name],
        (z, x),
        (("embedding", "one_hot", "batch_norm"), ("embedding", "one_hot", "projection")),
        strict=True,
    ):
        module = module.clone(conditioning=conditioning)
        variables = module.init(jax.random.key(0), at, LABEL, train=False)
        if kind == "batch_norm":  # All classes begin alike.
            variables["params"] = jax.tree.map(
                lambda leaf: leaf + jax.random.normal(jax.random.key(2), leaf.shape),
                variables["params"],
            )
        one, other = (
            module.apply(variables, at, jnp.array(label), train=False) for label in ([1, 1], [1, 2])
        )
        np.testing.assert_array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1]) == (kind not in known)


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
def test_a_vector_beside_is_channels_of_the_image_size(layer, peer, shape):
    """Values and both gradients are those of Flax's layer on the concatenation."""
    x = jax.random.normal(jax.random.key(1), shape)
    vector = jax.random.normal(jax.random.key(2), (2, 5))
    variables = layer.init(jax.random.key(0), x, vector)

    def joined(x, vector):
        y = vector.reshape(2, *(1,) * (x.ndim - 2), 5)
        return jnp.concatenate([x, jnp.broadcast_to(y, (*x.shape[:-1], 5))], axis=-1)

    def ours(variables, x, vector):
        y = layer.apply(variables, x, vector)
        return jnp.sum(jnp.sin(y)), y

    def theirs(variables, x, vector):
        y = peer.apply(variables, joined(x, vector))
        return jnp.sum(jnp.sin(y)), y

    got, expected = (
        jax.grad(f, (0, 1, 2), has_aux=True)(variables, x, vector) for f in (ours, theirs)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)


def test_projection_closed_form():
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


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("parts", [(True, True), (False, True), (False, False)])
def test_batch_norm_is_flaxs(parts, train, dtype):
    """Its parameters, variables, results and gradients, of a batch far from mean 0 too."""
    options = dict(zip(("use_scale", "use_bias"), parts, strict=True), dtype=dtype)
    options |= {"use_running_average": not train, "momentum": 0.8, "epsilon": 1e-3}
    ours, flaxs = norms.BatchNorm(**options), nn.BatchNorm(**options)
    x = 3 + 2 * jax.random.normal(jax.random.key(1), (8, 5, 6, 4), dtype or jnp.float32)
    variables = ours.init(jax.random.key(0), x)
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, flaxs.init(jax.random.key(0), x)))
    noise = iter(jax.random.uniform(jax.random.key(2), (4, 4)))
    variables = jax.tree.map(
        lambda leaf: leaf + next(noise)[: leaf.size].astype(leaf.dtype), variables
    )

    def found(norm):
        def loss(variables, x):
            y, new = norm.apply(variables, x, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), (y, new)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables, x)

    tree, expected = found(ours), found(flaxs)
    assert tree[1][0].dtype == expected[1][0].dtype
    # Rounded to bfloat16 at the end, both: now and then to neighbours.
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype is None else {"rtol": 0.02, "atol": 0.02}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), **tolerance
        ),
        tree,
        expected,
    )


def test_conditional_batch_norm_is_batch_norm_with_the_class_scale_and_bias():
    norm = norms.Norm(stddev=0.5)

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, label):
            conditioning = layers.Conditioning("batch_norm", 3)
            return norm(x, label, train=True, conditioning=conditioning)

    x = 3 + 2 * jax.random.normal(jax.random.key(1), (8, 5, 5, 4))
    label = jnp.array([0, 1, 2, 0, 1, 2, 0, 1])
    variables = Layer().init(jax.random.key(0), x, label)
    scale, bias = (np.asarray(variables["params"]["ClassAffine_0"][n]) for n in ("scale", "bias"))
    assert scale.std() > 0.1
    y, _ = Layer().apply(variables, x, label, mutable=["batch_stats"])
    x = np.asarray(x)
    plain = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    expected = plain * scale[label][:, None, None] + bias[label][:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_resizing_layers():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(layers.mean_pool(jnp.asarray(layers.repeat(x))), x)
    np.testing.assert_array_equal(layers.mean_pool(x)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])


# Kernels of DCGAN at 64x64 (outermost width 64), without G's first and last, and D's first and last
# layers.
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
def test_counts_of_whole_configs(name, preset, g, d):
    """Of the parameters of both players, from their specified layers."""
    loaded, module = schema.load(shipped(name, preset))
    (g_params, _), (d_params, _) = jax.eval_shape(module.build(loaded).init, jax.random.key(0))
    assert (count(g_params), count(d_params)) == (g, d)
