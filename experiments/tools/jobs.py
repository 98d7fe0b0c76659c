"""Runs as jobs of submitit: on this machine, as many at once as it has places, or on Slurm."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.tools import attempts, runs
from experiments.tools.design import ROOT
from experiments.tools.runs import Run
from ganjax import signals, workdir
from ganjax.config import ConfigError
from ganjax.errors import UserError

# Within the folder of a sweep's runs: what submitit writes, logs among it.
FOLDER = "jobs"
SECONDS = 1.0  # Between two looks at the jobs.
A_YEAR = 60 * 24 * 365  # In minutes: a local job is never stopped for its length.


class Place(NamedTuple):
    """Where a local job runs.

    Attributes:
      cores: of the CPU that it keeps to.
      device: the index of its GPU, None without one.
    """

    cores: tuple[int, ...]
    device: int | None


class Train:
    """Trains one run. Slurm may stop it at its time limit and queue it again: it goes on."""

    def __call__(
        self, config: dict[str, Any], folder: Path, total_steps: int, place: Place | None
    ) -> None:
        # Before JAX is there: a signal ends the process; while it trains, it saves first.
        signals.quit_at_once("it had not begun")
        if place is not None:
            # The terminal's Ctrl-C is for the sweep alone, which tells each job once.
            with contextlib.suppress(OSError):
                os.setsid()
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, place.cores)
        from ganjax import cli

        cli.cache_compilations()
        train(config, folder, total_steps)

    def checkpoint(self, *arguments):
        """What submitit queues instead of a job that ran out of time: the same job."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def train(config: dict[str, Any], folder: Path, total_steps: int) -> None:
    """Trains one run in this process, and writes down the attempt."""
    from ganjax.train import train

    with attempts.recorded(folder, total_steps):
        train(config, folder)


def places(most: int | None = None) -> list[Place]:
    """A place for each GPU, or without any for each core that this process may use.

    A process of JAX takes all the cores that it is given, and several on the same ones wait
    for each other: each place has its own. (A TPU's chips belong to one process: `most` = 1.)

    Args:
      most: at most so many; cores are shared among them.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    devices: list[int | None] = list(_gpus())
    count = len(devices) or len(cores)
    count = min(most or count, count)
    shares = [tuple(cores[i::count]) or tuple(cores) for i in range(count)]
    return [Place(share, devices[i] if devices else None) for i, share in enumerate(shares)]


def run_locally(
    out: Path,
    waiting: Sequence[Run],
    at: Sequence[Place],
    say: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
) -> None:
    """Trains runs, one at each place at a time; returns when none is left.

    Ctrl-C or SIGTERM lets what runs save its state, and returns; a second one does not wait.

    Args:
      out: the folder of the sweep's runs.
      waiting: what is to be trained, in order. One that another process is training is waited
        for.
      at: the places.
      say: called, with a line, whenever a run begins or ends.
      look: called between.
    """
    import submitit

    executor = submitit.LocalExecutor(out / FOLDER)
    free, queue, busy = deque(at), deque(waiting), []
    with _stopping() as stop, _importable():
        while (queue and not stop.asked) or busy:
            for run, job, place in [each for each in busy if each[1].done()]:
                busy.remove((run, job, place))
                free.append(place)
                say(_outcome(run, job.paths.stdout))
            for _ in range(min(len(free), len(queue)) if not stop.asked else 0):
                run = queue.popleft()
                if is_locked(run.folder):
                    queue.append(run)
                    continue
                place = free.popleft()
                device = () if place.device is None else (place.device,)
                executor.update_parameters(
                    timeout_min=A_YEAR,
                    stderr_to_stdout=True,
                    gpus_per_node=len(device),
                    visible_gpus=device,
                )
                total = run.checked.total_steps
                with _ignoring_interrupts():
                    job = executor.submit(Train(), run.config, run.folder, total, place)
                busy.append((run, job, place))
                say(f"{run.label}: begins, {job.paths.stdout}")
            if stop.take():
                say(f"stopping: {len(busy)} runs save what they have; again to wait no longer")
                for _, job, _ in busy:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(job.job_id), signal.SIGTERM)  # submitit passes it on.
            look()
            time.sleep(SECONDS)


def submit_to_slurm(
    out: Path, waiting: Sequence[Run], parameters: dict[str, Any]
) -> list[tuple[Run, str]]:
    """Queues runs as one array, without waiting for them: (run, job's number) of each.

    Args:
      out: the folder of the sweep's runs, on a file system that the nodes share.
      waiting: what is to be trained.
      parameters: of `submitit.SlurmExecutor`, such as partition, time, gpus_per_node and
        array_parallelism.

    Raises:
      UserError: there is no Slurm here, or no such parameter.
    """
    import submitit

    if shutil.which("sbatch") is None:
        raise UserError("--executor=slurm: there is no sbatch here; run it on a login node")
    executor = submitit.SlurmExecutor(out / FOLDER, max_num_timeout=100)
    try:
        executor.update_parameters(**{"job_name": out.name, "stderr_to_stdout": True} | parameters)
    except ValueError as error:
        raise UserError(f"--slurm: {' '.join(str(error).split())}") from None
    with _importable(), executor.batch():
        jobs = [
            executor.submit(Train(), run.config, run.folder, run.checked.total_steps, None)
            for run in waiting
        ]
    queued = [(run, job.job_id) for run, job in zip(waiting, jobs, strict=True)]
    for run, job in queued:
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / JOB).write_text(job + "\n", encoding="utf-8")
    return queued


# Of a run's folder: the number of the job of Slurm that trains it.
JOB = "slurm_job"


def is_queued(run: Run) -> bool:
    """Whether Slurm has the run's last job still waiting or running."""
    path = run.folder / JOB
    if not path.is_file() or shutil.which("squeue") is None:
        return False
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={path.read_text().strip()}"]
    # Of a job that is long gone it knows nothing, which is an error.
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return bool(found.stdout.strip())


def is_locked(folder: Path) -> bool:
    """Whether a process is training in a folder."""
    if not folder.is_dir():
        return False
    try:
        with workdir.lock(folder):
            return False
    except ConfigError:
        return True


def _outcome(run: Run, log: Path) -> str:
    """The line that is said of a run whose job has ended."""
    found = runs.progress(run)
    if found.state == runs.FINISHED:
        return f"{run.label}: finished"
    if found.error:
        return f"{run.label}: {found.state}: {found.error}"
    # Killed, or stopped before it could say why.
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    last = next((line for line in reversed(lines) if line.strip()), "it wrote nothing")
    return f"{run.label}: stopped at step {found.step}: {last.strip()}"


def _gpus() -> Iterator[int]:
    """The indices of the GPUs that this process may use, without taking them as JAX would."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        yield from (int(index) for index in visible.split(",") if index.strip().isdigit())
    elif shutil.which("nvidia-smi") is not None:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        yield from (int(line) for line in found.stdout.split() if line.isdigit())


class _Stop:
    """Whether a signal asked to stop, and whether it was yet passed on."""

    def __init__(self):
        self.asked = False
        self._pending = 0

    def ask(self, *_) -> None:
        self.asked = True
        self._pending += 1

    def take(self) -> bool:
        """Whether there is a signal to pass on; there is one less then."""
        pending, self._pending = self._pending > 0, max(0, self._pending - 1)
        return pending


@contextlib.contextmanager
def _stopping() -> Iterator[_Stop]:
    stop = _Stop()
    before = {number: signal.signal(number, stop.ask) for number in signals.NUMBERS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """What is started within ignores the terminal's Ctrl-C: submitit would kill the training."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Jobs can import `experiments`, wherever they are started."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
