"""Several steps in a dispatch, micro-batches, rematerialisation: other programs, the same step."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from initial import initial
from small import shipped, shrink

import ganjax
from ganjax.config import ConfigError
from ganjax.configs import override
from ganjax.engine import step as steps
from ganjax.engine.algorithm import Context
from ganjax.engine.phases import Phase
from ganjax.models import dcgan, progan, resnet
from ganjax.parallel.sharding import make_layout
from ganjax.runtime import compiling
from ganjax.training import dispatch, schema, setup, workdir
from ganjax.training.epochs import Interval
from ganjax.training.history import Dispatch
from ganjax.training.loop import _dispatches, train
from ganjax.training.start import Start
from ganjax.training.writer import read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")


def build(config):
    loaded, module = schema.load(config)
    return module.build(loaded)


def reals(algorithm, channels=1, seed=0):
    random, phase = np.random.RandomState(seed), algorithm.phases[0]
    shape, size = (algorithm.real_batches, phase.batch_size), phase.image_size
    image = random.randint(0, 256, (*shape, size, size, channels), np.uint8)
    label = random.randint(0, algorithm.num_classes, shape).astype(np.int32)
    return {"image": image, "label": label}


def one_step(algorithm, *, unroll=False, batch=None, layout=None):
    """(state before, state after, metrics) of a first step."""
    key, batch = jax.random.key(0), reals(algorithm) if batch is None else batch
    if layout is not None:
        key = jax.device_put(key, layout.replicated)
        batch = jax.device_put(batch, layout.batches)
    before = initial(partial(steps.init_state, algorithm), key)
    sharding = None if layout is None else layout.batch
    step = steps.make_train_step(algorithm, unroll=unroll, sharding=sharding)
    step = jax.jit(step, static_argnames="phase", compiler_options=compiling.options("cpu"))
    return before, *step(before, batch, key, phase=algorithm.phases[0])


def close(one, other, rtol=1e-4, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, atol), one, other)


@pytest.mark.parametrize(
    ("done", "size", "cadences", "expected"),
    [
        (0, 4, (100,), [4, 4, 1, 1]),
        (0, 1, (100,), [1] * 10),
        (0, 4, (5, 100), [4, 1, 4, 1]),
        (3, 4, (5, 100), [1, 1, 4, 1, 1, 1, 1]),
        (0, 4, (6, 4), [4, 1, 1, 1, 1, 1, 1]),
        (7, 3, (8, 9), [1, 1, 3, 3, 1, 1]),
        # More than ever fit between two things that are due: as many as do.
        (0, 1000, (4, 8), [4, 4, 1, 1]),
        (5, 9, (5, 100), [5, 5]),
    ],
)
def test_dispatches_end_where_something_is_due(done, size, cadences, expected):
    counts = list(dispatch.counts(done, done + 10, size, [Interval(c) for c in cadences]))
    assert counts == expected
    for count in counts:
        assert not any(step % c == 0 for step in range(done + 1, done + count) for c in cadences)
        done += count


@pytest.mark.slow
def test_a_run_in_dispatches_is_the_run_in_steps(tiny, tmp_path):
    """To rounding, with pictures and evaluations between, and resumed within a dispatch."""
    tiny.n_critic = 1
    tiny.total_steps, tiny.sample_every, tiny.eval_every = 12, 5, 5
    tiny.checkpoint_every = 5
    one = train(tiny, tmp_path / "one")
    tiny.steps_per_dispatch, tiny.total_steps = 3, 4
    train(tiny, tmp_path / "several")
    tiny.total_steps = 12  # Dispatches from step 9 on compile nothing, and have a rate.
    several = train(tiny, tmp_path / "several")
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-8), one, several)
    rows = {
        name: [row for row in read_metrics(tmp_path / name / "metrics.jsonl") if "d_loss" in row]
        for name in ("one", "several")
    }
    drop = "images_per_second"
    for row, other in zip(*rows.values(), strict=True):
        row, other = ({k: v for k, v in each.items() if k != drop} for each in (row, other))
        assert row == pytest.approx(other, rel=1e-5, abs=1e-8)
    rates = [row[drop] for row in rows["several"] if drop in row]
    assert min(rates) > 0
    assert np.isfinite(rates).all()


def test_a_loop_of_steps_is_the_steps(tiny):
    algorithm = build(tiny)
    key, phase = jax.random.key(0), algorithm.phases[0]
    batches = [reals(algorithm, seed=seed) for seed in range(2)]
    batches = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
    state = initial(partial(steps.init_state, algorithm), key)
    several = dispatch.make_train_steps(steps.make_train_step(algorithm))
    several = jax.jit(several, static_argnames="phase")
    last, metrics = several(state, batches, key, phase=phase)
    for i in range(2):
        batch = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batches)
        state, now = several(state, batch, key, phase=phase)
        close(now, jax.tree.map(lambda value, i=i: value[i], metrics), rtol=1e-3, atol=1e-4)
    close(state, last, rtol=1e-3, atol=1e-4)
    assert int(last.step) == 2


@pytest.mark.parametrize(
    ("host", "device", "steps"),
    [
        (1e-3, 1.0, 1),
        (1e-3, 2e-3, 1),  # At most half of the device's time.
        (1e-3, 1.9e-3, 2),
        (1e-3, 1e-3, 2),
        (1e-3, 4e-4, 5),
        (1e-3, 2e-4, 10),
        (1e-3, 1e-5, 20),  # Never more.
        (1e-3, 0.0, 20),
    ],
)
def test_so_many_steps_are_chosen_as_hide_the_host(host, device, steps):
    assert dispatch.steps_hiding(host, device) == steps


def never(*_):
    pytest.fail("nothing is left to choose")


def timed(monkeypatch, host, device):
    """Lets the host and the device take given seconds for each dispatch that is timed."""
    ticks = itertools.accumulate(itertools.cycle((0.0, host, device)))
    monkeypatch.setattr(dispatch.time, "perf_counter", lambda: next(ticks))


def test_each_phase_chooses_by_its_own_steps(monkeypatch):
    past, phases = [], (Phase(0, 100, 8, 4), Phase(100, 200, 8, 8))
    pace = dispatch.Pace("auto", ())
    first = dispatch.UNTIMED + dispatch.TIMED
    for phase, device, count in zip(phases, (1e-4, 1.0), (20, 1), strict=True):
        timed(monkeypatch, 1e-3, device)
        for step in range(phase.start + 1, phase.start + 20):
            _, _, chosen = pace.start(lambda: (0, 0), step, phase)
            assert (chosen is None) == (step != phase.start + first)
            if chosen:
                assert chosen.dispatch == Dispatch(step=step, steps=count)
                np.testing.assert_allclose(chosen[1:], (1e-3, device), rtol=1e-6)
                past.append(chosen.dispatch)
            assert pace.size(step, phase) == (count if step >= phase.start + first else 1)
    # A run that is resumed at any step takes as many.
    monkeypatch.setattr(dispatch, "steps_hiding", never)
    again = dispatch.Pace("auto", past)
    for phase in phases:
        for step in range(phase.start, phase.stop, 5):
            assert again.size(step, phase) == pace.size(step, phase)
            assert again.start(lambda: (1, 2), step + 1, phase) == (1, 2, None)


def test_a_number_is_taken_at_once():
    pace, phase = dispatch.Pace(3, [Dispatch(step=5, steps=10)]), Phase(0, 100, 8, 4)
    assert pace.size(0, phase) == pace.size(50, phase) == 3


def test_a_choice_is_kept_and_its_dispatches_are_of_the_batches_of_single_steps(tiny, tmp_path):
    tiny.n_critic, tiny.total_steps = 1, 9
    tiny.sample_every = tiny.eval_every = tiny.checkpoint_every = 9
    run = setup.prepare(tiny, tmp_path)
    workdir.claim(tmp_path, run.config)
    chosen = Dispatch(step=3, steps=2)
    for each in (Dispatch(step=1, steps=5), chosen):  # As of two phases.
        workdir.keep_dispatch(tmp_path, each)
    assert workdir.read_history(tmp_path).dispatches[-1] == chosen
    assert workdir.read(tmp_path).config == run.config

    def labels(pace, start):
        for count, (batches,) in _dispatches(run, run.algorithm.phases[0], start, pace):
            assert len(batches["label"]) == count
            yield np.asarray(batches["label"])

    alone = list(labels(dispatch.Pace(1, ()), 0))
    for start, counts in ((0, [1, 1, 1, 2, 2, 2]), (4, [2, 2, 1])):
        found = list(labels(dispatch.Pace("auto", [chosen]), start))
        assert [len(each) for each in found] == counts
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(alone[start:]))


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_run_that_chose_its_dispatches_is_resumed_bit_for_bit(tmp_path, monkeypatch):
    """It is resumed before the step of its choice, and chooses nothing anew."""
    config = shrink(shipped("cgan"))  # It has no convolutions, and compiles soon.
    monkeypatch.setattr(dispatch, "UNTIMED", 1)
    monkeypatch.setattr(dispatch, "TIMED", 2)
    monkeypatch.setattr(dispatch, "CHOICES", (1, 2))
    config.n_critic = 1
    override(config, {"steps_per_dispatch": "auto"})
    config.total_steps, config.sample_every, config.eval_every, config.checkpoint_every = 7, 7, 7, 2
    config.keep_checkpoints = 9
    with monkeypatch.context() as context:
        context.setattr(dispatch, "steps_hiding", lambda host, device: 2)
        whole = train(config, tmp_path / "run")
    monkeypatch.setattr(dispatch, "steps_hiding", never)
    assert workdir.read_history(tmp_path / "run").dispatches == (Dispatch(step=3, steps=2),)
    again = train(config, tmp_path / "run", start=Start(from_step=2))
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "d_loss" in row]
    assert [row["step"] for row in rows] == list(range(1, 8))


@pytest.mark.parametrize("value", ["often", 0, 2.5])
def test_what_is_no_number_of_steps_in_a_dispatch_is_refused(tiny, value):
    raw = tiny.to_dict() | {"steps_per_dispatch": value}
    message = rf"config.steps_per_dispatch={value!r}: should be a whole .* to 65536, or 'auto'$"
    with pytest.raises(ConfigError, match=message):
        schema.load(raw)


def deterministic(config, **fields):
    """Of no randomness but the initialisation's, and no statistic of a batch."""
    config.n_critic, config.penalty.weight, config.loss = 1, 0.0, "hinge"
    config.generator.batch_norm = False
    config.batch_size = 16
    config.update(fields)
    algorithm = build(config)
    z = np.random.RandomState(1).randn(1, config.latent_dim).astype(np.float32)
    sgd = optax.sgd(1.0)
    return algorithm._replace(
        latent=lambda key, n: jnp.tile(jnp.asarray(z), (n, 1)), g_tx=sgd, d_tx=sgd
    )


