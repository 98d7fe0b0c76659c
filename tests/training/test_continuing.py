"""A run that goes on with other fields, or from an earlier step, and what is kept of it."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import shipped, shrink
from tiny_dcgan import build, tiny_dcgan

from ganjax.analysis import learning_curves
from ganjax.config import ConfigError
from ganjax.engine.schedules import Schedule, schedule
from ganjax.engine.state import Ema, GanState, Player
from ganjax.runtime import storage
from ganjax.training import checkpoint, continuing, history, schema, workdir
from ganjax.training.epochs import Epochs
from ganjax.training.history import Change, History, Return
from ganjax.training.loop import train
from ganjax.training.start import AS_IT_IS, Start
from ganjax.training.writer import read_metrics

RATE = "d_optimiser.learning_rate"


@pytest.fixture
def config():
    config = tiny_dcgan()
    config.checkpoint_every, config.keep_checkpoints = 1, 9
    return config


def claim(folder, config, **start):
    workdir.claim(folder, schema.load(config).config, start=Start(**start))


@pytest.fixture
def folder(config, tmp_path):
    """The folder of a run of four steps, whose checkpoints are empty."""
    folder = tmp_path / "run"
    claim(folder, config)
    rows = [{"step": step, "d_loss": float(step)} for step in range(1, 6)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for step in range(1, 5):
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
        for name in (f"step_{step:08}.png", f"step_{step:08}_raw.png"):
            (folder / "samples" / name).write_text(f"picture {name}")
    return folder


def steps_of(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


def losses(folder):
    return [
        (row["step"], row["d_loss"])
        for row in read_metrics(folder / "metrics.jsonl")
        if "d_loss" in row
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_run_taken_back_with_another_rate_is_the_run_of_that_rate(
    config, tmp_path, native_convolutions
):
    falling = schedule(start=2e-4, end=1e-4, over=24)
    config.d_optimiser.learning_rate = falling
    train(config, tmp_path / "old")
    by_hand = shutil.copytree(tmp_path / "old", tmp_path / "by_hand")
    for step in (3, 4):
        shutil.rmtree(by_hand / "checkpoints" / str(step))
    content = json.loads((by_hand / "config.json").read_text())
    content["d_optimiser"]["learning_rate"] = config.d_optimiser.learning_rate = 0.01
    (by_hand / "config.json").write_text(json.dumps(content))
    wanted = train(config, by_hand)

    run = shutil.copytree(tmp_path / "old", tmp_path / "run")
    start = Start(allow_change=(RATE,), from_step=2)
    found = train(config, run, start=start)
    for one, other in zip(jax.tree.leaves(wanted), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(one, other)
    assert losses(run) == losses(by_hand)
    assert losses(run)[:2] == losses(tmp_path / "old")[:2]
    assert losses(run)[2:] != losses(tmp_path / "old")[2:]

    # What came after the step is a run that can be loaded.
    aside = run / "aside" / "1"
    assert steps_of(aside) == [3, 4]
    assert losses(aside) == losses(tmp_path / "old")
    assert workdir.read(aside).config.d_optimiser.learning_rate == Schedule(**falling)
    rates = [row["step"] for row in read_metrics(run / "metrics.jsonl") if "d_learning_rate" in row]
    assert rates == [1, 2], "a number has no curve, and the schedule's ends"
    assert workdir.read_history(run) == History(
        changes=(Change(step=2, field=RATE, before=falling, after=0.01),),
        returns=(Return(step=2, put_aside="aside/1", asked=True),),
    )
    # The same command goes on, and so does one without its flags but for the field.
    for again in (start, AS_IT_IS):
        assert int(train(config, run, start=again).step) == 4
    assert steps_of(run) == [1, 2, 3, 4]
    assert not (run / "aside" / "2").exists()


def contents(folder):
    """What is anywhere below a folder: the checkpoints' steps and the pictures' content."""
    checkpoints = {path.name for path in folder.rglob("checkpoints/*")}
    return checkpoints, {path.read_text() for path in folder.rglob("*.png")}


class Killed(BaseException):
    pass


def killing(monkeypatch, at):
    """Ends the process, as it were, before the `at`-th change to files from now on."""
    left = [at]

    def counted(function):
        def wrapper(*args, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **options)

        return wrapper

    monkeypatch.setattr(continuing.Path, "rename", counted(continuing.Path.rename))
    monkeypatch.setattr(continuing.Path, "mkdir", counted(continuing.Path.mkdir))
    monkeypatch.setattr(continuing.shutil, "copyfile", counted(shutil.copyfile))
    monkeypatch.setattr(storage.os, "replace", counted(storage.os.replace))


def test_a_kill_within_a_change_leaves_the_old_run_or_the_new_and_loses_nothing(
    config, folder, tmp_path, monkeypatch
):
    everything, old = contents(folder), (folder / "config.json").read_text()
    config.d_optimiser.learning_rate = 0.01
    outcomes = []
    for at in range(100):
        run = shutil.copytree(folder, tmp_path / f"killed_{at}")
        with monkeypatch.context() as patch:
            killing(patch, at)
            try:
                claim(run, config, allow_change=(RATE,), from_step=2)
            except Killed:
                pass
            else:
                break
        changed = (run / "config.json").read_text() != old
        outcomes.append(changed)
        assert contents(run) == everything
        assert (max(steps_of(run)) == 2) if changed else (max(steps_of(run)) >= 2)
        assert read_metrics(run / "metrics.jsonl") == read_metrics(folder / "metrics.jsonl")
        # The same command again ends as if nothing had happened, and then changes nothing.
        claim(run, config, allow_change=(RATE,), from_step=2)
        assert steps_of(run) == [1, 2]
        assert workdir.read_history(run).changes == (
            Change(step=2, field=RATE, before=2e-4, after=0.01),
        )
        assert contents(run) == everything
        assert {int(path.name[5:13]) for path in (run / "samples").iterdir()} == {1, 2}
        after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        claim(run, config, allow_change=(RATE,), from_step=2)
        claim(run, config)
        assert after == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert len(outcomes) > 8
    assert not any(outcomes), "config.json is the last file to change"
    assert steps_of(run) == [1, 2]


def test_a_field_changes_from_the_last_checkpoint_on_and_later_lines_are_kept(config, folder):
    config.batch_size = 16
    claim(folder, config, allow_change=("config.batch_size", "seed"))
    assert steps_of(folder) == [1, 2, 3, 4]
    past = workdir.read_history(folder)
    assert past.changes == (Change(step=4, field="batch_size", before=8, after=16),)
    assert past.returns == (Return(step=4, put_aside="aside/1"),)
    assert losses(folder / "aside" / "1")[-1] == (5, 5.0)
    assert past.lines(4) == [
        "from step 4: batch_size 8 -> 16",
        "what came after step 4 is in aside/1 of the run's folder",
    ]
    assert past.lines(5) == []


def test_a_change_that_is_not_named_or_not_possible_is_refused_with_the_values(config, folder):
    before = (folder / "config.json").read_bytes()
    config.d_optimiser.learning_rate, config.evaluation.patience = 0.01, 3
    message = (
        r"another config.evaluation.patience \(0, not 3\), "
        r"config.d_optimiser.learning_rate \(0.0002, not 0.01\): give "
        r"--config.evaluation.patience=0 --config.d_optimiser.learning_rate=0.0002, or change from "
        r"here on by --allow_change=evaluation.patience,d_optimiser.learning_rate, or take "
        r"--new or another --workdir$"
    )
    with pytest.raises(ConfigError, match=message):
        claim(folder, config)
    with pytest.raises(ConfigError, match=r"another config.evaluation.patience \(0, not 3\): give"):
        claim(folder, config, allow_change=(RATE,))
    config.generator.widths = (8,)
    config.update({"latent_dim": 3, "n_critic": 7, "image_size": 16})
    message = (
        r"another .* and 1 more \(see .*config.json\): give --config.* and so on, "
        r"or take --new or another --workdir$"
    )
    with pytest.raises(ConfigError, match=message):
        claim(folder, config, allow_change=(RATE, "evaluation.patience"))
    for name in ("generator.widths", "config.data.mirror", "d_optimiser"):
        message = (
            rf"--allow_change={name.removeprefix('config.')}: a run keeps .*: accumulate, batch_"
        )
        with pytest.raises(ConfigError, match=message):
            claim(folder, config, allow_change=(name,))
    message = (
        r"--allow_change=lr: did you mean \w_optimiser.learning_rate or \w_optim.*\? a run keeps"
    )
    with pytest.raises(ConfigError, match=message):
        claim(folder, config, allow_change=("lr",))
    assert (folder / "config.json").read_bytes() == before
    assert not (folder / "aside").exists()


def test_a_step_without_a_checkpoint_is_refused(config, folder, tmp_path):
    with pytest.raises(
        ConfigError, match=r"--from_step=7: .*checkpoints holds the steps 1, 2, 3, 4"
    ):
        claim(folder, config, from_step=7)
    with pytest.raises(ConfigError, match=r"--from_step=7: .* has no checkpoint yet"):
        train(config, tmp_path / "new", start=Start(from_step=7))


def test_the_best_and_the_patience_change_only_if_they_are_named(config, folder):
    config.evaluation.log_likelihood, config.evaluation.best = 20, "val_log_likelihood"
    names = ("evaluation.log_likelihood", "evaluation.best")
    for named in ((), names[:1], names[1:]):
        with pytest.raises(ConfigError, match=r"holds a run with another config\.evaluation"):
            claim(folder, config, allow_change=named)
    claim(folder, config, allow_change=names)
    assert {change.field for change in workdir.read_history(folder).changes} == set(names)


@pytest.mark.parametrize(
    ("name", "changes", "field", "may"),
    [
        ("dcgan", {}, "batch_size", True),
        ("wgan_gp", {}, "batch_size", False),
        ("wgan_gp", {}, "penalty.weight", True),
        ("wgan_gp", {}, "total_steps", False),  # It changes unnamed.
        ("dcgan", {"g_optimiser.decay": "linear"}, "total_steps", True),
        ("wgan_gp", {"total_steps": 0, "total_epochs": 3.0}, "batch_size", False),
        ("wgan_gp", {}, "g_optimiser.decay", False),  # It has a state of its own.
        ("wgan_gp", {}, "weight_clip", False),
        ("wgan_gp", {}, "num_seeds", False),
        ("progan", {}, "ema.half_life.over", True),
        ("progan", {}, "batch_size", False),
        ("progan", {}, "growth.learning_rates", True),
        ("ada", {}, "augment.controller.target", True),
        ("ada", {}, "augment.controller.p", False),
    ],
)
def test_which_fields_may_change_is_a_rule(name, changes, field, may):
    config = shrink(shipped(name))
    config.update_from_flattened_dict(changes)
    assert (f"config.{field}" in schema.load(config).config.nameable) == may


def test_a_batch_size_by_which_a_schedule_counts_images_stays():
    fields = shrink(shipped("wgan_gp")).to_dict()
    fields["penalty"]["weight"] = schedule(start=10.0, end=1.0, over=100)
    assert "config.batch_size" not in schema.load(fields).config.nameable


def test_a_change_counts_from_the_step_that_could_be_restored(config, folder):
    config.batch_size = 16
    claim(folder, config, allow_change=("batch_size",))
    assert workdir.settle(folder, 4).changes[0].step == 4
    assert workdir.settle(folder, 3).changes == (
        Change(step=3, field="batch_size", before=8, after=16),
    )
    assert workdir.read_history(folder).changes[0].step == 3
    config.batch_size = 8
    claim(folder, config, allow_change=("batch_size",), from_step=2)
    assert workdir.read_history(folder).changes == (), "8 from the first step on"


def test_a_strange_history_is_refused_in_one_line(config, folder):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    for strange in (7, {"changes": [{"step": -1}]}, {"returns": 3}, {"x": 1}):
        path.write_text(json.dumps(content | {history.KEY: strange}))
        with pytest.raises(
            ConfigError, match=r"config.json: history.*; restore the file$"
        ) as caught:
            claim(folder, config)
        assert "\n" not in str(caught.value)
    changes = [{"step": 1, "field": "seed.deep.down", "before": 1, "after": 2}]
    path.write_text(json.dumps(content | {history.KEY: {"changes": changes}}))
    assert len(learning_curves.stretches(folder)) == 2


def test_epochs_and_images_count_as_they_were_trained(config, folder):
    config.batch_size = 16
    claim(folder, config, allow_change=("batch_size",), from_step=3)
    stretches = learning_curves.stretches(folder)
    assert [(start, algorithm.phases[0].batch_size) for start, algorithm in stretches] == [
        (0, 8),
        (3, 16),
    ]
    assert [learning_curves.images_seen(stretches, step) for step in range(5)] == [0, 8, 16, 24, 40]
    old, new = (Epochs.of(algorithm, 80) for _, algorithm in stretches)
    epochs = Epochs(new.images, new.real_batches, new.phases, ((3, old),))
    np.testing.assert_allclose([epochs.at(step) for step in range(5)], [0, 0.1, 0.2, 0.3, 0.5])
    np.testing.assert_allclose(epochs.passes(4), 0.5)


def test_an_optimiser_that_keeps_its_rate_takes_that_of_the_config():
    """As gradient descent does by optax.inject_hyperparams."""

    def players(rate):
        config = tiny_dcgan()
        with config.unlocked():
            config.g_optimiser = {"name": "sgd", "learning_rate": rate, "momentum_updates": 2}
            config.d_optimiser = {"name": "sgd", "learning_rate": rate, "momentum": 0.5}
        algorithm = build(config)
        params = {"kernel": np.ones((2, 3), np.float32)}
        g, d = (Player(params, tx.init(params), {}) for tx in (algorithm.g_tx, algorithm.d_tx))
        return algorithm, GanState(jnp.int32(2), g, d, (), ())

    algorithm, wanted = players(0.25)
    _, state = players(0.5)
    found = continuing.with_rates(state, algorithm)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.d.opt_state.hyperparams["learning_rate"] == 0.25


@pytest.mark.parametrize(
    "optimiser",
    [{"name": "adam", "b2": 0.9}, {"name": "sgd", "momentum": 0.5, "momentum_updates": 2}],
    ids=lambda optimiser: optimiser["name"],
)
def test_a_rate_becomes_a_schedule_of_the_reals_seen_and_a_number_again(tmp_path, optimiser):
    falling = schedule(start=0.4, end=0.1, over=64)
    params, key, step = {"kernel": jnp.ones((2, 3))}, jax.random.key(0), 3
    gradients = jax.tree.map(jnp.ones_like, params)

    def algorithm_of(rate):
        config = tiny_dcgan()
        config.batch_size, config.n_critic, config.weight_clip = 8, 2, 9.0
        config.discriminator.batch_norm = "none"
        config.g_optimiser = config.d_optimiser = {**optimiser, "learning_rate": rate}
        return build(config)

    def init(algorithm):
        def state(key):
            del key
            g, d = (Player(params, tx.init(params), {}) for tx in (algorithm.g_tx, algorithm.d_tx))
            return GanState(jnp.int32(0), g, d, Ema(params, {}), ())

        return state

    def gone_on(algorithm):
        with checkpoint.open_checkpoints(tmp_path) as checkpoints:
            state = checkpoint.restore_or_init(checkpoints, init(algorithm), key, sharding)
        return continuing.with_rates(state, algorithm)

    def updates(algorithm, state):
        for tx, player in ((algorithm.g_tx, state.g), (algorithm.d_tx, state.d)):
            yield tx.update(gradients, player.opt_state, params)[0]["kernel"]

    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    constant, scheduled = algorithm_of(0.2), algorithm_of(falling)
    first = init(constant)(key)
    for _ in range(2):  # Moments that are not 0.
        for name, tx in (("g", constant.g_tx), ("d", constant.d_tx)):
            player = getattr(first, name)
            opt_state = tx.update(gradients, player.opt_state, params)[1]
            first = first.replace(**{name: player.replace(opt_state=opt_state)})
    first = first.replace(step=jnp.int32(step))
    with checkpoint.open_checkpoints(tmp_path, keep=9) as checkpoints:
        checkpoint.save(checkpoints, step, first, {}, {})

    found = gone_on(scheduled)
    assert jax.tree.structure(found) == jax.tree.structure(init(scheduled)(key))
    now = float(Schedule(**falling).at(step * 8 * 2))
    of_number = algorithm_of(now)
    for one, other in zip(
        updates(scheduled, found),
        updates(of_number, continuing.with_rates(first, of_number)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)

    with checkpoint.open_checkpoints(tmp_path, keep=9) as checkpoints:
        checkpoint.save(checkpoints, step + 1, found.replace(step=jnp.int32(step + 1)), {}, {})
    again = gone_on(constant).replace(step=first.step)
    # The numbers that a schedule gives anew before each update are those of the start.
    wanted = continuing.with_rates(first, constant)
    jax.tree.map(np.testing.assert_array_equal, again, wanted)
