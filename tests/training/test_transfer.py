"""A run that begins from the weights of another: what it takes, and that it then needs no other."""

import json
import shutil
from functools import partial

import jax
import numpy as np
import pytest
from small import shipped, shrink
from tiny_dcgan import build, tiny_dcgan

from ganjax.config import ConfigError
from ganjax.engine.step import init_state
from ganjax.errors import UserError
from ganjax.parallel.sharding import make_layout
from ganjax.training import checkpoint, matching, schema, setup, stored, transfer, workdir
from ganjax.training.loop import train
from ganjax.training.start import Start


def side(config):
    """A run's config and the shapes of its state."""
    loaded = schema.load(config)
    return matching.Side(loaded, transfer._shapes(loaded.module.build(loaded.config)))


def state_of(config, step):
    """A state without two equal values, as of the step."""
    shapes = side(config).shapes
    leaves, tree = jax.tree.flatten(shapes)
    numbers = iter(range(step * 10**6, (step + 1) * 10**6, 10**4))
    filled = [
        np.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape) + leaf.dtype.type(next(numbers))
        for leaf in leaves
    ]
    return jax.tree.unflatten(tree, filled).replace(step=np.int32(step))


def raising(error):
    """A function that raises an error, whatever its arguments."""

    def raises(*_, **__):
        raise error

    return raises


