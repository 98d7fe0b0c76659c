"""Training of runs as jobs of submitit: several at once on this machine, or queued on Slurm."""

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

from experiments import ROOT
from experiments.tools import runs
from experiments.tools.runs import Run
from ganjax.config import ConfigError
from ganjax.errors import UserError
from ganjax.runtime import signals, storage
from ganjax.training import attempts, workdir

# The folder, inside that of a sweep's runs, for submitit's files, such as logs.
FOLDER = "jobs"
SECONDS = 1.0  # The time between two inspections of the jobs.
A_YEAR = 60 * 24 * 365  # In minutes: a local job is never stopped for taking long.


class Place(NamedTuple):
    """The hardware that one local job at a time has to itself.

    Attributes:
      cores: the numbers of the CPU cores on which the job may run.
      device: the index of its GPU, or None without one.
    """

    cores: tuple[int, ...]
    device: int | None


class Train:
    """The job that trains one run. If Slurm's time limit stops it, it is queued to continue."""

    def __call__(
        self, config: dict[str, Any], folder: Path, total_steps: int, place: Place | None
    ) -> None:
        # Until JAX is imported a signal just ends the process; a run in training saves first.
        signals.quit_at_once("it had not begun")
        if place is not None:
            # A signal to the whole group is for the sweep, which passes it on once, since a run
            # does not save after a second one.
            with contextlib.suppress(OSError):
                os.setsid()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.NUMBERS)
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, place.cores)
        from ganjax.runtime import compiling

        compiling.keep_programs()
        compiling.trim_memory()
        train(config, folder, total_steps)

    def checkpoint(self, *arguments):
        """Returns the job that submitit queues in place of one that ran out of time: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def train(config: dict[str, Any], folder: Path, total_steps: int) -> None:
    """Trains one run in this process; an error before it begins counts as an attempt too."""
    from ganjax.training.loop import train

    with attempts.failures(folder, total_steps):
        train(config, folder)


def places(most: int | None = None) -> list[Place]:
    """Divides the machine into a place for each GPU or, without GPUs, for each core.

    Each place has cores of its own, because a process of JAX takes all the cores that it may use,
    and several processes on the same cores wait for each other. All chips of a TPU belong to one
    process, so there `most` must be 1.

    Args:
      most: the largest number of places; the cores are divided among them.

    Raises:
      UserError: CUDA_VISIBLE_DEVICES names GPUs otherwise than by number.
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
    """Trains runs, one at a time at each place, until none is left.

    After Ctrl-C or SIGTERM this function returns as soon as the runs in progress have saved their
    state; after a second signal it does not wait for them.

    Args:
      out: the folder of the sweep's runs.
      waiting: the runs to train, in order. Those that another process is training come later.
      at: the places.
      say: a function that is called with a line whenever a run begins or ends.
      look: a function that is called about every `SECONDS`.
    """
    import submitit

    executor = submitit.LocalExecutor(out / FOLDER)
    free, queue, busy = deque(at), deque(waiting), []
    with _stopping() as stop, _importable():
        while (queue and not stop.asked) or busy:
            for ended in [job for job in busy if job.job.done()]:
                busy.remove(ended)
                free.append(ended.place)
                say(_outcome(ended.run, ended.job.paths.stdout))
            for _ in range(min(len(free), len(queue)) if not stop.asked else 0):
                run = queue.popleft()
                if is_locked(run.folder):
                    queue.append(run)
                    continue
                busy.append(_start(executor, run, free.popleft()))
                say(f"{run.label}: begins, {busy[-1].job.paths.stdout}")
            if stop.is_new():
                say(f"stopping: {len(busy)} runs save what they have; again to wait no longer")
            for i, job in enumerate(busy):
                if job.told < stop.asked and _tell(job):
                    busy[i] = job._replace(told=stop.asked)
            look()
            time.sleep(SECONDS)


class _Job(NamedTuple):
    """A job in progress.

    Attributes:
      run: the run that the job trains.
      job: submitit's job.
      place: the place that the job takes.
      since: the time at which the job was submitted.
      told: the number of times that the job was told to stop.
    """

    run: Run
    job: Any
    place: Place
    since: float
    told: int = 0


