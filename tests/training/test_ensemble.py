"""Runs of several seeds at once: each is the run of its seed alone."""

from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image
from small import shipped, shrink

import ganjax
from ganjax.analysis.trained import Trained
from ganjax.config import ConfigError
from ganjax.engine import step as steps
from ganjax.engine.phases import Phase
from ganjax.errors import UserError
from ganjax.parallel.sharding import check_batch, make_layout
from ganjax.training import dispatch, ensemble, schema, setup
from ganjax.training.loop import train
from ganjax.training.report import mean_and_spread
from ganjax.training.writer import read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")


@pytest.fixture
def small():
    """The conditional GAN of dense networks: its programs compile soonest."""
    config = shrink(shipped("cgan"))
    config.generator.widths, config.discriminator.widths = (8, 8), (8,)
    config.sample_every = config.eval_every = config.checkpoint_every = 4
    return config


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def close(one, other, rtol=1e-3, atol=1e-4):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, atol), one, other)


def alone(config, folder, seed):
    config = config.copy_and_resolve_references()
    config.seed, config.num_seeds = seed, 1
    return train(config, folder)


@pytest.mark.slow
def test_on_one_cpu_members_are_the_runs_alone(small, tmp_path, monkeypatch):
    """To the bit: parameters, samples, metrics; and resumed."""
    monkeypatch.setattr(setup, "make_layout", partial(make_layout, jax.devices()[:1]))
    small.seed, small.num_seeds, small.total_steps = 5, 2, 2
    small.steps_per_dispatch = small.eval_every = small.sample_every = 2
    train(small, tmp_path / "both")
    small.total_steps = 4
    members = train(small, tmp_path / "both")
    runs = [alone(small, tmp_path / str(seed), seed) for seed in (5, 6)]
    equal(members, tuple(runs))
    rows = read_metrics(tmp_path / "both" / "metrics.jsonl")
    apart = [read_metrics(tmp_path / str(seed) / "metrics.jsonl") for seed in (5, 6)]
    for row, *others in zip(rows, *apart, strict=True):
        for name in set(others[0]) - {"step", "epoch", "images_per_second"}:
            values = [other[name] for other in others]
            np.testing.assert_allclose(row[name], np.mean(values), rtol=1e-6, atol=1e-8)
            spread = abs(values[0] - values[1]) / np.sqrt(2)
            np.testing.assert_allclose(row[f"{name}_seed_std"], spread, rtol=1e-3, atol=1e-7)
    for index, seed in enumerate((5, 6)):
        where = tmp_path / "both" / "samples" / f"seed_{seed}" / "step_00000004.png"
        theirs = tmp_path / str(seed) / "samples" / "step_00000004.png"
        with Image.open(where) as one, Image.open(theirs) as other:
            np.testing.assert_array_equal(one, other)
        made = ganjax.load(tmp_path / "both", seed_index=index).sample(3)
        np.testing.assert_array_equal(made, ganjax.load(tmp_path / str(seed)).sample(3))
    assert Trained(tmp_path / "both", seed_index=1).seed == 6
    with pytest.raises(UserError, match=r"--seed_index=2: the run has 2 seed\(s\); the last is 1"):
        Trained(tmp_path / "both", seed_index=2)


@pytest.mark.slow
def test_over_devices_members_are_the_runs_alone(small, tmp_path):
    """Two by four devices: seeds by shares of a batch."""
    small.num_seeds = 2
    members = train(small, tmp_path / "both")
    close(members[1], alone(small, tmp_path / "one", 1), rtol=1e-2, atol=1e-3)
    # Adam's few small steps say little of the parameters; the losses say which batches they saw.
    both, one = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("both", "one"))
    for row, other in zip(both, one, strict=True):
        for name in {"d_loss", "d_grad_norm"} & other.keys():
            off = row[f"{name}_seed_std"] / np.sqrt(2)  # Of two, each from their mean.
            np.testing.assert_allclose(abs(row[name] - other[name]), off, 2e-2, 1e-5)
            assert name == "d_loss" or off > 1e-3