@pytest.mark.parametrize(
    ("order", "unroll"), [("alternating", True), ("alternating", False), ("simultaneous", False)]
)
def test_micro_batches_have_the_gradient_of_their_batch(tiny, order, unroll):
    _, whole, metrics = one_step(deterministic(tiny, order=order))
    _, parts, others = one_step(deterministic(tiny, order=order, accumulate=4), unroll=unroll)
    close(whole.d.params, parts.d.params, atol=1e-5)
    close(whole.g.params, parts.g.params, atol=1e-5)
    close(metrics, others, atol=1e-5)


@pytest.mark.slow
def test_micro_batches_on_eight_devices(tiny):
    """Of the same rows as on one device, which BatchNorm and each row's own z show."""
    tiny.discriminator.batch_norm = "all"
    algorithm = deterministic(tiny, accumulate=2)
    shape = (tiny.latent_dim,)
    algorithm = algorithm._replace(latent=lambda key, n: jax.random.normal(key, (n, *shape)))
    _, one, _ = one_step(algorithm)
    _, eight, _ = one_step(algorithm, layout=make_layout())
    close(one.d.params, eight.d.params, rtol=1e-3, atol=1e-5)
    close(one.d.vars, eight.d.vars, rtol=1e-3, atol=1e-5)


def test_batch_norm_sees_micro_batches_in_turn(tiny):
    tiny.discriminator.batch_norm = "all"
    algorithm = deterministic(tiny, accumulate=2)
    batch = reals(algorithm)
    before, after, _ = one_step(algorithm, batch=batch)
    image = batch["image"][0] / np.float32(127.5) - 1
    vars = before.d.vars
    z = algorithm.latent(None, 8)
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        real = {"image": image[rows], "label": batch["label"][0][rows]}
        now = Context(real, jax.random.key(3), before.step, algorithm.phases[0], before.aug)
        fake, _ = algorithm.generate(before.g.params, before.g.vars, z, now)
        _, vars = algorithm.discriminate(before.d.params, vars, fake, now)
    close(after.d.vars, vars)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("wgan_gp", {"accumulate": 0}, r"config.accumulate=0: should be greater than 0"),
        ("dcgan", {"accumulate": 2, "loss": "relativistic"}, r"the loss 'relativistic' compares"),
        ("progan", {"accumulate": 4}, r"config.accumulate=4: minibatch standard deviations are"),
    ],
)
def test_impossible_micro_batches_are_refused(name, fields, message):
    config = shrink(shipped(name))
    config.update(fields)
    with pytest.raises(ConfigError, match=message):
        build(config)


