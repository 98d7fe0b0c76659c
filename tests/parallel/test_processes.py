"""Real processes, joined by jax.distributed: one run of them all, killed and taken up again."""

import ast
import os
import re
import signal
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest
from conftest import ROOT
from processes import STEPS, TINY, ends, free_port, start, wait_for_step
from small import shipped

from ganjax.config import take_kinds
from ganjax.data import pipeline
from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.engine import step as steps
from ganjax.parallel.sharding import make_layout
from ganjax.training import checkpoint, workdir
from ganjax.training.loop import train
from ganjax.training.start import AS_IT_IS, Start
from ganjax.training.writer import read_metrics

# A run alone is of this process, and equals those of several to the bit.
pytestmark = pytest.mark.usefixtures("as_in_commands")


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
    # They read the two halves of each batch, in the order of one process.
    order = pipeline.order(3, 0, size, 0, size).reshape(-1, 2, 30)
    source = open_source(data, "train", image_size=28)
    for i, part in enumerate(parts):
        expected = source.fetch(order[:, i].reshape(-1))["image"]
        np.testing.assert_array_equal(part["images"], expected)


def alone(folder, devices, flags, begin=AS_IT_IS):
    """Trains the same run in this process, over as many devices."""
    raw, fields = shipped("wgan_gp"), {}
    for flag in (*TINY[1:], f"--config.total_steps={STEPS}", *flags):
        name, _, value = flag.removeprefix("--config.").partition("=")
        fields[name] = value if name == "data.fit" else ast.literal_eval(value)
    take_kinds(raw, fields)
    raw.update_from_flattened_dict(fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ganjax.training.setup.make_layout", partial(make_layout, jax.devices()[:devices])
        )
        train(raw, folder, start=begin)


def final(folder):
    """The arrays of the last checkpoint, on one device."""
    _, module = loaded = workdir.read(folder)
    init = partial(steps.init_state, module.build(loaded.config))
    with checkpoint.open_checkpoints(folder) as checkpoints:
        sharding = make_layout(jax.devices()[:1]).replicated
        state = checkpoint.restore_or_init(checkpoints, init, jax.random.key(0), sharding)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


@pytest.mark.slow
def test_processes_with_different_folders_are_refused(tmp_path):
    processes = start(tmp_path / "a", 2, own=lambda i: [f"--workdir={tmp_path / 'ab'[i]}"])
    outputs, codes = ends(processes)
    assert codes == [2, 2], outputs
    line = r"--workdir=\S+b: what process 0 has made there, process 1 does not find; name a folder "
    assert all(re.search(line, output.splitlines()[-1]) for output in outputs), outputs
    assert not (tmp_path / "a" / "checkpoints").exists()
    assert not list(tmp_path.glob("*/.reached_*"))


@pytest.mark.slow
def test_a_run_of_two_processes_one_of_them_killed_ends_as_a_run_of_one(tmp_path):
    together, single, port = tmp_path / "together", tmp_path / "single", free_port()
    processes = start(together, 2, ["--config.total_steps=100000"], port=port)
    wait_for_step(processes[0], 1)
    # Those of the same command started once more come to the run's port, and leave it alone.
    outputs, codes = ends(start(tmp_path / "second", 2, ["--join_timeout=60"], port=port))
    assert codes == [2, 2], outputs
    lines = [output.splitlines()[-1] for output in outputs]
    assert f"port {port} is not free on this host" in lines[0]
    assert f"no process 0 that waits for others is at port {port}" in lines[1]
    assert not (tmp_path / "second").exists()
    wait_for_step(processes[0], 7)  # After the first checkpoint.
    processes[1].kill()
    outputs, codes = ends(processes, timeout=90)
    assert codes[0] not in (0, None), "the other ends too, and not after a long wait"
    assert codes[1] == -signal.SIGKILL
    # Started again, both go on and end as a run of one process.
    saves = (together / "checkpoints").iterdir()
    saved = max(int(path.name) for path in saves if path.name.isdigit())
    last = [f"--config.total_steps={saved + 7}"]
    outputs, codes = ends(start(together, 2, last))
    assert codes == [0, 0], outputs
    assert f"steps {saved} to {saved + 7}" in outputs[0]
    assert f"finished at step {saved + 7}" in outputs[0]
    assert "step" not in outputs[1], "process 0 alone writes"
    alone(single, 2, last)

    def rows(folder):
        every = read_metrics(folder / "metrics.jsonl")
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in every]

    assert all(np.array_equal(a, b) for a, b in zip(final(together), final(single), strict=True))
    assert rows(together) == rows(single)
    pictures = [sorted(path.name for path in (f / "samples").iterdir()) for f in (together, single)]
    assert pictures[0] == pictures[1]


