"""What the networks do with their inputs, and how they are initialised."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from initial import initial

from ganjax.models import dcgan, layers, maxout, mlp, norms, resnet

pytestmark = pytest.mark.usefixtures("native_convolutions")

LABEL = jnp.zeros(2, jnp.int32)


def init(module, x, label=LABEL):
    """A network's variables, made by one program: layer by layer would take many."""
    return initial(partial(module.init, train=False), jax.random.key(0), x, label)


def shapes_of(module, x, label=LABEL):
    """The shapes of a network's variables."""
    return jax.eval_shape(partial(module.init, train=False), jax.random.key(0), x, label)


def test_batch_norm_takes_the_bias_of_its_convolution():
    d = dcgan.Discriminator((4, 4), (False, True), (0.0, 0.0))
    params = shapes_of(d, jnp.zeros((2, 16, 16, 1)))["params"]
    assert "bias" in params["Conv_0"]
    assert "bias" not in params["Conv_1"]
    assert list(params["BatchNorm_0"]["scale"].shape) == [4]


@pytest.mark.parametrize("batch_norm", [(True, True), (False, True)])
def test_a_discriminator_without_biases_has_none_outside_batch_norm(batch_norm):
    d = dcgan.Discriminator((4, 4), batch_norm, (0.0, 0.0), use_bias=False)
    params = shapes_of(d, jnp.zeros((2, 16, 16, 1)))["params"]
    assert [set(params[f"Conv_{i}"]) for i in range(3)] == [{"kernel"}] * 3


@pytest.mark.parametrize(("stddev", "expected"), [(0.0, 0.1**0.5), (1.0, 1.0), (0.5, 0.5)])
def test_embeddings_are_of_unit_length_or_of_the_deviation_that_is_asked_for(stddev, expected):
    """10 numbers of deviation 1 / sqrt(10) are a vector of about unit length."""
    conditioning = layers.Conditioning("embedding", 1000, 10, stddev)
    g = mlp.Generator((4,), (4, 4), 1, conditioning=conditioning)
    params = init(g, jnp.zeros((2, 3)))["params"]
    embedding = np.asarray(params["Embed_0"]["embedding"])
    assert abs(embedding.std() / expected - 1) < 0.03


def test_dcgan_is_initialised_as_in_its_paper():
    g = dcgan.Generator((64, 64), 3)
    params = init(g, jnp.zeros((2, 100)))["params"]
    kernel = np.asarray(params["ConvTranspose_0"]["kernel"])
    assert abs(kernel.std() - 0.02) < 1e-3
    assert abs(kernel.mean()) < 1e-3
    scale = np.concatenate([params[f"BatchNorm_{i}"]["scale"] for i in range(2)])
    assert abs(scale.mean() - 1) < 0.01
    assert abs(scale.std() - 0.02) < 0.01
    assert not np.any(params["BatchNorm_0"]["bias"])


def test_generated_images_are_in_range_and_training_moves_the_averages():
    g = dcgan.Generator((8, 8), 1, norm=norms.Norm(momentum=0.9))
    z, label = jax.random.normal(jax.random.key(1), (16, 10)), jnp.zeros(16, jnp.int32)
    variables = init(g, z, label)
    x, new = g.apply(variables, z, label, train=True, mutable=["batch_stats"])
    assert x.shape == (16, 16, 16, 1)
    assert -1 <= float(x.min()) < float(x.max()) <= 1
    # The momentum of 0.9 is the decay of the running average, whose start has no weight.
    weights = [each["batch_stats"]["BatchNorm_0"]["weight"] for each in (variables, new)]
    np.testing.assert_allclose(weights, [0.0, 0.1], rtol=1e-5)
    assert np.all(np.asarray(new["batch_stats"]["BatchNorm_0"]["var"]) > 0)


def test_dropout_acts_in_training_only():
    d = dcgan.Discriminator((8, 8), (False,) * 2, (0.0, 0.5))
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    variables = init(d, x)

    def at(key, train):
        return np.asarray(
            d.apply(variables, x, LABEL, train=train, rngs={"dropout": jax.random.key(key)})
        )

    assert np.array_equal(at(0, False), at(1, False))
    assert not np.array_equal(at(0, True), at(1, True))


