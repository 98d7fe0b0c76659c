"""Half precision: what computes in it, what never does, and that it trains all the same."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from initial import initial
from small import shipped, shrink

from experiments.precision import main
from ganjax.config import ConfigError
from ganjax.engine import loss_scaling
from ganjax.engine import step as steps
from ganjax.engine.algorithm import Context
from ganjax.ops import convolutions as ops
from ganjax.training import schema
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")

# Every network, loss, penalty, normalisation and augmentation that is shipped, of which the first
# are tried by default.
QUICK = ["wgan_gp", "dcgan", "cgan:paper", "progan"]
SLOW = ["dcgan_noisy", "wgan", "cwgan_gp", "cgan", "sngan:projection", "ada", "ada:cifar10"]


def tiny_of(system, precision):
    name, _, preset = system.partition(":")
    config = shrink(shipped(name, preset))
    config.precision = precision
    return config


def build(config):
    loaded, module = schema.load(config)
    return module.build(loaded)


def arguments(algorithm, config, phase):
    """(state, batch, key) as shapes."""
    key = jax.random.key(0)
    state = jax.eval_shape(partial(steps.init_state, algorithm), key)
    shape = (algorithm.real_batches, phase.batch_size)
    size = phase.image_size
    image = jax.ShapeDtypeStruct((*shape, size, size, config.data.channels), np.uint8)
    return state, {"image": image, "label": jax.ShapeDtypeStruct(shape, np.int32)}, key


def lowered(config):
    """The program of a train step on an accelerator, and its abstract outcome."""
    algorithm = build(config)
    phase = algorithm.phases[-1]
    step = jax.jit(steps.make_train_step(algorithm), static_argnames="phase")
    traced = step.trace(*arguments(algorithm, config, phase), phase=phase)
    return traced.lower(lowering_platforms=("tpu",)).as_text(), traced.out_info


def products(text, kind):
    """(operands' shapes, their types, the result's type) of each product in a program."""
    pattern = rf"stablehlo\.{kind} .* : \(tensor<(\S+)>, tensor<(\S+)>\) -> tensor<(\S+)>"
    for x, y, result in re.findall(pattern, text):
        *x_shape, x_type = x.split("x")
        *y_shape, y_type = y.split("x")
        yield (x_shape, y_shape), {x_type, y_type}, result.split("x")[-1]


@pytest.mark.parametrize(
    "system", [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW)]
)
def test_networks_compute_in_bfloat16_and_nothing_else_does(system):
    config = tiny_of(system, "bfloat16")
    text, (state, metrics) = lowered(config)
    convolutions = list(products(text, "convolution"))
    dots = list(products(text, "dot_general"))
    assert convolutions or dots
    # Augmentation filters images in float32, with convolutions of no learned kernel.
    for _, types, result in convolutions:
        assert types == {"bf16"}
        assert result == "bf16"
    # In float32 is the layer that makes one number a sample, and the power iteration.
    wide = [shapes for shapes, types, _ in dots if "f32" in types]
    assert sum(types == {"bf16"} for _, types, _ in dots) or convolutions
    if not (config.generator.get("spectral_norm") or config.discriminator.get("spectral_norm")):
        learned = [shapes for shapes in wide if config.augment.policy == "none"]
        assert all("1" in x + y or x[-1:] == y[-1:] for x, y in learned), learned
    # Neither parameters, averages, optimisers nor metrics know of it.
    plain = jax.eval_shape(partial(steps.init_state, build(config)), jax.random.key(0))
    assert jax.tree.map(lambda leaf: leaf.dtype, state) == jax.tree.map(lambda x: x.dtype, plain)
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} == {np.dtype(np.float32)}
    assert {value.dtype for value in metrics.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("system", ["dcgan", "cgan:paper", "sngan:projection", "progan"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_images_scores_and_penalties_are_float32(system, precision):
    config = tiny_of(system, precision)
    if system == "dcgan":
        config.discriminator.batch_norm, config.penalty.r1 = "none", 1.0
    algorithm = build(config)
    phase = algorithm.phases[0]
    gan = algorithm.in_phase(phase)
    state, batch, key = arguments(algorithm, config, phase)
    reals = {name: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for name, leaf in batch.items()}
    reals["image"] = jax.ShapeDtypeStruct(reals["image"].shape, np.float32)

    def outcome(state, reals):
        context = Context(reals, key, state.step, phase, state.aug)
        z = gan.latent(key, 8)
        fake, vars = gan.generate(state.g.params, state.g.vars, z, context)
        scores, d_vars = gan.discriminate(state.d.params, state.d.vars, fake, context)
        penalty, _ = gan.penalty(state.d.params, state.d.vars, fake, context)
        sampled = gan.sample(state.g.params, state.g.vars, z, reals["label"], phase)
        loss = gan.d_loss(scores, context)[0], gan.g_loss(scores, context)[0]
        return fake["image"], scores, penalty, sampled, loss, vars, d_vars

    for leaf in jax.tree.leaves(jax.eval_shape(outcome, state, reals)):
        assert leaf.dtype == np.float32


def gradients(config, precision):
    """The gradients of both players in a first step, as what gradient descent subtracts."""
    config.precision = precision
    algorithm = build(config)
    sgd = optax.sgd(1.0)
    if precision == "float16":
        sgd = loss_scaling.skipping(sgd)
    algorithm = algorithm.in_phase(algorithm.phases[0])._replace(g_tx=sgd, d_tx=sgd)
    key, random = jax.random.key(0), np.random.RandomState(0)
    phase = algorithm.phases[0]
    shape, size = (algorithm.real_batches, phase.batch_size), phase.image_size
    batch = {
        "image": random.randint(0, 256, (*shape, size, size, config.data.channels), np.uint8),
        "label": random.randint(0, algorithm.num_classes, shape).astype(np.int32),
    }
    state = initial(partial(steps.init_state, algorithm), key)
    step = jax.jit(steps.make_train_step(algorithm), static_argnames="phase")
    after, metrics = step(state, batch, key, phase=phase)
    flat = [
        np.concatenate(
            [
                np.ravel(old - new)
                for old, new in zip(
                    jax.tree.leaves(getattr(state, player).params),
                    jax.tree.leaves(getattr(after, player).params),
                    strict=True,
                )
            ]
        )
        for player in ("g", "d")
    ]
    return flat, metrics


@pytest.mark.parametrize(
    ("system", "precision", "tolerance"),
    [
        ("wgan_gp", "bfloat16", 0.1),
        pytest.param("progan", "float16", 0.1, marks=pytest.mark.slow),
        pytest.param("cgan", "float16", 0.02, marks=pytest.mark.slow),
    ],
)
def test_gradients_are_close_to_those_in_float32(system, precision, tolerance, monkeypatch):
    """Of both orders: cgan's is simultaneous."""
    monkeypatch.setattr(loss_scaling, "INITIAL_SCALE", 2.0**8)  # No overflow at the first step.
    config = tiny_of(system, "float32")
    if system == "wgan_gp":
        config.image_size, config.data.fit = 8, "resize"
        config.generator.widths = config.discriminator.widths = (8,)
    config.n_critic = 1  # Of more, the second is at other parameters.
    exact, metrics = gradients(config, "float32")
    rounded, other = gradients(config, precision)
    for one, another in zip(exact, rounded, strict=True):
        error = np.linalg.norm(another - one) / np.linalg.norm(one)
        assert 0 < error < tolerance
    for name in ("d_loss", "g_loss"):
        np.testing.assert_allclose(other[name], metrics[name], rtol=0.05, atol=0.05)


