"""The file attempts.jsonl, which records when, where and by which code a run was trained.

A run may take several attempts. Each writes a line when it begins and, unless it is killed, a
line when it ends.
"""

import contextlib
import json
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from experiments import ROOT
from ganjax.runtime import storage

FILE = "attempts.jsonl"
PACKAGES = ("ganjax", "jax", "jaxlib", "flax", "optax", "numpy")


@contextlib.contextmanager
def recorded(folder: Path, total_steps: int) -> Iterator[None]:
    """Records the training within this context as an attempt: its environment, and how it ended.

    Args:
      folder: the run's folder, which is made if it does not exist.
      total_steps: the step at which the attempt would finish.
    """
    from ganjax.training.report import NonFiniteError

    folder.mkdir(parents=True, exist_ok=True)
    _append(folder, {"event": "begin", "time": time.time(), "pid": os.getpid(), **environment()})
    error, outcome = "", "finished"
    try:
        yield
    except BaseException as raised:
        # SystemExit is raised by an interruption, and by submitit at Slurm's time limit.
        stopped = isinstance(raised, SystemExit | KeyboardInterrupt)
        diverged = isinstance(raised, NonFiniteError)
        outcome = "stopped" if stopped else "diverged" if diverged else "failed"
        error = (str(raised).strip() or type(raised).__name__).splitlines()[-1]
        raise
    finally:
        end = {"outcome": outcome, "error": error, "total_steps": total_steps}
        _append(folder, {"event": "end", "time": time.time(), **end})


def read(folder: Path) -> list[dict]:
    """Returns the lines of a run's file in order, without any that a kill cut short."""
    path = folder / FILE
    return storage.json_lines(path) if path.is_file() else []


def last(folder: Path) -> dict:
    """Returns the last line of a run's file, or {} if there is none."""
    return next(reversed(read(folder)), {})


def wall_time(folder: Path) -> float | None:
    """Returns the time that all attempts of a run took.

    It is read from TensorBoard's files, since a killed attempt leaves no line at its end. Each
    attempt has one, whose name holds the time at which it began, and which it last changed when
    it ended.

    Args:
      folder: the run's folder.

    Returns:
      The time in seconds, or None before the first attempt.
    """
    spans = []
    for path in (folder / "tensorboard").glob("events.out.tfevents.*"):
        begun = path.name.split(".")[3]
        if begun.isdigit():
            spans.append(max(0.0, path.stat().st_mtime - int(begun)))
    return sum(spans) if spans else None


def environment() -> dict[str, object]:
    """Describes the machine, the devices, the versions and the git revision of this process."""
    import jax

    device = jax.devices()[0]
    return {
        "revision": revision(),
        "host": socket.gethostname(),
        "devices": f"{jax.device_count()} x {device.device_kind}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def revision() -> str:
    """Returns the git revision of the code, followed by "+" if files differ; "" outside git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _append(folder: Path, line: dict) -> None:
    with storage.open_appending(folder / FILE) as file:
        file.write(json.dumps(line) + "\n")
