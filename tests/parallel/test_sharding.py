"""One device and eight give the same losses and the same parameters, for every system."""

from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from small import shipped, shrink
from systems import SYSTEMS, two_steps

from ganjax.engine import step as steps
from ganjax.parallel.sharding import make_layout, on_devices, state_sharding
from ganjax.planning.dry_run import batch_shapes
from ganjax.training import domain, schema
from ganjax.training.checkpoint import open_checkpoints, restore_or_init, save
from ganjax.training.loop import train

# The systems that are fully sharded here: those with spectral normalisation, and with phases.
FULLY_SHARDED = {"sngan", "progan"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_one_device_and_eight_agree(name):
    config = shrink(shipped(name))
    config.n_critic = 1
    if "families" in config.get("augment", {}):  # The others act on each image alone as well.
        config.augment.families = ("blit", "geometric")
    least = {"dcgan": 8, "resnet": 16}.get(config.generator.get("network"))
    if least and config.image_size > least:  # The fewest layers.
        less = int(np.log2(config.image_size // least))
        config.image_size, config.data.fit = least, "resize"
        for player in (config.generator, config.discriminator):
            player.widths = player.widths[less:]
    mode = "fully_sharded" if name in FULLY_SHARDED else "replicated"
    one, _ = two_steps(config, jax.devices()[:1], "replicated")
    eight, state = two_steps(config, jax.devices(), mode)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6, 1e-9), one, eight)
    split = [leaf for leaf in jax.tree.leaves(state) if not leaf.is_fully_replicated]
    assert bool(split) == (mode == "fully_sharded")


def test_devices_share_every_convolution_of_a_step():
    config = shrink(shipped("r3gan"))
    loaded, module = schema.load(config)
    algorithm, layout = module.build(loaded), make_layout()
    step = steps.make_train_step(on_devices(algorithm, layout, "replicated"), sharding=layout.batch)
    phase = algorithm.phases[0]
    reals = batch_shapes(domain.of(schema.Loaded(loaded, module)), algorithm, phase)
    state = jax.eval_shape(partial(steps.init_state, algorithm), jax.random.key(0))
    traced = str(jax.make_jaxpr(partial(step, phase=phase))(state, reals, jax.random.key(0)))
    assert "partition=Partition" in traced
    assert "partition=None" not in traced


def test_arrays_are_split_along_their_largest_axis_that_the_devices_share():
    """Nothing of the players' variables is split."""
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


@pytest.mark.slow
@pytest.mark.usefixtures("native_convolutions")
def test_a_run_that_moves_to_other_devices_ends_as_one_that_stayed(tiny, tmp_path, monkeypatch):
    """It moves from eight devices to two, then to one."""
    tiny.checkpoint_every, tiny.n_critic = 1, 1

    def train_on(folder, until, count, mode):
        tiny.total_steps, tiny.sharding = until, mode
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
        save(checkpoints, 3, state, {}, {})
        checkpoints.wait()
        read = restore_or_init(checkpoints, init, key, placed)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(read), strict=True):
        assert a.sharding == b.sharding
        np.testing.assert_array_equal(a, b)
