"""One device and eight: the same losses and the same parameters, of every system."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import shipped, shrink
from jax.sharding import PartitionSpec as P

from ganjax.engine import step as steps
from ganjax.ops.lowering import native_convolutions
from ganjax.parallel.sharding import gather_params, make_layout, state_sharding
from ganjax.runtime import compiling
from ganjax.training import schema
from ganjax.training.checkpoint import open_checkpoints, restore_or_init, save
from ganjax.training.loop import train

# Fully sharded where that differs: variables of spectral normalisation, and phases.
FULLY_SHARDED = {"sngan", "progan"}
# A config of every kind: DCGAN is as its noisy form is, WGAN-GP as its conditional one (and in
# test_step.py).
SYSTEMS = ["ada", "cgan", "cwgan_gp", "dcgan_noisy", "progan", "sngan", "wgan"]


def run(config, devices, how):
    """Two steps of every phase on `devices`, and all metrics; in float64.

    In float32 a gradient near zero, where sums over devices round differently, becomes a step
    of full size in Adam, and nothing tight could be asked.
    """
    loaded, module = schema.load(config)
    algorithm, layout = module.build(loaded), make_layout(devices)
    random = np.random.RandomState(0)
    # What the convolutions are made of is not the matter here, and whole ones compile sooner.
    with native_convolutions(), jax.enable_x64(True):
        key = jax.device_put(jax.random.key(0), layout.replicated)
        state = jax.tree.map(
            lambda leaf: (
                leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
            ),
            jax.jit(partial(steps.init_state, algorithm))(jax.random.key(0)),
        )
        placed = state_sharding(layout, state, how)
        state = jax.device_put(state, placed)
        step = jax.jit(
            steps.make_train_step(gather_params(algorithm, layout, how), sharding=layout.batch),
            static_argnames="phase",
            out_shardings=(placed, layout.replicated),
            compiler_options=compiling.options("cpu"),
        )
        every = []
        for phase in algorithm.phases:
            if phase.start:
                state = jax.device_put(algorithm.begin(state, phase), placed)
            size, shape = phase.image_size, (algorithm.reals_per_step, phase.batch_size)
            image = random.randint(0, 256, (*shape, size, size, loaded.data.channels), np.uint8)
            label = random.randint(0, loaded.data.num_classes, shape).astype(np.int32)
            for _ in range(2):
                batch = jax.device_put({"image": image, "label": label}, layout.batches)
                state, metrics = step(state, batch, key, phase=phase)
                every.append(metrics)
        return jax.device_get((state, every)), state


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_one_device_and_eight_agree(name):
    config = shrink(shipped(name))
    if config.generator.network in ("dcgan", "resnet") and config.image_size > 16:  # A layer less.
        config.image_size, config.data.fit = 16, "resize"
        for player in (config.generator, config.discriminator):
            player.widths = player.widths[1:]
    how = "fully_sharded" if name in FULLY_SHARDED else "replicated"
    one, _ = run(config, jax.devices()[:1], "replicated")
    eight, state = run(config, jax.devices(), how)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6, 1e-9), one, eight)
    split = [leaf for leaf in jax.tree.leaves(state) if not leaf.is_fully_replicated]
    assert bool(split) == (how == "fully_sharded")


def test_what_is_split_and_where():
    """The largest axis that eight devices share; nothing of the variables."""
    config = shrink(shipped("sngan"))
    config.generator.widths = config.discriminator.widths = (16,) * len(config.generator.widths)
    loaded, module = schema.load(config)
    algorithm, layout = module.build(loaded), make_layout()
    state = jax.eval_shape(partial(steps.init_state, algorithm), jax.random.key(0))
    placed = state_sharding(layout, state, "fully_sharded")
    specs = {
        leaf.shape: each.spec
        for leaf, each in zip(
            jax.tree.leaves(state.d.params), jax.tree.leaves(placed.d.params), strict=True
        )
    }
    assert specs[(3, 3, 16, 16)] == P(None, None, "data")
    assert specs[(16,)] == P("data")
    assert specs[(16, 1)] == P("data")
    assert specs[(1,)] == P()
    assert specs[(3, 3, 1, 16)] == P(None, None, None, "data")
    assert placed.ema.params == placed.g.params
    assert all(each.spec == P() for each in jax.tree.leaves((placed.d.vars, placed.ema.vars)))
    moments = [each.spec for each in jax.tree.leaves(placed.d.opt_state)]
    assert P(None, None, "data") in moments
    assert state_sharding(layout, state, "replicated") == layout.replicated


def test_resumed_on_other_devices(tiny, tmp_path, monkeypatch):
    """Eight devices, then two, then one: as if on one from the start."""
    tiny.checkpoint_every, tiny.n_critic = 1, 1

    def train_on(folder, until, count, how):
        tiny.total_steps, tiny.sharding = until, how
        monkeypatch.setattr(
            "ganjax.training.setup.make_layout", partial(make_layout, jax.devices()[:count])
        )
        state = train(tiny, tmp_path / folder)
        assert len(state.step.sharding.device_set) == count
        return jax.device_get(state)

    train_on("moved", 1, 8, "fully_sharded")
    train_on("moved", 2, 2, "fully_sharded")
    moved, stayed = (train_on(folder, 3, 1, "replicated") for folder in ("moved", "stayed"))
    # Adam's first steps are of full size (1e-4), whatever their gradient's rounding.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-2, 3e-4), moved, stayed)


def test_a_split_state_is_saved_and_read_as_it_was(tiny, tmp_path):
    loaded, module = schema.load(tiny)
    init, layout = partial(steps.init_state, module.build(loaded)), make_layout()
    key = jax.random.key(0)
    placed = state_sharding(layout, jax.eval_shape(init, key), "fully_sharded")
    state = jax.jit(init, out_shardings=placed)(key)
    with open_checkpoints(tmp_path, keep=1) as checkpoints:
        save(checkpoints, 3, state, {})
        checkpoints.wait()
        read = restore_or_init(checkpoints, init, key, placed)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(read), strict=True):
        assert a.sharding == b.sharding
        np.testing.assert_array_equal(a, b)