def test_dcgan_follows_the_guidelines_of_its_paper():
    """No pooling, no hidden dense layer, tanh at the generator's output and nowhere else."""
    g = dcgan.Generator((8, 4), 1)
    d = dcgan.Discriminator((4, 8), (False, True), (0.0, 0.0))
    label = jnp.zeros(2, jnp.int32)
    for module, x, tanhs in ((g, jnp.zeros((2, 10)), 1), (d, jnp.zeros((2, 16, 16, 1)), 0)):
        variables = shapes_of(module, x)
        text = str(
            jax.make_jaxpr(lambda v, x, m=module: m.apply(v, x, label, train=False))(variables, x)
        )
        assert text.count("= tanh ") == tanhs
        assert "reduce_window" not in text
        kinds = {name.rsplit("_", 1)[0] for name in variables["params"]}
        assert kinds <= {"Conv", "ConvTranspose", "BatchNorm"}


def test_dcgan_can_upsample_by_repetition():
    """Its kernels are then those of plain convolutions, but for the first layer's."""
    g = dcgan.Generator((8, 4), 1, upsample="nearest")
    z = jax.random.normal(jax.random.key(1), (2, 10))
    label = jnp.zeros(2, jnp.int32)
    variables = shapes_of(g, z)
    made = jax.eval_shape(partial(g.apply, train=False), variables, z, label)
    assert made.shape == (2, 16, 16, 1)
    shapes = {name: v["kernel"].shape for name, v in variables["params"].items() if "Conv" in name}
    assert shapes == {
        "ConvTranspose_0": (4, 4, 8, 10),
        "Conv_0": (4, 4, 8, 4),
        "Conv_1": (4, 4, 4, 1),
    }


def test_masks_of_latents_drop_the_share_asked_for_and_are_the_same_in_any_batch():
    z = jax.random.uniform(jax.random.key(0), (64, 100))
    x = jnp.ones((64, 200))
    drop = jax.jit(maxout.drop_by_latent, static_argnums=(1, 3))
    dropped = np.asarray(drop(x, 0.4, z, "joint"))
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.6], rtol=1e-6)
    assert abs((dropped == 0).mean() - 0.4) < 0.02
    assert len(np.unique(dropped, axis=0)) == 64
    np.testing.assert_array_equal(drop(x[9:], 0.4, z[9:], "joint"), dropped[9:])
    other = drop(x, 0.4, z, "label")
    assert abs((other == dropped).mean() - 0.52) < 0.02  # Independent: .4 * .4 + .6 * .6.


def test_a_generator_that_drops_while_sampling_does_so_at_the_rate_of_training():
    """Moments over many latents, of a generator that ignores them."""
    z, label = jax.random.uniform(jax.random.key(0), (4_000, 5)), np.zeros(4_000, np.int32)
    sizes = {"latent_width": 3, "label_width": 3, "joint_width": 4, "init_stddev": 1.0}
    plain = maxout.Generator((2, 2), 1, 2, **sizes)
    dropping = plain.clone(sample_dropout=True)
    variables = init(plain, z[:1], label[:1])
    variables["params"]["Dense_0"]["kernel"] = jnp.zeros((5, 3))

    def moments(x):
        return np.asarray([x.mean(0), x.std(0)])

    @jax.jit
    def images(variables):
        trained = plain.apply(variables, z, label, train=True, rngs={"dropout": jax.random.key(2)})
        sampled = dropping.apply(variables, z, label, train=False)
        return trained, sampled, plain.apply(variables, z, label, train=False)

    trained, sampled, without = images(variables)
    np.testing.assert_allclose(moments(sampled), moments(trained), atol=0.03)
    assert np.ptp(without, axis=0).max() == 0


def test_maxout_is_the_largest_of_affine_maps():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return maxout.maxout_layer(x, 3, 4)

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
    "mlp": (
        mlp.Generator((8, 8), (16, 16), 1),
        mlp.Discriminator((8, 8), (False,) * 2, (0.0,) * 2),
    ),
}


@pytest.mark.parametrize("kind", ["none", "embedding", "one_hot", "batch_norm", "projection"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_label_matters_where_it_should(name, kind):
    """Another label makes another output, for each kind of conditioning that a network takes."""
    conditioning = layers.Conditioning(kind, 3, 5)
    z, x = jnp.ones((2, 10)), jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    for module, inputs, conditionings in zip(
        NETWORKS[name],
        (z, x),
        (("embedding", "one_hot", "batch_norm"), ("embedding", "one_hot", "projection")),
        strict=True,
    ):
        module = module.clone(conditioning=conditioning)
        variables = init(module, inputs)
        if kind == "batch_norm":  # All classes begin alike.
            variables["params"] = jax.tree.map(
                lambda leaf: leaf + jax.random.normal(jax.random.key(2), leaf.shape),
                variables["params"],
            )
        same, changed = (
            module.apply(variables, inputs, jnp.array(label), train=False)
            for label in ([1, 1], [1, 2])
        )
        np.testing.assert_array_equal(same[0], changed[0])
        assert np.array_equal(same[1], changed[1]) == (kind not in conditionings)
