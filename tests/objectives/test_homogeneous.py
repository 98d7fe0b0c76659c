"""The gradient of loss and penalties in one pass, against the ordinary form in float64."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from initial import initial
from small import shipped

from ganjax.augment import ada
from ganjax.config import defaults
from ganjax.engine.algorithm import Context, DiscriminatorGradient
from ganjax.engine.arranging import arranged
from ganjax.models import r3gan
from ganjax.models.layers import Conditioning
from ganjax.objectives.homogeneous import linearise
from ganjax.parallel.sharding import make_layout, on_devices
from ganjax.training import schema

N = 5
LABEL = jnp.asarray([0, 2, 1, 1, 0])
KINDS = {"none": Conditioning(), "projection": Conditioning("projection", 3)}


@pytest.fixture(params=KINDS)
def critic(request):
    """A critic of two sizes as (function, params, images), all of float64 and none 0."""
    random = np.random.RandomState(0)
    network = r3gan.Discriminator((8, 4), group_width=4, conditioning=KINDS[request.param])
    with jax.enable_x64(True):
        images = jnp.asarray(random.randn(N, 8, 8, 3))
        shapes = jax.eval_shape(
            partial(network.init, train=False), jax.random.key(0), images, LABEL
        )["params"]
        params = jax.tree.map(lambda leaf: jnp.asarray(random.randn(*leaf.shape) / 2), shapes)

        def scores(params, images, label):
            return network.apply({"params": params}, images, label, train=True)

        yield scores, params, images


@jax.jit(static_argnums=0)
def ordinary(critic, params, images, weights, penalties):
    """The scores, the slopes and the gradient, each differentiated by itself."""

    def slopes(params):
        return jax.grad(lambda x: critic(params, x, LABEL).sum())(images)

    def objective(params):
        squares = jnp.square(slopes(params)).sum((1, 2, 3))
        return weights @ critic(params, images, LABEL) + penalties @ squares / 2

    return critic(params, images, LABEL), slopes(params), jax.grad(objective)(params)


@jax.jit(static_argnums=0)
def together(critic, params, images, weights, penalties):
    found = linearise(critic, params, images, LABEL, r3gan.DiscriminatorFields.homogeneous_with)
    return found.scores, found.slopes, found.gradient(weights, penalties)


def test_the_gradient_is_that_of_loss_and_penalty_apart(critic):
    random = np.random.RandomState(1)
    weights, penalties = jnp.asarray(random.randn(N)), jnp.asarray(random.rand(N))
    with_zero = weights.at[1].set(0.0)  # A sample whose score no longer matters to the loss.
    for s, c in ((weights, penalties), (with_zero, penalties), (weights, 0 * penalties)):
        expected = ordinary(*critic, s, c)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10),
            together(*critic, s, c),
            expected,
        )
        assert all(np.abs(leaf).max() > 1e-2 for leaf in jax.tree.leaves(expected[2]))


def test_it_takes_two_thirds_of_the_products(critic):
    ones = jnp.ones(N)
    shared, apart = (
        (function.lower(*critic, ones, ones).cost_analysis() or {})["flops"]
        for function in (together, ordinary)
    )
    assert shared < 0.72 * apart


def algorithm(**fields):
    """R3GAN at 8x8, with other values for some fields by their dotted names."""
    config = shipped("r3gan")
    config.update(batch_size=4, image_size=8, latent_dim=5)
    config.data.fit = "resize"
    for network in (config.generator, config.discriminator):
        network.update(widths=(8, 4), group_width=4)
    config.update_from_flattened_dict(fields)
    config, module = schema.load(config)
    return module.build(config)


@pytest.mark.usefixtures("native_convolutions")
def test_an_update_of_r3gan_has_the_metrics_of_its_functions():
    gan = algorithm()
    shared = gan.d_gradient
    assert shared is not None
    stated = inspect.signature(DiscriminatorGradient.__call__)
    assert ["self", *inspect.signature(shared.compute).parameters] == list(stated.parameters)
    random, key = np.random.RandomState(0), jax.random.key(0)
    real, fake = (
        {"image": jnp.asarray(random.randn(4, 8, 8, 1), jnp.float32), "label": LABEL[:4]}
        for _ in range(2)
    )
    _, (params, vars) = initial(gan.init, key)
    context = Context(real, key, jnp.int32(0), gan.phases[0], ())
    compute = jax.jit(lambda params: shared.compute(params, vars, fake, context))
    gradient, _, metrics = compute(params)

    def objective(params):
        scores, _ = gan.discriminate(params, vars, fake, context)
        loss, metrics = gan.d_loss(scores, context.named("d_loss"))
        penalty, penalties = gan.penalty(params, vars, fake, context)
        return loss + penalty, metrics | penalties

    (loss, expected), of_params = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    assert metrics.keys() == expected.keys() | {"d_loss"}
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, metrics, expected | {"d_loss": loss})
    jax.tree.map(close, gradient, of_params)


OTHERS = {
    "one penalty": {"penalty.r2": 0.0},
    "a third penalty": {"penalty.weight": 10.0},
    "differences": {"penalty.difference": 0.01},
    "a lazy penalty": {"penalty.interval": 4},
    "one pass of both": {"d_batches": "joint"},
    "images of other draws": {"augment": defaults(ada.AdaFields)},
    "half precision": {"precision": "float16"},
    "a direction": {"san": True},
    "blocks computed anew": {"remat": True},
}


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_other_configs_take_both_gradients_apart(fields):
    assert algorithm(**fields).d_gradient is None


@pytest.mark.parametrize("mode", ["replicated", "fully_sharded"])
def test_an_algorithm_with_other_functions_differentiates_them(mode):
    gan, layout = algorithm(), make_layout()

    def is_shared(algorithm):
        return arranged(on_devices(algorithm, layout, mode), None).d_gradient is not None

    assert is_shared(gan)
    assert is_shared(gan._replace(g_loss=lambda scores, context: (jnp.float32(0), {})))
    for name in ("discriminate", "d_loss", "penalty"):
        assert not is_shared(gan._replace(**{name: partial(getattr(gan, name))}))