@pytest.mark.slow
def test_damaged_shards_of_one_process_send_all_back_to_the_checkpoint_before(tmp_path):
    """A bit that flips is found by a checksum; what is zeroed cannot be read by one of them."""
    flags = ["--config.total_steps=11", "--config.eval_every=11", "--config.sample_every=11"]
    flags += ["--config.sharding=fully_sharded", "--config.keep_checkpoints=3"]
    run = tmp_path / "run"
    outputs, codes = ends(start(run, 2, flags), timeout=600)
    assert codes == [0, 0], outputs
    whole = final(run)
    for step, is_zeroed in ((10, False), (11, True)):
        (shard,) = (run / f"checkpoints/{step}/state/ocdbt.process_1/d").iterdir()
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(bytes(len(content)) if is_zeroed else content)
    # Orbax alone would wait for 300 s for a process that cannot read its part.
    outputs, codes = ends(start(run, 2, flags), timeout=280)
    assert codes == [0, 0], outputs
    for step, reason in (
        (11, r"cannot be read: state: the array [\w.]+ is damaged"),
        (10, r"is damaged: [\w/]+: its values are not"),
    ):
        line = rf"checkpoints/{step} {reason}.*{step}.damaged; step 5 is taken"
        assert re.search(line, outputs[0]), outputs[0]
    assert all(np.array_equal(a, b) for a, b in zip(whole, final(run), strict=True))


@pytest.mark.slow
def test_processes_begin_from_another_run_and_go_on_with_other_fields_as_one_does(tmp_path):
    first, begun, single = tmp_path / "run", tmp_path / "run-2", tmp_path / "single"
    five, ten = ["--config.total_steps=5"], ["--config.total_steps=10"]
    changed = [*ten, "--config.d_optimiser.learning_rate=1e-3"]

    def typed(folder, *flags):
        outputs, codes = ends(start(folder, 2, flags), timeout=300)
        assert codes == [0, 0], outputs

    alone(first, 2, five)
    typed(first, *ten, f"--init_from={first}", "--new")
    typed(begun, *changed, "--allow_change=d_optimiser.learning_rate", "--from_step=5")
    alone(single, 2, ten, Start(init_from=str(first)))
    alone(single, 2, changed, Start(allow_change=("d_optimiser.learning_rate",), from_step=5))
    for folder, other in ((begun, single), (begun / "aside" / "1", single / "aside" / "1")):
        assert all(np.array_equal(a, b) for a, b in zip(final(folder), final(other), strict=True))
    # What does not go is refused by all, in one line of each.
    outputs, codes = ends(start(begun, 2, [*changed, "--from_step=7"]), timeout=300)
    assert codes == [2, 2], outputs
    assert all("--from_step=7" in output.splitlines()[-1] for output in outputs), outputs


@pytest.mark.slow
def test_processes_stop_at_one_step_and_one_process_goes_on(tmp_path):
    """The launcher of a process for each GPU starts two, fully sharded."""
    together, single = tmp_path / "together", tmp_path / "single"
    few = ["--config.total_steps=9", "--config.checkpoint_every=50", "--config.eval_every=9"]
    said = tmp_path / "said"
    with said.open("w") as file:
        launcher = subprocess.Popen(
            [
                *["experiments/launch/per_gpu.sh", "2", f"--workdir={together}", *TINY, *few],
                *["--config.sample_every=9", "--config.sharding=fully_sharded"],
            ],
            cwd=ROOT,
            env=os.environ
            | {"PYTHON": sys.executable, "PORT": str(free_port()), "JAX_NUM_CPU_DEVICES": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    wait_for_step(launcher, 2, said)
    launcher.send_signal(signal.SIGTERM)  # It tells one of them.
    assert launcher.wait(timeout=200) == 128 + signal.SIGTERM, said.read_text()
    output = said.read_text()
    (step,) = re.findall(r"stopped by SIGTERM at step (\d+) of 9: saved", output)
    assert [path.name for path in (together / "checkpoints").iterdir()] == [step]
    for folder in (together, single):
        alone(folder, 1, few)
    for a, b in zip(final(together), final(single), strict=True):
        # Adam's first steps are of full size (1e-4), whatever their gradient's rounding.
        np.testing.assert_allclose(a, b, 1e-2, 5e-4)


@pytest.mark.slow
def test_a_process_that_is_not_joined_ends_with_one_line(tmp_path):
    """It is process 1 of 2, and process 0 never comes; it must not become a run of its own."""
    (output,), codes = ends(start(tmp_path / "run", 2, ["--join_timeout=1"], numbers=[1]))
    assert codes == [2]
    line = output.splitlines()[-1]
    assert "process 1 of 2 was not joined by all others within --join_timeout=1" in line
    assert output.count("ganjax: ") == 1, output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_of_two_processes_with_one_number_one_is_turned_away(tmp_path):
    """The others wait for who is missing, and say what they have seen."""
    started = start(tmp_path / "run", 3, ["--join_timeout=10"], numbers=[0, 1, 1])
    outputs, codes = ends(started)
    assert codes == [2, 2, 2], outputs
    line = "two processes have --process_id=1; give each its own"
    assert line in outputs[0].splitlines()[1], outputs
    assert re.search(rf"\(missing: 2; .*{line}\)", outputs[0].splitlines()[-1]), outputs
    assert sum(line in output.splitlines()[-1] for output in outputs[1:]) == 1, outputs
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_processes_with_different_configs_are_refused(tmp_path):
    """Each would start from another initialisation, and the two would be averaged."""
    outputs, codes = ends(start(tmp_path / "run", 2, own=lambda i: [f"--config.seed={i}"]))
    assert codes == [2, 2], outputs
    for output in outputs:
        assert "ganjax: process 1 has another config than process 0; start all with" in output
    assert not (tmp_path / "run").exists()