def test_a_batch_that_micro_batches_do_not_share_is_refused(tiny, tmp_path):
    tiny.accumulate = 2
    message = r"config.batch_size=8: 8 devices cannot share config.accumulate=2 micro-.*; set 16$"
    with pytest.raises(ConfigError, match=message):
        train(tiny, tmp_path)


def test_a_batch_of_a_lower_resolution_is_refused_by_its_own_field(tmp_path):
    config = shrink(shipped("progan"))
    config.growth.batch_sizes = (12,)
    message = r"config.growth.batch_sizes\[0\]=12: 8 devices cannot share it evenly; set 8 or 16$"
    with pytest.raises(ConfigError, match=message):
        train(config, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sngan", "progan"])
def test_rematerialisation_changes_no_gradient(name):
    """Of the second order too, with dropout and BatchNorm."""
    config = shrink(shipped(name))
    config.n_critic = 1
    if name == "sngan":
        config.image_size, config.data.fit = 16, "resize"
        config.generator.widths = config.discriminator.widths = (4, 4)
        config.discriminator.dropout = 0.3
    outcomes = []
    for config.remat in (False, True):
        algorithm = build(config)
        algorithm = algorithm if algorithm.at is None else algorithm.at(algorithm.phases[0])
        algorithm = algorithm._replace(g_tx=optax.sgd(1.0), d_tx=optax.sgd(1.0))
        outcomes.append(one_step(algorithm)[1:])
    close(*outcomes, rtol=1e-3, atol=1e-5)


def kept(module, x):
    """Bytes that a forward pass leaves to the backward one, but for the parameters."""
    label = jnp.zeros(len(x), jnp.int32)
    variables = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), x, label)

    def forward(variables, x):
        apply = partial(module.apply, train=True, mutable=["batch_stats"])
        return jax.vjp(lambda variables, x: apply(variables, x, label)[0], variables, x)[1]

    residuals = jax.tree.leaves(jax.eval_shape(forward, variables, x))
    every = sum(leaf.size * leaf.dtype.itemsize for leaf in residuals)
    return every - sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    ("player", "kind", "fields", "share"),
    [
        ("g", progan.Generator, {}, 0.6),
        ("d", progan.Discriminator, {}, 0.6),
        ("g", dcgan.Generator, {}, 0.6),
        ("d", dcgan.Discriminator, {"batch_norm": (True,) * 4, "dropout": (0.0,) * 4}, 0.6),
        ("g", resnet.Generator, {}, 0.5),
        ("d", resnet.Discriminator, {"batch_norm": (True,) * 4, "dropout": (0.0,) * 4}, 0.4),
    ],
)
def test_rematerialisation_keeps_less(player, kind, fields, share):
    """What a pass leaves to the other; tests/test_barriers.py has a program's memory."""
    if player == "g":
        fields, x = {"channels": 3, **fields}, jnp.zeros((8, 16))
    else:
        x = jnp.zeros((8, 32, 32, 3) if kind is progan.Discriminator else (8, 64, 64, 3))
    shared = {"widths": (16,) * 4, **fields}
    plain, again = (kept(kind(remat=remat, **shared), x) for remat in (False, True))
    assert again < share * plain, (again / plain, plain)


@pytest.mark.parametrize("name", ["cgan", "cgan:paper"])
def test_rematerialisation_is_of_convolutional_blocks(name):
    config = shrink(shipped(*name.split(":")))
    config.remat = True
    with pytest.raises(ConfigError, match=r"config.remat=True: .* no convolutional blocks"):
        build(config)


@pytest.mark.slow
def test_all_of_it_together(tiny, tmp_path):
    tiny.accumulate, tiny.batch_size, tiny.n_critic = 2, 16, 1
    tiny.steps_per_dispatch, tiny.remat, tiny.precision = 2, True, "bfloat16"
    tiny.total_steps, tiny.penalty.weight = 2, 0.0
    state = train(tiny, tmp_path)
    assert int(state.step) == 2
    assert {leaf.dtype for leaf in jax.tree.leaves(state.ema)} == {np.dtype(np.float32)}
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows if "d_loss" in row] == [1, 2]
    assert [row["step"] for row in rows if "val_d_loss" in row] == [2]
    assert ganjax.load(tmp_path).sample(3).std() > 0