def outcome(config, make, layout, count=3):
    """Members and metrics after steps of an ensemble, on reals of their own."""
    loaded, module = schema.load(config)
    algorithm, seeds = module.build(loaded), ensemble.seeds(loaded)
    phase = algorithm.phases[0]
    step = steps.make_train_step(algorithm, sharding=layout.batch)
    runs = make(dispatch.make_train_steps(step), layout)
    keys = tuple(jax.device_put(jax.random.key(seed), layout.replicated) for seed in seeds)
    init = jax.jit(partial(steps.init_state, algorithm), out_shardings=layout.replicated)
    state = runs.pack(tuple(map(init, keys)))
    shape = (algorithm.real_batches, phase.batch_size)
    size = (phase.image_size,) * 2
    for i in range(count):
        random = [np.random.RandomState(100 * i + seed) for seed in seeds]
        batches = [
            {
                "image": r.randint(0, 256, (*shape, *size, config.data.channels), np.uint8),
                "label": r.randint(0, algorithm.num_classes, shape).astype(np.int32),
            }
            for r in random
        ]
        batches = tuple(jax.device_put(batch, layout.batches) for batch in batches)
        batches = jax.tree.map(lambda leaf: leaf[None], batches)
        state, metrics = runs.advance(state, batches, keys, phase)
    return runs.unpack(state), metrics


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num", "places"), [("ada", 3, 1), ("cgan", 8, 8)])
def test_together_is_one_by_one(small, name, num, places):
    """Three by `vmap` beside batches in eighths, eight on a device each: ADA's p is each one's."""
    config = small
    if name == "ada":
        config = shrink(shipped("ada"))
        config.image_size, config.generator.widths, config.discriminator.widths = 8, (4,), (4,)
        config.augment.controller.p = 0.5
        config.augment.controller.speed = 0.1
    config.num_seeds = num
    layout = make_layout(num_seeds=num)
    assert layout.mesh.shape == {"seed": places, "data": 8 // places}
    members, metrics = outcome(
        config, lambda step, layout: ensemble.together(step, num, layout), layout
    )
    one_device = make_layout(jax.devices()[:1], num)
    others, expected = outcome(
        config, lambda step, on: ensemble.one_by_one(step, on, on.replicated), one_device
    )
    assert len(members) == len(others) == num
    for member, other in zip(members, others, strict=True):
        close(member.g, other.g, rtol=1e-2, atol=2e-3)
        close(member.aug, other.aug)
        assert int(member.step) == 3
    close(metrics, expected, rtol=2e-2, atol=2e-3)
    if name == "ada":
        assert len({float(member.aug["p"]) for member in members}) > 1


def test_mean_and_spread():
    values = {"kid": np.array([1.0, 2.0, 6.0], np.float32)}
    assert mean_and_spread(values) == {"kid": 3.0, "kid_seed_std": pytest.approx(np.sqrt(7.0))}
    assert mean_and_spread({"kid": np.array([2.0])}) == {"kid": 2.0}


def test_what_members_share_is_checked(small, monkeypatch):
    """Of eight devices and two members each batch is shared by four."""
    check_batch(Phase(0, 1, 12, 8), make_layout(num_seeds=2))
    with pytest.raises(ConfigError, match=r"config.batch_size=6: 4 devices"):
        check_batch(Phase(0, 1, 6, 8), make_layout(num_seeds=2))
    small.seed, small.num_seeds = 2**32 - 2, 3
    with pytest.raises(ConfigError, match=r"config.num_seeds=3: the last of them"):
        ensemble.seeds(schema.load(small).config)
    small.seed, small.num_seeds = 0, 2
    two = schema.load(small).config
    ensemble.check(two)
    with monkeypatch.context() as patch:
        patch.setattr(jax, "process_count", lambda: 2)
        with pytest.raises(ConfigError, match=r"config.num_seeds=2: 2 processes train one"):
            ensemble.check(two)
    small.sharding = "fully_sharded"
    with pytest.raises(ConfigError, match=r"config.num_seeds=2 with config.sharding='ful"):
        ensemble.check(schema.load(small).config)
    small.num_seeds = 0
    with pytest.raises(ConfigError, match=r"config.num_seeds=0: should be greater than 0"):
        schema.load(small)