def _start(executor, run: Run, place: Place) -> _Job:
    device = () if place.device is None else (place.device,)
    executor.update_parameters(
        timeout_min=A_YEAR,
        stderr_to_stdout=True,
        gpus_per_node=len(device),
        visible_gpus=device,
    )
    since = time.time()
    # submitit's own process inherits the mask, since it would pass the group's signals on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.NUMBERS)
    try:
        job = executor.submit(Train(), run.config, run.folder, run.checked.total_steps, place)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return _Job(run, job, place, since)


def _tell(job: _Job) -> bool:
    """Tells the training process to stop, and returns False if it has not begun yet."""
    line = attempts.last(job.run.folder)
    if line.get("event") != "begin" or line["time"] < job.since:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(line["pid"], signal.SIGTERM)
    return True


def submit_to_slurm(
    out: Path, waiting: Sequence[Run], parameters: dict[str, Any]
) -> list[tuple[Run, str]]:
    """Queues runs as one array of jobs, without waiting for them.

    Args:
      out: the folder of the sweep's runs, on a file system that the nodes share.
      waiting: the runs to train.
      parameters: parameters of submitit's executor, such as time, gpus_per_node and
        array_parallelism, and any options of sbatch, with underscores.

    Returns:
      Each run with the number of its job.

    Raises:
      UserError: there is no Slurm, or it refused the jobs.
    """
    from submitit.core.utils import FailedJobError

    from experiments.launch import sbatch

    if shutil.which("sbatch") is None:
        raise UserError("--executor=slurm: there is no sbatch here; run it on a login node")
    own = {"job_name": out.name, "stderr_to_stdout": True}
    executor = sbatch.Executor(out / FOLDER, own | parameters)
    try:
        with _importable(), executor.batch():
            jobs = [
                executor.submit(Train(), run.config, run.folder, run.checked.total_steps, None)
                for run in waiting
            ]
    except FailedJobError as error:
        raise UserError(f"Slurm refused the jobs: {sbatch.refusal(error)}") from None
    queued = [(run, job.job_id) for run, job in zip(waiting, jobs, strict=True)]
    for run, job in queued:
        run.folder.mkdir(parents=True, exist_ok=True)
        storage.write_text(run.folder / JOB, job + "\n")
    return queued


# The file in a run's folder that holds the number of its Slurm job.
JOB = "slurm_job"


def is_queued(run: Run) -> bool:
    """Returns whether the run's last Slurm job is still waiting or running."""
    path = run.folder / JOB
    if not path.is_file() or shutil.which("squeue") is None:
        return False
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={path.read_text().strip()}"]
    # squeue fails for a job that ended long ago.
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return bool(found.stdout.strip())


def is_locked(folder: Path) -> bool:
    """Returns whether a process is training in a folder."""
    if not folder.is_dir():
        return False
    try:
        with workdir.lock(folder):
            return False
    except ConfigError:
        return True


def _outcome(run: Run, log: Path) -> str:
    """Returns a line about a run whose job has ended."""
    progress = runs.progress(run)
    if progress.state == runs.FINISHED:
        return f"{run.label}: finished"
    if progress.error:
        return f"{run.label}: {progress.state}: {progress.error}"
    # It was killed, or stopped before it could say why.
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    last = next((line for line in reversed(lines) if line.strip()), "it wrote nothing")
    return f"{run.label}: stopped at step {progress.step}: {last.strip()}"


def _gpus() -> Iterator[int]:
    """Yields the indices of the GPUs that this process may use, without reserving their memory."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        for index in filter(None, map(str.strip, visible.split(","))):
            if index == "-1":  # CUDA hides it and all after it.
                return
            if not index.isdecimal():  # submitit takes only numbers.
                raise UserError(
                    f"CUDA_VISIBLE_DEVICES={visible}: {index} is no number; name GPUs by those "
                    "that nvidia-smi gives them, such as 0,1"
                )
            yield int(index)
    elif shutil.which("nvidia-smi") is not None:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        yield from (int(line) for line in found.stdout.split() if line.isdecimal())


class _Stop:
    """A count of the signals that asked to stop."""

    def __init__(self):
        self.asked = self._seen = 0

    def ask(self, *_) -> None:
        self.asked += 1

    def is_new(self) -> bool:
        """Returns whether there was a signal since the last call."""
        seen, self._seen = self._seen, self.asked
        return seen < self.asked


@contextlib.contextmanager
def _stopping() -> Iterator[_Stop]:
    """Replaces the handlers of signals, within this context, by a count of them."""
    stop = _Stop()
    before = {number: signal.signal(number, stop.ask) for number in signals.NUMBERS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Lets processes that start within this context import `experiments` from any folder."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
