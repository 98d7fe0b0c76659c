"""The launcher on a real Slurm, of one node: this machine."""

import os
import re
import subprocess
import sys
import time

import local_slurm
import processes
import pytest
from conftest import ROOT
from processes import TINY

pytest.importorskip("submitit")
from experiments.launch import slurm
from experiments.tools import design, jobs, runs
from ganjax.errors import UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not local_slurm.is_installed(), reason="no slurmctld, slurmd and munge"),
]
SECONDS = 300  # Within which a job of the tiniest run comes to its next state.
# A run that is as long as the number in a file says when a process of it starts, and only logs.
CONFIG = """\
import runpy

def get_config():
    config = runpy.run_path("configs/wgan_gp.py")["get_config"]("")
    config.total_steps = int(open({steps!r}).read())
    config.log_every = 1
    config.checkpoint_every = config.sample_every = config.eval_every = 100_000
    return config
"""


@pytest.fixture(scope="module")
def environment():
    with local_slurm.running() as found:
        yield found | {"JAX_NUM_CPU_DEVICES": "1"}


@pytest.fixture
def command(environment):
    """Returns a function that runs a command and returns its process when it has ended."""

    def run(*words):
        return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)

    return run


def wait_until(holds, logs):
    deadline = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > deadline:
            said = [f"{path}:\n{path.read_text()[-3000:]}" for path in sorted(logs.glob("*_log.*"))]
            pytest.fail("\n".join(said))
        time.sleep(0.1)


def test_a_job_of_two_processes_that_slurm_warns_saves_and_returns_to_the_queue(command, tmp_path):
    logs, steps, config = (tmp_path / name for name in ("logs", "steps", "config.py"))
    # It cannot end before the warning comes, and ends soon after it: on a core that others share,
    # each step of two processes may take a second.
    steps.write_text("100000")
    config.write_text(CONFIG.format(steps=str(steps)))
    shrunk = [each for each in TINY if not re.match(r"--config(=|\.\w+_every=)", each)]
    flags = [
        *("--tasks_per_node=2", "--cpus_per_task=1", "--hours=0.5", f"--logs={logs}"),
        *("--slurm.comment=a run", "--slurm.mem=500M", "--setup=export SAID=yes"),
        *(f"--workdir={tmp_path / 'run'}", f"--config={config}", *shrunk),
    ]
    code, printed = processes.run("experiments.launch.slurm", [*flags, "--print"], tmp_path)
    assert code == 0, printed
    assert not logs.exists(), "--print queues nothing"
    launched = command(sys.executable, "-m", "experiments.launch.slurm", *flags).stdout
    job = re.match(r"job (\d+): ", launched)[1]
    assert (logs / f"{job}_submission.sh").read_text().strip() == printed.strip()
    assert "\n#SBATCH --comment='a run'\n" in printed
    assert "\nexport SAID=yes\n" in printed

    def shown():
        return command("scontrol", "show", "job", job).stdout

    def log():
        path = logs / f"{job}_0_log.out"
        return path.read_text() if path.exists() else ""

    assert re.search(r"MinMemoryNode=500M", shown())
    wait_until(lambda: "\nstep 3/" in log(), logs)
    # As Slurm does before the job's time is over, to every process of it.
    command("scancel", "--signal=USR2", job)
    wait_until(lambda: "JobState=PENDING" in shown() and "Restarts=1" in shown(), logs)
    step = int(re.search(r"stopped by SIGTERM at step (\d+) of 100000: saved", log())[1])
    last = step + 3
    steps.write_text(str(last))
    # Slurm lets a job that returned wait for two minutes. Without any wait the end of its first
    # script may come when the second has begun, and be taken for the second's.
    wait_until(lambda: "idle" in command("sinfo", "--noheader", "--format=%T").stdout, logs)
    time.sleep(10)
    command("scontrol", "update", f"job={job}", "StartTime=now")
    wait_until(lambda: f"finished at step {last}" in log(), logs)
    assert f"steps {step} to {last}" in log()
    assert ", 2 x cpu, " in log()
    wait_until(lambda: "JobState=COMPLETED" in shown(), logs)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_a_process_has_the_cores_that_were_asked_for(environment, tmp_path, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    args, _ = slurm.parse(["--cpus_per_task=2", f"--logs={tmp_path}", "--config=a.py"])
    job = slurm.executor(args).submit(os.sched_getaffinity, 0)
    wait_until(job.paths.result_pickle.exists, tmp_path)
    assert len(job.result()) == 2


def test_a_sweep_is_queued_with_any_option(environment, tmp_path, monkeypatch, command):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _, sweep, _ = design.load(str(ROOT / "experiments" / "ema_decay.py:smoke"))
    planned = runs.plan(sweep, tmp_path)
    asked = {"time": 5, "cpus_per_task": 2, "hold": True, "mem": "300M", "comment": "a sweep"}
    queued = jobs.submit_to_slurm(tmp_path, planned, asked)
    assert [run for run, _ in queued] == planned
    assert all(jobs.is_queued(run) for run in planned)
    shown = command("scontrol", "show", "job", queued[0][1]).stdout
    for text in ("JobState=PENDING", "MinMemoryNode=300M", "CPUs/Task=2", "Comment=a sweep"):
        assert text in shown
    script, *_ = (tmp_path / jobs.FOLDER).glob("*.sh")
    assert " --cpus-per-task=2 " in script.read_text()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--slurm.partition=nowhere", "invalid partition specified: nowhere"),
        ("--slurm.zebra=3", "unrecognized option '--zebra=3'"),
        ("--slurm.mem=9T", "Memory specification can not be satisfied"),
    ],
)
def test_what_slurm_refuses_is_told_in_one_line(
    environment, option, message, tmp_path, monkeypatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slurm, "check", lambda: None)
    flags = [option, "--cpus_per_task=1", f"--logs={tmp_path}", "--config=wgan_gp"]
    monkeypatch.setattr(sys, "argv", ["slurm", *flags])
    with pytest.raises(UserError) as caught:
        slurm.main([])
    assert re.match(rf"Slurm refused the job: .*{re.escape(message)}", str(caught.value))
    assert "\n" not in str(caught.value)