def save(folder, config, *steps):
    """Makes the folder of a run with checkpoints of `state_of`."""
    workdir.claim(folder, schema.load(config).config)
    with checkpoint.open_checkpoints(folder, keep=9) as checkpoints:
        for step in steps:
            state = jax.device_put(state_of(config, step), jax.devices()[0])
            checkpoint.save(checkpoints, step, state, {}, {})


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The folder of a run with checkpoints of steps 2 and 4."""
    folder = tmp_path_factory.mktemp("other") / "run"
    save(folder, tiny_dcgan(), 2, 4)
    return folder


def begin(config, folder, **start):
    """Restores or begins a run as a train command does, and returns its state at that point."""
    run = setup.prepare(config, folder, Start(**start))
    with setup.open_checkpoints(run) as checkpoints:
        return jax.device_get(run.restore(checkpoints)[0])


def same(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("players", ["generator", pytest.param("both", marks=pytest.mark.slow)])
def test_a_run_begins_with_weights_of_another_which_it_then_needs_no_more(
    other, players, tmp_path, monkeypatch
):
    source = shutil.copytree(other, tmp_path / "source")
    config, folder = tiny_dcgan(), tmp_path / "run"
    config.g_optimiser.learning_rate = 0.5
    start = {"init_from": f"{source}:2", "init_players": players}

    # A kill before the first checkpoint forgets nothing.
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "begin", raising(Killed))
        with pytest.raises(Killed):
            begin(config, folder, **start)
    assert not checkpoint.exist(folder)
    # Should the other run have another step 2 by now, this one does not begin from that.
    meta = source / "checkpoints" / "2" / stored.METADATA
    content = json.loads(meta.read_text())
    ours = content[stored.OURS] | {stored.WINDOW: {"counts": {}}}
    meta.write_text(json.dumps(content | {stored.OURS: stored.sealed(ours)}))
    with pytest.raises(ConfigError, match=r"--init_from=.*source:2: that checkpoint has changed"):
        begin(config, folder)
    meta.write_text(json.dumps(content))

    found = begin(config, folder)
    wanted = state_of(config, 2)
    init = checkpoint.init_program(partial(init_state, build(config)), make_layout().replicated)
    fresh = jax.device_get(init(jax.random.key(config.seed)))
    d = wanted.d if players == "both" else fresh.d
    assert same(
        (found.g.params, found.g.vars, found.ema, found.d.params, found.d.vars),
        (wanted.g.params, wanted.g.vars, wanted.ema, d.params, d.vars),
    )
    assert same(
        (found.step, found.g.opt_state, found.d.opt_state, found.aug),
        (0, fresh.g.opt_state, fresh.d.opt_state, fresh.aug),
    )
    shutil.rmtree(source)
    assert same(begin(config, folder), found), "without the flags, and without the other run"
    assert same(begin(config, folder, **start), found), "the same command"
    for others in ({"init_from": f"{source}:4"}, {"init_from": str(source)}):
        with pytest.raises(ConfigError, match=r"a run that began by --init_from=.*source:2; leave"):
            begin(config, folder, **others)


def test_a_run_that_began_by_itself_does_not_begin_again(other):
    with pytest.raises(ConfigError, match=r"holds a run that began by itself; leave the flag out"):
        setup.prepare(tiny_dcgan(), other, Start(init_from=f"{other}:2"))


@pytest.mark.slow
def test_every_seed_begins_from_one_run_or_from_its_own(other, tmp_path):
    config = tiny_dcgan()
    config.num_seeds = 2
    run = setup.prepare(config, tmp_path / "run", Start(init_from=f"{other}:4"))
    with setup.open_checkpoints(run) as checkpoints:
        members = run.restore(checkpoints)
    wanted = state_of(tiny_dcgan(), 4)
    for member in members:
        assert same(member.g.params, wanted.g.params)
    one, two = (jax.tree.leaves(member.g.params)[0] for member in members)
    one.delete()
    assert not two.is_deleted(), "each member donates its own arrays"
    with pytest.raises(ConfigError, match=r"run has 2 seeds; give --config.num_seeds=2"):
        setup.prepare(tiny_dcgan(), tmp_path / "one", Start(init_from=str(tmp_path / "run")))


@pytest.mark.parametrize(
    ("changes", "start", "message"),
    [
        ({}, {"init_from": "{}:3"}, r"--init_from=.*:3: .*checkpoints holds the steps 2, 4; name"),
        ({}, {"init_from": "{}/nowhere"}, r"nowhere: no run is there"),
        ({}, {"init_allow": ("widths",)}, r"--init_allow=widths: there are classes \(what belongs"),
        (
            {"latent_dim": 7},
            {},
            r"kernel is \(4, 4, 4, 8\) there and .*; give --config.latent_dim=8$",
        ),
        (
            {"image_size": 16, "generator.widths": (4, 4), "discriminator.widths": (4, 4)},
            {"init_allow": ("resolution",)},
            r"config.image_size \(8, not 16\), config.generator.widths \(\(4,\), not .*; give --",
        ),
        (
            {"discriminator.widths": (8,)},
            {},
            r"d/params/.* is .* there and .*; give .*widths=\(4,\)'$",
        ),
    ],
)
def test_a_run_that_cannot_be_begun_from_is_refused(changes, start, message, other, tmp_path):
    config = tiny_dcgan()
    config.update_from_flattened_dict(changes)
    start = {"init_from": "{}"} | start
    start["init_from"] = start["init_from"].format(other)
    with pytest.raises(UserError, match=message) as caught:
        begin(config, tmp_path / "run", **start)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_generator_alone_minds_no_other_discriminator(other, tmp_path):
    config = tiny_dcgan()
    config.discriminator.widths = (8,)
    run = setup.prepare(config, tmp_path, Start(init_from=str(other), init_players="generator"))
    assert run.transfer.origin.step == 4, "the last, since no figure chooses a best"


@pytest.mark.parametrize("kind", ["one_hot", "embedding", "batch_norm"])
def test_what_belongs_to_other_classes_begins_anew(kind):
    config = shrink(shipped("cwgan_gp"))
    config.conditioning.generator, config.generator.batch_norm = kind, True
    config.conditioning.discriminator = "projection" if kind == "batch_norm" else kind
    there = side(config)
    config.data.num_classes = 13
    here = side(config)
    with pytest.raises(matching.Misfit, match=r"1[14].* there and .* here|there and \(13"):
        matching.parts(here, there, "both", ())
    taken = matching.parts(here, there, "both", ("classes",))
    old, new = (
        jax.tree.map(lambda s, k=k: np.full(s.shape, k), s.shapes)
        for k, s in ((1, there), (2, here))
    )
    merged = matching.weights(matching.merged(taken, new, old), "both")
    fresh = {}
    for name, array in merged.items():
        assert array.shape == matching.weights(here.shapes, "both")[name].shape
        if (array == 2).any():
            fresh[name] = array
    assert {name.split("/")[0] for name in fresh} == {"g", "d", "ema"}
    if kind == "one_hot":
        kernel, latent = fresh["g/params/ConvTranspose_0/kernel"], config.latent_dim
        assert kernel.shape[-1] == latent + 13
        assert (kernel[..., :latent] == 1).all()
        assert (kernel[..., latent:] == 2).all()
        assert fresh.keys() == {f"{p}/params/ConvTranspose_0/kernel" for p in ("g", "ema")} | {
            "d/params/Conv_0/kernel"
        }
    else:
        assert all(len(array) == 13 and (array == 2).all() for array in fresh.values())


def test_equally_many_classes_are_the_same_ones_unless_the_user_says_so():
    run = side(shrink(shipped("cwgan_gp")))
    name = "g/params/ConvTranspose_0/kernel"
    assert matching.parts(run, run, "both", ())[name] is None
    latent = run.loaded.config.latent_dim
    assert matching.parts(run, run, "both", ("classes",))[name] == (3, latent)


def test_a_growing_run_takes_the_layers_of_the_resolutions_that_both_have():
    config = shrink(shipped("progan"))
    there = side(config)
    config.image_size = 16
    config.generator.widths = config.discriminator.widths = (4, 4, 4)
    config.growth.batch_sizes, config.growth.learning_rates = (8, 8), (1e-3, 1e-3)
    here = side(config)
    with pytest.raises(matching.Misfit, match=r"_16/\w+ is not there"):
        matching.parts(here, there, "both", ())
    taken = matching.parts(here, there, "both", ("resolution",))
    own = matching.weights(here.shapes, "both")
    anew = {name.split("/")[2] for name in own.keys() - taken.keys()}
    assert anew == {"conv0_16", "conv1_16", "to_rgb_16", "from_rgb_16"}
    assert not any("alpha" in name for name in own), "how far layers are faded in is not a weight"
    with pytest.raises(matching.Misfit, match=r"_16/\w+ is there and not here"):
        matching.parts(there, here, "both", ())
    assert (
        matching.parts(there, here, "both", ("resolution",)).keys()
        == matching.weights(there.shapes, "both").keys()
    )


def test_a_start_that_needs_a_run_says_so():
    for start in ({"init_players": "generator"}, {"init_allow": ("classes",)}):
        with pytest.raises(UserError, match=r"it needs --init_from"):
            Start(**start)


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_run_from_another_goes_on_bit_for_bit_when_that_is_gone(tmp_path, native_convolutions):
    config = tiny_dcgan()
    alone = train(config, tmp_path / "source")
    config.checkpoint_every, config.keep_checkpoints = 1, 9
    start = Start(init_from=str(tmp_path / "source"))
    whole = train(config, tmp_path / "whole", start=start)
    assert not same(whole.g.params, alone.g.params)
    shutil.rmtree(tmp_path / "source")
    for step in (0, 2):
        parts = shutil.copytree(tmp_path / "whole", tmp_path / f"from_{step}")
        for later in range(step + 1, 5):
            shutil.rmtree(parts / "checkpoints" / str(later))
        assert same(train(config, parts), whole)
