"""Real processes, joined by jax.distributed: one run of them all, killed and taken up again."""

import ast
import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import jax
import numpy as np
import pytest
from conftest import ROOT, shipped

from ganjax.data import pipeline
from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.engine import step as steps
from ganjax.parallel.sharding import make_layout
from ganjax.training import checkpoint, workdir
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics

STEPS = 24
# The smallest WGAN-GP, with all that a run does beside its steps.
TINY = [
    "--config=configs/wgan_gp.py",
    "--config.checkpoint_every=5",
    "--config.log_every=1",
    "--config.sample_every=12",
    "--config.eval_every=12",
    "--config.evaluation.log_likelihood=20",
    "--config.image_size=16",
    "--config.data.fit=resize",
    "--config.data.num_examples=200",
    "--config.batch_size=8",
    "--config.n_critic=1",
    "--config.generator.widths=(4,4)",
    "--config.discriminator.widths=(4,4)",
]


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("localhost", 0))
        return each.getsockname()[1]


@pytest.mark.slow
def test_the_union_of_two_processes_is_one_epoch(tmp_path):
    port = free_port()
    data = DataFields(source="embedded:mnist5k", channels=1)
    outs = [tmp_path / f"{i}.npz" for i in range(2)]
    command = [sys.executable, "tests/readers.py", str(port)]
    children = [
        subprocess.Popen(
            [*command, str(i), data.model_dump_json(), str(out)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for i, out in enumerate(outs)
    ]
    try:
        assert [child.wait(timeout=120) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    parts = [np.load(out) for out in outs]
    size = 4_500
    assert [len(part["read"]) for part in parts] == [size // 2] * 2
    every = np.concatenate([part["read"] for part in parts])
    assert sorted(every.tolist()) == list(range(size))
    # And what they read are the two halves of every batch, in the order of one process.
    order = pipeline.order(3, 0, size, 0, size).reshape(-1, 2, 30)
    source = open_source(data, "train", image_size=28)
    for i, part in enumerate(parts):
        expected = source.fetch(order[:, i].reshape(-1))["image"]
        np.testing.assert_array_equal(part["images"], expected)


def start(folder, count, flags=(), own=lambda i: (), port=None, numbers=None):
    """`count` processes of one run, as a user starts them, with a device each.

    Args:
      own: the flags that a process has besides, by its number.
      port: of their coordinator; by default a free one.
      numbers: which of them; by default all.
    """
    port = port or free_port()
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    return [
        subprocess.Popen(
            [
                *[sys.executable, "-m", "ganjax.main", f"--workdir={folder}", *TINY],
                *[f"--config.total_steps={STEPS}", *flags, *own(i)],
                *[f"--coordinator=localhost:{port}", f"--num_processes={count}"],
                f"--process_id={i}",
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in (range(count) if numbers is None else numbers)
    ]


def wait_for_step(process, step):
    """Reads what a process says until it has written a step's metrics."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        found = re.match(r"step (\d+)/", line)
        if found and int(found[1]) >= step:
            return
    pytest.fail(f"ended before step {step}:\n{''.join(lines)}")


def ends(processes, timeout=120):
    """Their outputs and exit codes."""
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return outputs, [process.returncode for process in processes]


def alone(folder, devices, flags):
    """The same run in this process, over as many devices."""
    raw = shipped("wgan_gp")
    for flag in (*TINY[1:], f"--config.total_steps={STEPS}", *flags):
        name, _, value = flag.removeprefix("--config.").partition("=")
        value = value if name == "data.fit" else ast.literal_eval(value)
        raw.update_from_flattened_dict({name: value})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ganjax.training.setup.make_layout", partial(make_layout, jax.devices()[:devices])
        )
        train(raw, folder)


def final(folder):
    """The last checkpoint's arrays, on one device."""
    _, module = loaded = workdir.read(folder)
    init = partial(steps.init_state, module.build(loaded.config))
    with checkpoint.open_checkpoints(folder) as checkpoints:
        sharding = make_layout(jax.devices()[:1]).replicated
        state = checkpoint.restore_or_init(checkpoints, init, jax.random.key(0), sharding)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


@pytest.mark.slow
def test_folders_that_are_not_one_are_refused(tmp_path):
    processes = start(tmp_path / "a", 2, own=lambda i: [f"--workdir={tmp_path / 'ab'[i]}"])
    outputs, codes = ends(processes)
    assert codes == [2, 2], outputs
    line = r"--workdir=\S+b: what process 0 has made there, process 1 does not find; name a folder "
    assert all(re.search(line, output.splitlines()[-1]) for output in outputs), outputs
    assert not (tmp_path / "a" / "checkpoints").exists()
    assert not list(tmp_path.glob("*/.reached_*"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_processes_one_of_them_killed_end_as_one(count, tmp_path):
    together, single = tmp_path / "together", tmp_path / "single"
    processes = start(together, count)
    wait_for_step(processes[0], 5)
    deadline = time.monotonic() + 30 * count
    while not (together / "checkpoints" / "5").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    processes[1].kill()
    outputs, codes = ends(processes, timeout=45 * count)
    others = [code for i, code in enumerate(codes) if i != 1]
    assert not {0, None} & set(others), "the others end too, and not after a long wait"
    assert codes[1] == -signal.SIGKILL
    # All are started again, go on, and end as a run of one process.
    outputs, codes = ends(start(together, count), timeout=60 * count)
    assert codes == [0] * count, outputs
    assert 5 <= int(re.search(rf"steps (\d+) to {STEPS}", outputs[0])[1]) < STEPS
    assert f"finished at step {STEPS}" in outputs[0]
    assert not any("step" in output for output in outputs[1:]), "process 0 alone writes"
    alone(single, count, [])

    def rows(folder):
        every = read_metrics(folder / "metrics.jsonl")
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in every]

    if count == 2:
        assert all(
            np.array_equal(a, b) for a, b in zip(final(together), final(single), strict=True)
        )
        assert rows(together) == rows(single)
    else:  # Four parts are added up in another order between processes than within one.
        for a, b in zip(final(together), final(single), strict=True):
            np.testing.assert_allclose(a, b, 1e-2, 5e-4)
        assert [row.keys() for row in rows(together)] == [row.keys() for row in rows(single)]
    pictures = [sorted(path.name for path in (f / "samples").iterdir()) for f in (together, single)]
    assert pictures[0] == pictures[1]


@pytest.mark.slow
def test_four_processes_stopped_at_one_step_and_taken_up_by_one(tmp_path):
    """By the launcher of a process for each GPU, fully sharded; then the rest on one device."""
    together, single = tmp_path / "together", tmp_path / "single"
    few = ["--config.total_steps=9", "--config.checkpoint_every=50", "--config.eval_every=9"]
    launcher = subprocess.Popen(
        [
            *["experiments/launch/per_gpu.sh", "4", f"--workdir={together}", *TINY, *few],
            *["--config.sample_every=9", "--config.sharding=fully_sharded"],
        ],
        cwd=ROOT,
        env=os.environ
        | {"PYTHON": sys.executable, "PORT": str(free_port()), "JAX_NUM_CPU_DEVICES": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for_step(launcher, 2)
    launcher.send_signal(signal.SIGTERM)  # It tells one of the four.
    output, _ = launcher.communicate(timeout=200)
    assert launcher.returncode == 128 + signal.SIGTERM, output
    (step,) = re.findall(r"stopped by SIGTERM at step (\d+) of 9: saved", output)
    assert [path.name for path in (together / "checkpoints").iterdir()] == [step]
    for folder in (together, single):
        alone(folder, 1, few)
    for a, b in zip(final(together), final(single), strict=True):
        # Adam's first steps are of full size (1e-4), whatever their gradient's rounding.
        np.testing.assert_allclose(a, b, 1e-2, 5e-4)


@pytest.mark.slow
def test_who_is_not_joined_ends_with_one_line(tmp_path):
    """Process 1 of 2, whose process 0 never comes, is no run of its own."""
    command = [sys.executable, "-m", "ganjax.main", f"--workdir={tmp_path / 'run'}", TINY[0]]
    flags = [f"--coordinator=localhost:{free_port()}", "--num_processes=2", "--join_timeout=1"]
    result = subprocess.run(
        [*command, *flags, "--process_id=1"], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "process 1 of 2 was not joined by all others within --join_timeout=1" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_is_left_alone_by_others_at_its_port(tmp_path):
    """By the same command once more, and by a process that has gone astray."""
    port = free_port()
    first = start(tmp_path / "first", 2, port=port)
    wait_for_step(first[0], 1)
    outputs, codes = ends(start(tmp_path / "second", 2, ["--join_timeout=60"], port=port))
    assert codes == [2, 2], outputs
    lines = [output.splitlines()[-1] for output in outputs]
    assert f"port {port} is not free on this host" in lines[0]
    assert f"no process 0 that waits for others is at port {port}" in lines[1]
    assert not (tmp_path / "second").exists()
    outputs, codes = ends(first)
    assert codes == [0, 0], outputs


@pytest.mark.slow
def test_two_processes_of_one_number_are_refused(tmp_path):
    outputs, codes = ends(start(tmp_path / "run", 3, numbers=[0, 1, 1]))
    assert codes == [2, 2, 2], outputs
    line = "two processes have --process_id=1; give each its own"
    assert all(line in output.splitlines()[-1] for output in outputs), outputs
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_processes_of_different_configs_are_refused(tmp_path):
    """Not averaged: each would begin from another initialisation."""
    outputs, codes = ends(start(tmp_path / "run", 2, own=lambda i: [f"--config.seed={i}"]))
    assert codes == [2, 2], outputs
    for output in outputs:
        assert "ganjax: process 1 has another config than process 0; start all with" in output
    assert not (tmp_path / "run").exists()
