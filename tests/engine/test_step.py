"""The train step, the evaluation step and the sampler, for any algorithm."""

import json
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from initial import initial

from ganjax.config import ConfigError
from ganjax.engine import step as steps
from ganjax.engine import updates
from ganjax.engine.algorithm import Context
from ganjax.engine.arranging import unrolled
from ganjax.engine.inputs import StepInputs
from ganjax.engine.phases import Phase
from ganjax.engine.state import Ema, GanState, Player
from ganjax.keys import fold
from ganjax.models import norms
from ganjax.parallel.sharding import make_layout
from ganjax.runtime import compiling
from ganjax.training import schema

pytestmark = pytest.mark.usefixtures("native_convolutions")
ANY_PHASE = Phase(0, 1, 8, 8)


def build(config):
    """The algorithm of a config: the same one for the same fields, so that tests share programs."""
    return build_from(config.to_json())


@cache
def build_from(fields):
    loaded, module = schema.load(json.loads(fields))
    return module.build(loaded)


def reals(algorithm, seed=0):
    random = np.random.RandomState(seed)
    phase = algorithm.phases[0]
    shape = (algorithm.real_batches, phase.batch_size)
    image = random.randint(0, 256, (*shape, phase.image_size, phase.image_size, 1))
    label = random.randint(0, algorithm.num_classes, shape).astype(np.int32)
    return {"image": image.astype(np.uint8), "label": label}


# Algorithms by their id, which are kept so that no other takes it, and their programs.
PROGRAMS = {}


def program(algorithm, name, make):
    """What `make` returns, made once for an algorithm and a name."""
    of_algorithm = PROGRAMS.setdefault(id(algorithm), (algorithm, {}))[1]
    if name not in of_algorithm:
        of_algorithm[name] = make()
    return of_algorithm[name]


def initial_of(algorithm, key):
    """The state before the first step."""
    return initial(partial(steps.init_state, algorithm), key)


def step_of(algorithm, unroll, sharding):
    """A compiled train step."""
    return program(
        algorithm,
        (unroll, sharding),
        lambda: jax.jit(
            steps.make_train_step(algorithm, unroll=unroll, sharding=sharding),
            static_argnames="phase",
            donate_argnames="state",
            compiler_options=compiling.options("cpu"),
        ),
    )


def run(algorithm, count=1, *, unroll=False, key=None, batch=None, layout=None):
    """`count` steps on one batch from a fresh state, and the last metrics."""
    key = jax.random.key(0) if key is None else key
    batch = reals(algorithm) if batch is None else batch
    sharding = None
    if layout is not None:
        sharding = layout.batch
        key = jax.device_put(key, layout.replicated)
        batch = jax.device_put(batch, layout.batches)
    state = initial_of(algorithm, key)
    if layout is not None:
        state = jax.device_put(state, layout.replicated)
    step = step_of(algorithm, unroll, sharding)
    for _ in range(count):
        state, metrics = step(state, batch, key, phase=algorithm.phases[0])
    assert step._cache_size() == 1, "a step was compiled more than once"
    return state, metrics


def close(one, other, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, atol), one, other)


def context(algorithm, count=8):
    """The context of a first step: labels are 0, and there are no images."""
    label = {"label": jnp.zeros(count, jnp.int32)}
    return Context(label, jax.random.key(7), jnp.zeros((), int), algorithm.phases[0], ())


