"""Runs from the shipped configs: trained, written, resumed, sampled, refused."""

import contextlib
import io
import json
import multiprocessing
import os
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import jax
import numpy as np
import pytest
import scipy
from initial import initial
from ml_collections import ConfigDict
from PIL import Image
from small import on_one_device, shipped, tiny_config, write_images

import ganjax
from ganjax.analysis import progress
from ganjax.analysis.trained import Trained
from ganjax.config import ConfigError
from ganjax.data import sources
from ganjax.engine import step as steps
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.engine.state import GanState
from ganjax.errors import DataError
from ganjax.keys import fold
from ganjax.metrics import parzen
from ganjax.pictures import images
from ganjax.training import actions, ahead, attempts, schema, workdir
from ganjax.training.display import Display
from ganjax.training.loop import Interrupted, train
from ganjax.training.report import NonFiniteError
from ganjax.training.writer import read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


def rows_of(folder):
    """The lines of a run's metrics, without how fast it was."""
    rows = read_metrics(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


class Finished(NamedTuple):
    """A run that has ended: its folder, its config, its last state and what it said."""

    folder: Path
    config: ConfigDict
    state: GanState
    said: str

    def copy(self, folder):
        """Returns a copy of the folder, for tests that change it."""
        return shutil.copytree(self.folder, folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, native_convolutions):
    """A run of the tiny config to step 4, with a log-likelihood of 30 samples."""
    folder, config, said = tmp_path_factory.mktemp("finished"), tiny_config(), io.StringIO()
    config.evaluation.log_likelihood = 30
    with contextlib.redirect_stdout(said):
        state = train(config.copy_and_resolve_references(), folder)
    return Finished(folder, config, jax.device_get(state), said.getvalue())


@pytest.fixture(scope="module")
def taken_up(finished, tmp_path_factory):
    """The folder of that run, damaged as a kill may damage it, and gone on with to step 6."""
    folder = finished.copy(tmp_path_factory.mktemp("taken_up") / "run")
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 5, "d_loss": 7.0}\n{"step": 6, "d_lo')
    (folder / "samples" / "step_00000000.png").unlink()
    config = finished.config.copy_and_resolve_references()
    config.total_steps, config.sample_grid = 6, (2, 3)
    config.checkpoint_every, config.keep_checkpoints = 1, 2
    train(config, folder)
    return folder


@pytest.fixture
def known(finished):
    """The config of that run, which a test may change."""
    return finished.config.copy_and_resolve_references()


def test_what_a_run_leaves_behind(finished):
    tmp_path, said = finished.folder, finished.said
    rows = read_metrics(tmp_path / "metrics.jsonl")
    train_rows = [row for row in rows if "d_loss" in row]
    assert [row["step"] for row in train_rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows if "val_d_loss" in row] == [2, 4]
    assert [row["step"] for row in train_rows if row.get("images_per_second", 0) > 0] == [3, 4]
    pictures = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert pictures == [f"step_0000000{step}.png" for step in ("0", "2", "2_raw", "4", "4_raw")]
    # The generator's own samples are beside those of its average, from the same latents.
    average, raw = (progress.evolution(tmp_path, 1, ema=ema).arrays["image"] for ema in (1, 0))
    assert not np.array_equal(average, raw)
    run = Trained(tmp_path, "last", ema=False)
    made = images.grid(run.generate(*run.inputs(64)), 8)
    np.testing.assert_allclose(raw[0, ::4, ::4].astype(int), made.astype(int), atol=1)
    with Image.open(tmp_path / "samples" / pictures[1]) as picture:
        assert picture.size == (4 * (8 * 16 + 7 * 2),) * 2, "enlarged to at least 512 pixels"
        assert picture.mode == "L"
    assert json.loads((tmp_path / "config.json").read_text())["n_critic"] == 2
    assert any((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    steps = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    assert steps == [2, 4]
    assert re.search(r"^ConvTranspose_0 +ConvTranspose +\(N, 4, 4, 4\)", said, re.MULTILINE)
    assert re.search(r"^discriminator: [\d,]+ parameters, [\d,]+ trainable and 0 not$", said, re.M)
    assert "first step after" in said
    assert re.search(r"step 4/4 .*d_loss", said)
    assert "finished at step 4" in said
    begin, end = attempts.read(tmp_path)
    assert begin["devices"] == "8 x cpu"
    assert end["outcome"] == "finished"
    logged = [line[20:] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert logged[0] == f"$ {begin['command']}"
    assert logged[-len(said.splitlines()) :] == said.splitlines()


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_grids_of_the_generator_itself_do_not_change_a_run(tiny, tmp_path, monkeypatch):
    with_grids = train(tiny, tmp_path / "with")
    monkeypatch.setattr(actions, "has_average", lambda algorithm, phase: False)
    assert equal(with_grids, train(tiny, tmp_path / "without"))
    assert rows_of(tmp_path / "with") == rows_of(tmp_path / "without")
    assert not list((tmp_path / "without" / "samples").glob("*_raw.png"))


def test_a_run_without_an_average_has_one_grid_a_step():
    algorithm = Algorithm(*[None] * 9, phases=(Phase(0, 10, 8, 16),))  # pyright: ignore
    assert not actions.has_average(algorithm, algorithm.phases[0])
    averaged = algorithm._replace(ema_decay=lambda step: step / 100)
    assert actions.has_average(averaged, algorithm.phases[0])


def test_a_picture_of_the_grid_that_is_asked_for(taken_up):
    assert shipped("ada").sample_grid == (3, 6)
    with Image.open(taken_up / "samples" / "step_00000006.png") as picture:
        assert picture.size == (10 * (3 * 16 + 2 * 2), 10 * (2 * 16 + 2))


def test_the_first_picture_is_of_the_generator_before_any_update(finished, taken_up):
    path = finished.folder / "samples" / "step_00000000.png"
    run = Trained(finished.folder)
    state = initial(partial(steps.init_state, run.algorithm), jax.random.key(finished.config.seed))
    sampler = steps.make_sampler(run.algorithm)
    made = sampler(state.ema, *run.inputs(64), phase=run.phase)
    with Image.open(path) as picture:
        width, height = picture.size
        shown = np.asarray(picture)[:: height // 142, :: width // 142, None].astype(int)
    np.testing.assert_allclose(shown, images.grid(np.asarray(made), 8), atol=1)
    assert abs(shown[:16, :16].mean() - 127.5) < 20, "grey, as an untrained tanh is"
    assert path.read_bytes() != path.with_name("step_00000002.png").read_bytes()
    # A run that goes on does not draw its beginning again.
    names = [each.name for each in (taken_up / "samples").iterdir()]
    assert "step_00000006.png" in names
    assert "step_00000000.png" not in names


def test_the_first_steps_are_told_before_a_picture_is_drawn(tiny, tmp_path):
    """Whose program takes long to compile. A run as short as its first dispatch has it too."""
    tiny.total_steps, seen = 1, []

    class Watching(Display):
        def say(self, text):
            seen.append(text[:10])

        def images(self, step, images):
            seen.append(step)

    train(tiny, tmp_path / "run", display=Watching())
    assert seen[seen.index("first step") :] == ["first step", 0, 1, 1, "finished a"]


def test_only_the_latest_checkpoints_are_kept(taken_up):
    steps = sorted(int(p.name) for p in (taken_up / "checkpoints").iterdir())
    assert steps == [5, 6]


def test_a_resumed_run_in_epochs_equals_an_uninterrupted_one_in_steps(tiny, tmp_path, capsys):
    """Of 40 images a step reads two batches of 8, so that an epoch has 2 steps."""
    tiny.data.num_examples = 40
    whole = train(tiny, tmp_path / "whole")
    assert "steps 0 to 4 (2 epochs, 1.6 passes of 40 images)" in capsys.readouterr().out
    tiny.update({"total_steps": 0, "total_epochs": 1.0, "log_every_epochs": 0.5})
    for name in ("sample", "eval", "checkpoint"):
        tiny.update({f"{name}_every": 99, f"{name}_every_epochs": 1.0})
    train(tiny, tmp_path / "parts")
    tiny.total_epochs = 2.0
    assert equal(whole, train(tiny, tmp_path / "parts"))
    # The end of the first part is evaluated and sampled as any end is; here it is due anyway.
    rows = rows_of(tmp_path / "parts")
    assert rows == rows_of(tmp_path / "whole")
    assert {row["step"]: row["epoch"] for row in rows} == {1: 0.5, 2: 1.0, 3: 1.5, 4: 2.0}
    for kind in ("samples", "checkpoints"):
        in_steps, in_epochs = (
            sorted(path.name for path in (tmp_path / run / kind).iterdir())
            for run in ("whole", "parts")
        )
        assert in_steps == in_epochs
    # Later tools need not count images again.
    assert workdir.read(tmp_path / "parts").config.total_steps == 4


@pytest.mark.slow
def test_an_algorithm_of_ones_own_in_two_phases(tiny, tmp_path):
    """Resumed between the phases or within one, it ends the same, and its lines are the same.

    A line of metrics has means of the steps since the line before, some of which may have been
    trained before the run was resumed.
    """
    tiny.algorithm = "tests.two_phases"
    tiny.checkpoint_every, tiny.keep_checkpoints, tiny.log_every = 1, 9, 3
    whole = train(tiny, tmp_path / "whole")
    lines = rows_of(tmp_path / "whole")
    assert [row["step"] for row in lines if "d_loss" in row] == [3, 4]
    for step in (2, 3):
        folder = shutil.copytree(tmp_path / "whole", tmp_path / f"from_{step}")
        for later in range(step + 1, 5):
            shutil.rmtree(folder / "checkpoints" / str(later))
        assert equal(whole, train(tiny, folder))
        assert rows_of(folder) == lines


def test_a_finished_run_says_how_to_go_on(finished, known, tmp_path, capsys):
    again = train(known, finished.copy(tmp_path / "run"))
    assert "is finished at step 4. To train on: --config.total_steps=8" in capsys.readouterr().out
    assert equal(finished.state, again)


def test_a_run_stops_past_its_best_and_that_is_sampled(tiny, tmp_path, capsys, monkeypatch):
    """Figures 3, 5, 5, 4: with a patience of 2 the run ends at step 4, its best is step 2."""
    figures = iter([3.0, 5.0, 5.0, 4.0])
    monkeypatch.setattr(parzen, "best_log_likelihood", lambda samples, reals: (next(figures), 0.2))
    tiny.total_steps, tiny.eval_every, tiny.checkpoint_every = 9, 1, 100
    tiny.keep_checkpoints = 1
    tiny.evaluation.update({"log_likelihood": 20, "best": "val_log_likelihood", "patience": 2})
    assert int(train(tiny, tmp_path).step) == 4
    said = capsys.readouterr().out
    assert "is finished at step 4: val_log_likelihood was best at step 2" in said
    rows = read_metrics(tmp_path / "metrics.jsonl")
    values = {row["step"]: row["val_log_likelihood"] for row in rows if "val_d_loss" in row}
    assert values == {1: 3.0, 2: 5.0, 3: 5.0, 4: 4.0}
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [2, 4]
    # Called again it says so, and computes nothing: there are no figures left.
    compiled = []
    monkeypatch.setattr(ahead, "_lowered", lambda *args: compiled.append(args))
    assert int(train(tiny, tmp_path).step) == 4
    assert "was best at step 2" in capsys.readouterr().out
    assert Trained(tmp_path).step == 2
    assert not compiled


def test_log_likelihood_of_samples(finished):
    """What is reported is the Parzen window over the samples that the run's end makes."""
    _, row = (r for r in read_metrics(finished.folder / "metrics.jsonl") if "val_d_loss" in r)
    run = Trained(finished.folder)
    key = fold(jax.random.key(finished.config.seed), "evaluation")
    samples = run.generate(*jax.device_get(steps.sample_inputs(run.algorithm, key, 30)))
    held = sources.open_source(run.config.data, "validation", image_size=16)
    reals = held.fetch(np.arange(held.size))["image"]
    x, y = (a.reshape(len(a), -1) / 255.0 for a in (samples, reals))
    width = row["val_parzen_width"]
    exponents = -0.5 * np.square(y[:, None] - x[None]).sum(-1) / width**2
    each = (
        scipy.special.logsumexp(exponents, axis=1)
        - np.log(30)
        - 256 * np.log(width * np.sqrt(2 * np.pi))
    )
    np.testing.assert_allclose(row["val_log_likelihood"], each.mean(), rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"best": "val_log_likelihood"}, "config.evaluation.log_likelihood is 0"),
        ({"patience": 3}, "config.evaluation.patience=3: config.evaluation.best is 'none'"),
    ],
)
def test_a_best_that_is_not_measured_is_refused(tiny, tmp_path, fields, message):
    tiny.evaluation.update(fields)
    with pytest.raises(ConfigError, match=message):
        train(tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_metrics_after_the_checkpoint_are_rewritten(taken_up):
    """A kill leaves lines of steps that will be run again, and perhaps half a line."""
    rows = read_metrics(taken_up / "metrics.jsonl")
    assert [row["step"] for row in rows if "d_loss" in row] == [1, 2, 3, 4, 5, 6]
    assert all(row.get("d_loss") != 7.0 for row in rows)


def test_another_config_does_not_continue_a_run(finished, known):
    known.log_every, known.total_steps = 2, 6
    known.penalty.weight, known.seed = 5.0, 1
    with pytest.raises(
        ConfigError, match=r"another config.seed \(0, not 1\), config.penalty.weight"
    ):
        train(known, finished.folder)


def test_other_images_do_not_continue_a_run(tiny, tmp_path):
    root = write_images(tmp_path / "images", 20, size=16)
    tiny.total_steps, tiny.data.source = 1, f"folder:{root}"
    train(tiny, tmp_path / "run")
    os.replace(root / "000.png", root / "zzz.png")
    tiny.total_steps = 2
    changed = r"folder:.*images has changed since; restore it, .* remove .*data.json"
    with pytest.raises(ConfigError, match=changed) as caught:
        train(tiny, tmp_path / "run")
    assert "\n" not in str(caught.value)
    # As told; and as are runs of before there was such a file.
    (tmp_path / "run" / "data.json").unlink()
    assert int(train(tiny, tmp_path / "run").step) == 2
    os.replace(root / "zzz.png", root / "000.png")
    tiny.total_steps = 3
    with pytest.raises(ConfigError, match=changed):
        train(tiny, tmp_path / "run")


def test_a_linear_decay_is_not_stretched(tiny, tmp_path):
    """More steps would be another schedule from the first step on."""
    tiny.total_steps, tiny.d_optimiser.decay = 1, "linear"
    workdir.claim(tmp_path, schema.load(tiny).config)
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    tiny.total_steps = 2
    with pytest.raises(ConfigError, match=r"another config.total_steps"):
        train(tiny, tmp_path)


def test_divergence_stops_before_it_is_saved(tiny, tmp_path):
    tiny.total_steps, tiny.checkpoint_every = 50, 1
    tiny.n_critic = 1
    tiny.g_optimiser.learning_rate = tiny.d_optimiser.learning_rate = 1e4
    with pytest.raises(NonFiniteError) as caught:
        train(tiny, tmp_path)
    message = str(caught.value)
    step, saved = (int(n) for n in re.findall(r"step (\d+)", message))
    assert saved == step - 1
    assert "inf" in message or "finite" in message
    assert "\n" not in message
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())[-1] == saved


def test_interrupted_run_saves_and_goes_on(finished, tiny, tmp_path, capsys, monkeypatch):
    from ganjax.runtime import signals

    tiny.checkpoint_every = 100
    real = signals.Signals.__enter__

    def at_once(self):
        real(self)
        self._receive(signals.signal.SIGTERM, None)
        return self

    with monkeypatch.context() as patch:
        patch.setattr(signals.Signals, "__enter__", at_once)
        with pytest.raises(Interrupted) as caught:
            train(tiny, tmp_path / "parts")
    assert caught.value.code == 128 + 15
    assert "stopped by SIGTERM at step 1 of 4: saved" in capsys.readouterr().out
    assert equal(finished.state, train(tiny, tmp_path / "parts"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_critic": 0}, r"config.n_critic=0: should be greater than 0"),
        ({"n_critic": "three"}, r"config.n_critic='three': should be a valid integer"),
        ({"batch_size": 12}, r"config.batch_size=12: 8 devices cannot share it evenly; set 8 or"),
        ({"image_size": 50}, r"config.image_size=50: 2 widths .* halve it 2 times, to no whole"),
        ({"discriminator.batch_norm": "all"}, r"config.penalty.weight=30.0: .* ties the samples"),
        ({"order": "simultaneous"}, r"config.n_critic=2: config.order='simultaneous'"),
        ({"order": "both"}, r"config.order='both': should be 'alternating' or 'simultaneous'"),
        ({"penalty.wieght": 1.0}, r"config.penalty.wieght=1.0: no such field; did you mean weight"),
        (
            {"augment": {"policy": "none", "translation": 0.1}},
            r"config.augment.translation=0.1: no such field; with policy='none' there are only pol",
        ),
        ({"zebra": 1}, r"config.zebra=1: no such field; there are algorithm, seed"),
        ({"algorithm": "gna"}, r"config.algorithm='gna': there is no module"),
        ({"algorithm": None}, r"config.algorithm=None: name a file"),
        ({"g_optimiser.b1": 1.5}, r"config.g_optimiser.b1=1.5: should be less than 1"),
        ({"total_steps": 0}, r"config.total_steps=0: say how long .* by config.total_epochs"),
        ({"total_epochs": -1.0}, r"config.total_epochs=-1.0: should be greater than or equal"),
    ],
)
def test_bad_configs_are_refused_in_one_line(tiny, tmp_path, change, message):
    raw = tiny.to_dict()
    for path, value in change.items():
        *groups, name = path.split(".")
        target = raw
        for group in groups:
            target = target[group]
        target[name] = value
    with pytest.raises(ConfigError, match=message) as caught:
        train(raw, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists(), "refused runs leave nothing behind"


def test_a_missing_field_is_named(tiny, tmp_path):
    raw = tiny.to_dict()
    del raw["batch_size"]
    with pytest.raises(ConfigError, match=r"config.batch_size is missing"):
        train(raw, tmp_path)


def test_unprepared_data_is_refused_before_anything_is_made(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    tiny.data.source = "tfds:mnist"
    with pytest.raises(DataError, match=r"ganjax prepare --source=tfds:mnist"):
        train(tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_checkpoints_without_their_config_are_not_continued(finished, tiny, tmp_path):
    tmp_path = finished.copy(tmp_path / "run")
    for content in ('{"alg', "[1]", "5", "[" * 10**5):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ConfigError, match=r"config.json (is not JSON|holds no config)"):
            train(tiny, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"config.json is missing"):
        train(tiny, tmp_path)


def test_a_run_that_has_lost_its_checkpoints_does_not_begin_anew_in_silence(tiny, tmp_path):
    workdir.claim(tmp_path, schema.load(tiny).config)
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 3, "d_loss": 1.0}\n')
    config = schema.load(tiny).config
    with pytest.raises(ConfigError, match=r"this run, which has trained for 3 steps, are gone"):
        workdir.claim(tmp_path, config, "", 2)
    assert metrics.read_text()
    workdir.claim(tmp_path, config, "", 3)  # It was killed before it had saved any.
    metrics.unlink()
    workdir.claim(tmp_path, config, "", 2)


def test_a_run_without_its_data_json_says_that_its_images_are_not_compared(tiny, tmp_path, capsys):
    config = schema.load(tiny).config
    workdir.claim(tmp_path, config, "one")
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    workdir.claim(tmp_path, config, "one")
    assert capsys.readouterr().err == ""
    (tmp_path / "data.json").unlink()
    workdir.claim(tmp_path, config, "another")
    assert "data.json is missing: the run goes on with" in capsys.readouterr().err


def test_a_second_process_in_a_folder_is_refused_and_changes_nothing_there(tiny, tmp_path):
    # A run that has no checkpoint yet, so that no difference of configs is refused.
    workdir.claim(tmp_path, schema.load(tiny).config, "images")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    tiny.batch_size *= 2
    with (
        workdir.lock(tmp_path),
        pytest.raises(ConfigError, match="another process is training there"),
    ):
        train(tiny, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before


def test_a_folder_that_cannot_be_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    message = r"--workdir=.*file: no run can be kept there \(File exists\); name a folder that"
    with pytest.raises(ConfigError, match=message), workdir.lock(tmp_path / "file"):
        pass


def resident_after_saves(folder):
    """Trains a small run, and returns the MiB that its process holds after each save, by step."""
    tiny = tiny_config()
    tiny.total_steps, tiny.image_size, tiny.n_critic = 200, 8, 1
    tiny.generator.widths = tiny.discriminator.widths = (4,)
    tiny.log_every, tiny.sample_every, tiny.checkpoint_every, tiny.eval_every = 5, 10, 10, 10
    tiny.evaluation.metrics, tiny.evaluation.num_samples = ("swd",), 8
    tiny.evaluation.log_likelihood = 20
    resident, save = {}, actions.Checkpoint.__call__

    def saving(self, snapshot):
        save(self, snapshot)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident[snapshot.step] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    with mock.patch.object(actions.Checkpoint, "__call__", saving), on_one_device():
        train(tiny, folder)
    return resident


@pytest.mark.slow
def test_what_a_run_does_again_and_again_leaves_no_memory_behind(tmp_path):
    """In a process of its own, since others' memory comes and goes; docs/faults.md has 5,000."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh) as pool:
        resident = pool.submit(resident_after_saves, tmp_path).result()
    assert resident[200] < resident[80] + 8, resident


def test_damaged_metrics_lose_no_good_line(finished, tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = (finished.folder / path.name).read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\xff{\nnull\n7\n" + b"".join(lines[1:]))
    assert len(read_metrics(path)) == len(lines)


@pytest.mark.parametrize(
    ("names", "rows", "message"),
    [
        ([], [], "the run has no checkpoint yet, at step 0; one comes every 2 steps and at it"),
        ([], [{"step": 2}], "yet, at step 2; .* Until then: ganjax sample evolution --workdir="),
        (["4.orbax-checkpoint-tmp-1"], [{"step": 2}], "has no checkpoint yet, at step 2"),
        ([], [{"step": 3}], "of this run, which has trained for 3 steps, are gone; restore them"),
        (["4.damaged", "04", "step_2"], [], "name would be .*, but '04', '4.damaged', 'step_2': g"),
    ],
)
def test_why_there_is_no_checkpoint_is_told(tiny, tmp_path, names, rows, message):
    workdir.claim(tmp_path, schema.load(tiny).config)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in names:
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=message):
        ganjax.load(tmp_path)


def test_the_checkpoints_of_a_run_in_epochs_are_told_in_epochs(tiny, tmp_path):
    tiny.checkpoint_every_epochs = 2.5
    workdir.claim(tmp_path, schema.load(tiny).config)
    for epoch, message in ((2.5, "one comes every 2.5 epochs and at its end"), (2.6, "are gone")):
        (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 3, "epoch": epoch}))
        with pytest.raises(ConfigError, match=message):
            ganjax.load(tmp_path)


def test_sampling_needs_a_run_with_a_checkpoint(finished, tmp_path):
    # Of a folder, since not every command has it as --workdir.
    with pytest.raises(ConfigError, match=rf"^{tmp_path}: no run is there"):
        ganjax.load(tmp_path).sample(1)
    (tmp_path / "x" / "config.json").parent.mkdir()
    (tmp_path / "x" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=rf"name one, such as {tmp_path}/x$"):
        ganjax.load(tmp_path / "z")
    made = ganjax.load(finished.folder).sample(4)
    np.testing.assert_array_equal(ganjax.load(finished.folder).sample(4), made)
    assert not np.array_equal(ganjax.load(finished.folder).sample(4, seed=9), made)