def test_convolutions_add_up_in_float32():
    """Each of the three maps is the exact one, rounded once: a sum of 4,096 ones is 4,096."""
    x, k = jnp.ones((4, 16, 16, 256), jnp.bfloat16), jnp.ones((4, 4, 256, 8), jnp.bfloat16)
    y = ops.conv(x, k, 2, 1)
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 4, 4, 0]) == 16 * 256
    g = jnp.ones((4, 64, 64, 8), jnp.bfloat16)
    wide = jnp.ones((4, 128, 128, 3), jnp.bfloat16)

    def total(k):
        return jnp.sum(ops.conv(wide, k, 2, 1).astype(jnp.float32) * g.astype(jnp.float32))

    kernel = jax.grad(total)(jnp.ones((4, 4, 3, 8), jnp.bfloat16))
    # A window's inner pixels meet all of 4 * 64 * 64 outputs, which bfloat16 counts to 256 only.
    assert float(kernel[1, 1, 0, 0]) == 4 * 64 * 64


def scaled_quadratic(scale=loss_scaling.INITIAL_SCALE):
    tx = loss_scaling.skipping(optax.adam(0.1))
    params = {"w": jnp.ones(3)}
    return tx, params, tx.init(params)._replace(scale=jnp.float32(scale))


def test_an_overflow_is_left_out_and_halves_the_scale():
    tx, params, state = scaled_quadratic()
    unscaled = loss_scaling.DYNAMIC.unscale({"w": jnp.array([1.0, jnp.inf, 2.0])}, state)
    assert np.isnan(optax.tree.norm(unscaled))
    updates, after = tx.update(unscaled, state, params)
    assert not np.any(updates["w"])
    jax.tree.map(np.testing.assert_array_equal, after.inner, state.inner)
    assert after.scale == loss_scaling.INITIAL_SCALE / 2
    assert after.since == 0
    good = loss_scaling.DYNAMIC.unscale({"w": jnp.array([1.0, 2.0, 4.0]) * after.scale}, after)
    np.testing.assert_array_equal(good["w"], [1.0, 2.0, 4.0])
    updates, _ = tx.update(good, after, params)
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-5)


