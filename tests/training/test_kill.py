"""Real processes, really killed: what resumes equals what was never interrupted, bit for bit."""

import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import jax
import numpy as np
import pytest
from conftest import ROOT
from processes import launch, wait_for_step
from small import shipped

from experiments.faults.runs import FIELDS, GROWING, PLAIN, STEPS
from ganjax.engine import step as steps
from ganjax.parallel.sharding import make_layout
from ganjax.runtime.signals import NUMBERS
from ganjax.training import checkpoint, setup, workdir
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics


def fresh(folder):
    """Starts a run in an interpreter of its own, as `launch` does not, so it imports first.

    Its process inherits no ignored signals: as with nohup, a shell script or CI the tests' own
    process may ignore some.
    """
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "ganjax.main", f"--workdir={folder}", *PLAIN],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def finish(folder, flags=PLAIN):
    process = launch(folder, flags)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert f"finished at step {STEPS}" in output
    return output


def kill(process):
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def kill_at_step(folder, step, flags=PLAIN):
    process = launch(folder, flags)
    wait_for_step(process, step)
    kill(process)


def kill_while_saving(folder):
    """Kills between the making of a second checkpoint's temporary folder and its renaming."""
    process = launch(folder, PLAIN)
    saving = folder / "checkpoints"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (saving / "7").exists() and any(saving.glob("14.*orbax-checkpoint-tmp*")):
            break
        time.sleep(0.001)
    kill(process)
    return any(saving.glob("*orbax-checkpoint-tmp*"))


def final(folder):
    """The last checkpoint's arrays."""
    config, module = workdir.read(folder)
    layout = make_layout(jax.devices()[:1])
    with checkpoint.open_checkpoints(folder) as checkpoints:
        assert checkpoint.latest_step(checkpoints) == STEPS
        state = checkpoint.restore_or_init(
            checkpoints,
            partial(steps.init_state, module.build(config)),
            jax.random.key(0),
            layout.replicated,
        )
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def lines(folder):
    """The run's metrics, without how fast it was."""
    rows = read_metrics(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("kill") / "whole"
    finish(folder)
    return folder


def assert_same(one, other):
    assert all(np.array_equal(a, b) for a, b in zip(final(one), final(other), strict=True))
    assert lines(one) == lines(other)


@pytest.mark.slow
def test_killed_at_several_steps(whole, tmp_path):
    parts = tmp_path / "parts"
    for step in (3, 25):  # 3 is before the first checkpoint.
        kill_at_step(parts, step)
    finish(parts)
    assert_same(whole, parts)
    assert "is finished at step 40" in launch(parts, PLAIN).communicate(timeout=120)[0]


@pytest.mark.slow
def test_a_growing_run_killed_within_a_fade(tmp_path):
    parts = tmp_path / "parts"
    finish(tmp_path / "whole", GROWING)
    for _ in range(5):
        kill_at_step(parts, 11, GROWING)
        if (parts / "checkpoints" / "7").exists():
            break
    else:
        pytest.fail("no checkpoint of step 7 was whole at step 11")
    assert "steps 7 to 40" in finish(parts, GROWING)
    assert_same(tmp_path / "whole", parts)


@pytest.mark.usefixtures("as_in_commands")
def test_killed_while_a_checkpoint_is_written(tmp_path, monkeypatch, capsys):
    """What goes on and what was never interrupted are trained here, which takes less time."""
    monkeypatch.setattr(setup, "make_layout", partial(make_layout, jax.devices()[:1]))
    config = shipped("wgan_gp")
    config.update_from_flattened_dict(FIELDS)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for _ in range(5):
        if kill_while_saving(parts):
            break
        shutil.rmtree(parts)
    else:
        pytest.fail("no kill fell into the writing of a checkpoint")
    train(config, parts)
    said = capsys.readouterr().out
    assert "steps 7 to 40" in said, "the half-written checkpoint was taken for a whole one"
    assert not any((parts / "checkpoints").glob("*tmp*"))
    train(config, whole)
    assert_same(whole, parts)


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.0, 0.05])
def test_a_second_signal_quits_at_once(tmp_path, gap):
    process = launch(tmp_path / "run", PLAIN)
    wait_for_step(process, 9)
    process.send_signal(signal.SIGINT)
    time.sleep(gap)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in output
    assert "saving after this step" in output
    assert "had not begun" not in output


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.3, 1.5])
def test_a_signal_during_the_start(tmp_path, delay):
    process = fresh(tmp_path)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode in (128 + signal.SIGINT, -signal.SIGINT)
    assert "finished" not in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "ignored"),
    [(signal.SIGTERM, False), (signal.SIGINT, True)],
)
def test_a_signal_saves_and_leaves(whole, tmp_path, number, ignored):
    process = launch(tmp_path / "run", PLAIN, [number] if ignored else [])
    wait_for_step(process, 9)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    step = int(re.search(rf"stopped by {number.name} at step (\d+) of 40: saved", output)[1])
    assert "Traceback" not in output
    assert (tmp_path / "run" / "checkpoints" / str(step)).is_dir()
    if not ignored:
        assert f"steps {step} to 40" in finish(tmp_path / "run")
        assert_same(whole, tmp_path / "run")