def differs(one, other):
    return any(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def test_metrics_are_named_and_finite(tiny):
    _, metrics = run(build(tiny))
    names = {"d_loss", "g_loss", "c_wass_loss", "c_gp", "d_grad_norm", "g_grad_norm"}
    assert set(metrics) == names
    assert all(np.isfinite(value) for value in metrics.values())
    np.testing.assert_allclose(
        metrics["d_loss"],
        metrics["c_wass_loss"] + tiny.penalty.weight * metrics["c_gp"],
        rtol=1e-5,
    )


def test_a_step_is_a_function_of_its_arguments(tiny):
    algorithm = build(tiny)
    one, other = run(algorithm, 2)[0], run(algorithm, 2)[0]
    assert not differs(one, other)
    assert differs(one.g.params, run(algorithm, 2, key=jax.random.key(1))[0].g.params)
    assert int(one.step) == 2


def test_no_tracer_leaks(tiny):
    algorithm = build(tiny)
    step = partial(steps.make_train_step(algorithm), phase=algorithm.phases[0])
    with jax.checking_leaks():
        state = jax.eval_shape(partial(steps.init_state, algorithm), jax.random.key(0))
        jax.eval_shape(step, state, reals(algorithm), jax.random.key(0))


def test_loop_and_unrolled_critic_agree(tiny):
    tiny.n_critic = 3
    algorithm = build(tiny)
    close(run(algorithm, 2, unroll=True), run(algorithm, 2, unroll=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "order", [pytest.param("alternating", marks=pytest.mark.slow), "simultaneous"]
)
def test_one_device_and_eight_agree(tiny, order):
    tiny.order, tiny.n_critic = order, {"alternating": 2, "simultaneous": 1}[order]
    algorithm = build(tiny)
    assert jax.device_count() == 8
    one = run(algorithm, 3, layout=make_layout(jax.devices()[:1]))
    eight = run(algorithm, 3, layout=make_layout())
    # Adam turns a gradient near zero, where sums differ by rounding, into a step of full size.
    close(one[1], eight[1], rtol=1e-3, atol=1e-4)
    close(one[0].g, eight[0].g, rtol=1e-2, atol=2e-4)
    close(one[0].d, eight[0].d, rtol=1e-2, atol=2e-4)


def test_shared_reals_are_fresh_reals_that_repeat(tiny):
    algorithm = build(tiny)
    batch = reals(algorithm)
    assert batch["image"].shape[0] == 2
    swapped = {name: leaf[::-1] for name, leaf in batch.items()}
    assert differs(run(algorithm)[0].d, run(algorithm, batch=swapped)[0].d)
    tiny.critic_reals = "shared"
    shared = build(tiny)
    assert shared.real_batches == 1
    twice = {name: leaf[:1].repeat(2, axis=0) for name, leaf in batch.items()}
    once = {name: leaf[:1] for name, leaf in batch.items()}
    close(run(shared, batch=once), run(algorithm, batch=twice))


@pytest.mark.parametrize(("critic_reals", "of_d"), [("fresh", [0, 1]), ("shared", [0, 0])])
def test_a_loss_of_pairs_gives_g_reals_that_d_has_not_had(tiny, monkeypatch, critic_reals, of_d):
    tiny.loss, tiny.critic_reals = "relativistic_paired", critic_reals
    algorithm = build(tiny)
    assert algorithm.real_batches == max(of_d) + 2
    seen = {"d": [], "g": []}

    def record(algorithm, player, other, inputs):
        seen[inputs.player].append(int(inputs.context().batch["image"]))
        return player, {}

    monkeypatch.setattr(updates, "update_discriminator", record)
    monkeypatch.setattr(updates, "update_generator", record)
    batch = {"image": jnp.arange(algorithm.real_batches, dtype=jnp.float32)}
    inputs = StepInputs(batch, jax.random.key(0), 0, ANY_PHASE, (-1.0, 1.0), repeat=unrolled)
    player = Player((), (), ())
    updates.alternating(algorithm, GanState(0, player, player, Ema((), ()), ()), inputs)
    assert seen == {"d": of_d, "g": [max(of_d) + 1]}


@pytest.mark.parametrize("still", ["g", "d"])
@pytest.mark.parametrize("order", ["alternating", "simultaneous"])
def test_a_player_without_a_rate_stands_still(tiny, order, still):
    """Nothing but its own optimiser moves a player's parameters."""
    tiny.order, tiny.n_critic = order, 1
    algorithm = build(tiny)._replace(**{f"{still}_tx": optax.sgd(0.0)})
    before = initial_of(algorithm, jax.random.key(0))
    after, _ = run(algorithm)
    moving = {"g": "d", "d": "g"}[still]
    assert not differs(getattr(before, still).params, getattr(after, still).params)
    assert differs(getattr(before, moving).params, getattr(after, moving).params)


def test_variables_move_in_their_own_update_only(tiny):
    """BatchNorm averages of G move once a step, however many fakes the critic was shown."""
    tiny.n_critic = 3
    algorithm = build(tiny)
    state, _ = run(algorithm)
    key = jax.random.key(0)
    initial = initial_of(algorithm, key)
    z = algorithm.latent(fold(key, "train", 0, "g", 2, "latent"), 8)
    _, vars = algorithm.generate(initial.g.params, initial.g.vars, z, context(algorithm))
    close(state.g.vars, vars)


def test_alternating_generator_sees_the_new_critic(tiny):
    """G's loss is taken at the critic as it is after its updates."""
    tiny.n_critic = 1
    algorithm = build(tiny)._replace(d_tx=optax.sgd(1.0))
    state, metrics = run(algorithm)
    key = jax.random.key(0)
    initial = initial_of(algorithm, key)
    z = algorithm.latent(fold(key, "train", 0, "g", 0, "latent"), 8)
    plain = context(algorithm)
    fake, _ = algorithm.generate(initial.g.params, initial.g.vars, z, plain)

    def loss(d):
        scores, _ = algorithm.discriminate(d.params, d.vars, fake, plain._replace(batch=fake))
        return algorithm.g_loss(scores, plain)[0]

    np.testing.assert_allclose(metrics["g_loss"], loss(state.d), rtol=1e-4, atol=1e-8)
    assert abs(metrics["g_loss"] - loss(initial.d)) > 0.1 * abs(metrics["g_loss"])


def test_simultaneous_is_both_gradients_at_the_old_parameters(tiny):
    """The shared vjp gives what two separate losses, each differentiated alone, give."""
    tiny.order, tiny.n_critic = "simultaneous", 1
    algorithm = build(tiny)._replace(g_tx=optax.sgd(1.0), d_tx=optax.sgd(1.0))
    key = jax.random.key(0)
    batch = reals(algorithm)
    initial = initial_of(algorithm, key)
    update_key = fold(key, "train", 0, "both", 0)
    first_reals = {
        "image": jnp.asarray(batch["image"][0] / np.float32(127.5) - 1),
        "label": jnp.asarray(batch["label"][0]),
    }
    plain = context(algorithm)._replace(batch=first_reals)
    z = algorithm.latent(fold(update_key, "latent"), 8)

    def at(name):
        return plain._replace(key=fold(update_key, name))

    def fakes(g_params):
        return algorithm.generate(g_params, initial.g.vars, z, plain)[0]

    def d_loss(d_params):
        fake = fakes(initial.g.params)
        scores, _ = algorithm.discriminate(d_params, {}, fake, at("judge"))
        penalty, _ = algorithm.penalty(d_params, {}, fake, at("penalty"))
        return algorithm.d_loss(scores, plain)[0] + penalty

    def g_loss(g_params):
        scores, _ = algorithm.discriminate(initial.d.params, {}, fakes(g_params), at("judge"))
        return algorithm.g_loss(scores, plain)[0]

    state, metrics = run(algorithm)
    for player, loss in (("d", d_loss), ("g", g_loss)):
        params = getattr(initial, player).params
        value, gradient = jax.jit(jax.value_and_grad(loss))(params)
        np.testing.assert_allclose(metrics[f"{player}_loss"], value, rtol=1e-5, atol=1e-8)
        expected = jax.tree.map(np.subtract, params, gradient)
        close(getattr(state, player).params, expected, rtol=1e-4, atol=1e-5)


def test_the_ema_averages_parameters_and_batch_norm_averages(tiny):
    # The decay is that of the steps that are finished before this one.
    algorithm = build(tiny)._replace(ema_decay=lambda step: 0.75 / (1 + step))
    initial = initial_of(algorithm, jax.random.key(0))
    state, _ = run(algorithm)
    for name in ("params", "vars"):
        expected = jax.tree.map(
            lambda old, new: 0.75 * old + 0.25 * new,
            getattr(initial.ema, name),
            getattr(state.g, name),
        )
        close(getattr(state.ema, name), expected)
        assert differs(getattr(initial.ema, name), getattr(state.ema, name))


@pytest.mark.parametrize(("order", "updates"), [("alternating", 3), ("simultaneous", 1)])
def test_the_controller_of_augmentation_sees_every_update_of_d(tiny, order, updates):
    tiny.order, tiny.n_critic = order, updates
    algorithm = build(tiny)._replace(
        aug_init=lambda: {"losses": jnp.zeros(()), "updates": jnp.zeros(())},
        aug_update=lambda aug, metrics: {
            "losses": aug["losses"] + metrics["d_loss"],
            "updates": aug["updates"] + 1,
        },
    )
    state, metrics = run(algorithm)
    assert state.aug["updates"] == updates
    np.testing.assert_allclose(state.aug["losses"], updates * metrics["d_loss"], rtol=1e-5)


@pytest.mark.parametrize("decay", [0.1, 0.999])
def test_an_average_of_batch_norm_averages_holds_what_was_measured_alone(decay):
    """Of batches of one mean and variance it is these, from the first step on."""
    norm = norms.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5)
    x = 5 + 3 * np.random.RandomState(0).randn(64, 2).astype(np.float32)
    variables = norm.init(jax.random.key(0), x)
    statistics = {"batch_stats": variables["batch_stats"]}
    ema = Ema({}, statistics)
    for _ in range(3):
        _, statistics = norm.apply(variables | statistics, x, mutable=["batch_stats"])
        ema = steps.moving_average(ema, Player({}, (), statistics), decay)
        mean, var = norms.averages(**ema.vars["batch_stats"])
        np.testing.assert_allclose(mean, x.mean(0), rtol=1e-5)
        np.testing.assert_allclose(var, x.var(0), rtol=1e-5)


def test_the_sampler_uses_the_average_and_one_z(tiny):
    algorithm = build(tiny)
    sampler = steps.make_sampler(algorithm)
    key, phase = jax.random.key(0), algorithm.phases[0]
    initial = initial_of(algorithm, key)
    state, _ = run(algorithm, 3)
    z, label = steps.sample_inputs(algorithm, key, 5)
    one = sampler(state.ema, z, label, phase=phase)
    assert one.shape == (5, 16, 16, 1)
    assert one.dtype == jnp.uint8
    assert not differs(z, steps.sample_inputs(algorithm, key, 5)[0])
    assert differs(one, sampler(initial.ema, z, label, phase=phase))


def test_an_eval_step_changes_nothing_and_sees_the_reals(tiny):
    algorithm = build(tiny)
    state, _ = run(algorithm, 3)
    step = jax.jit(steps.make_eval_step(algorithm), static_argnames="phase")
    key, phase = jax.random.key(0), algorithm.phases[0]
    before = jax.tree.map(np.array, state)
    one = step(state, reals(algorithm, 0), 0, key, phase=phase)
    assert set(one) == {"val_d_loss", "val_c_wass_loss", "val_c_gp"}
    whole = one["val_c_wass_loss"] + tiny.penalty.weight * one["val_c_gp"]
    np.testing.assert_allclose(one["val_d_loss"], whole, rtol=1e-5)
    assert one != step(state, reals(algorithm, 1), 0, key, phase=phase)
    assert one != step(state, reals(algorithm, 0), 1, key, phase=phase), "the same fakes again"
    assert not differs(before, state)


def test_a_lazy_penalty_acts_in_every_evaluation_once(tiny):
    """Else val_d_loss would jump where the step happens to be one of the penalty's."""
    eager = build(tiny)
    lazy = eager._replace(penalty_interval=4)
    state, metrics = run(lazy, 3)
    assert np.isnan(metrics["c_gp"])
    key, phase = jax.random.key(0), eager.phases[0]
    one, other = (
        jax.jit(steps.make_eval_step(each), static_argnames="phase")(
            state, reals(eager, 0), 0, key, phase=phase
        )
        for each in (eager, lazy)
    )
    assert one == other
    assert one["val_c_gp"] > 0


def test_impossible_orders_are_refused(tiny):
    algorithm = build(tiny)
    with pytest.raises(ConfigError, match=r"n_critic=2: config.order='simultaneous' updates both"):
        steps.make_train_step(algorithm._replace(order="simultaneous"))
    with pytest.raises(ConfigError, match=r"config.order='both': there are alternating"):
        steps.make_train_step(algorithm._replace(order="both"))