def test_the_scale_doubles_after_its_period_and_ends_as_nan(monkeypatch):
    monkeypatch.setattr(loss_scaling, "GROWTH_INTERVAL", 3)
    tx, params, state = scaled_quadratic()
    scales = []
    for _ in range(6):
        _, state = tx.update({"w": jnp.ones(3)}, state, params)
        scales.append(float(state.scale) / loss_scaling.INITIAL_SCALE)
    assert scales == [1, 1, 2, 2, 2, 4]
    most = state._replace(scale=jnp.float32(loss_scaling.MAX_SCALE), since=jnp.int32(2))
    assert tx.update({"w": jnp.ones(3)}, most, params)[1].scale == loss_scaling.MAX_SCALE
    least = state._replace(scale=jnp.float32(loss_scaling.MIN_SCALE))
    assert np.isnan(tx.update({"w": jnp.full(3, jnp.nan)}, least, params)[1].scale)


def test_a_run_in_float16_outlives_overflows(tiny, tmp_path, monkeypatch):
    """From a scale that overflows at once, both players find one that does not."""
    monkeypatch.setattr(loss_scaling, "INITIAL_SCALE", 2.0**24)
    monkeypatch.setattr(loss_scaling, "MIN_SCALE", 2.0**-24)
    tiny.precision, tiny.n_critic = "float16", 1
    tiny.total_steps = tiny.eval_every = tiny.checkpoint_every = 16
    tiny.sample_every = 16
    state = train(tiny, tmp_path)
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "d_loss" in row]
    assert rows[0]["d_loss_scale"] == rows[0]["g_loss_scale"] == 2.0**24
    assert "d_grad_norm" not in rows[0]
    assert rows[-1]["d_loss_scale"] < 2.0**24
    assert rows[-1]["d_grad_norm"] > 0
    assert rows[-1]["g_grad_norm"] > 0
    assert int(state.d.opt_state.inner[0].count) < 16
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_an_unknown_precision_is_refused(tiny):
    tiny.precision = "half"
    with pytest.raises(ConfigError, match=r"config.precision='half': should be 'float32'"):
        build(tiny)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config=dcgam"], "configs/ has no dcgam.py, but ada, cgan"),
        (["--config=dcgan:celeb"], "--config=dcgan:celeb: preset 'celeb': did you mean celeb_a?"),
        (
            ["--precisions=bfloat16,float32"],
            "--precisions=bfloat16,float32: name float32",
        ),
        (["--seeds=1"], "--seeds=1: one has no spread"),
    ],
)
def test_the_experiment_answers_wrong_flags(monkeypatch, capsys, flags, message):
    monkeypatch.setattr("sys.argv", ["precision", *flags])
    with pytest.raises(SystemExit):
        main()
    assert message in capsys.readouterr().err
