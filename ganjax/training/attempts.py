"""The file attempts.jsonl, which records when, where, how and by which code a run was trained.

A run may take several attempts. Each writes a line when it begins and, unless it is killed, a
line when it ends.
"""

import contextlib
import hashlib
import os
import platform
import re
import shlex
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import ganjax
from ganjax.errors import UserError
from ganjax.runtime import checkout, storage
from ganjax.training.log import Log, teed
from ganjax.training.report import NonFiniteError

FILE = "attempts.jsonl"
# The folder of what differed from the commits, by the hashes of the contents.
DIFFS = "diffs"
# Of these, the versions of those that are installed are recorded.
PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scipy", "pillow"),
    *("jax-cuda12-plugin", "jax-cuda13-plugin", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "libtpu"),
)
# The variables of the environment that are recorded, since they change what is computed.
VARIABLES = re.compile("(JAX|XLA)_.*|LIBTPU_INIT_ARGS|CUDA_VISIBLE_DEVICES|NVIDIA_TF32_OVERRIDE")
# The names of flags and variables whose values are nobody's business.
SECRET = re.compile("token|password|secret|credential|api_?key", re.IGNORECASE)
HIDDEN = "***"


@contextlib.contextmanager
def recorded(folder: Path, total_steps: int) -> Iterator[None]:
    """Records the training within this context: its environment, what it prints and how it ends.

    The caller holds the lock of the folder. If there are several processes, process 0 alone enters.

    Args:
      folder: the run's folder.
      total_steps: the step at which the attempt would finish.
    """
    log = Log(folder)
    try:
        about = environment(folder)
        storage.append_line(
            folder / FILE, {"event": "begin", "time": time.time(), "pid": os.getpid(), **about}
        )
        for line in described(about):
            log.write(line)
        with _ended(folder, total_steps), teed(log):
            try:
                yield
            except BaseException as error:
                if not isinstance(error, SystemExit):  # What interrupts a run has said so.
                    is_told = isinstance(error, UserError)
                    log.write(f"ganjax: {error}" if is_told else traceback.format_exc())
                raise
    finally:
        log.close()


@contextlib.contextmanager
def failures(folder: Path, total_steps: int) -> Iterator[None]:
    """Records, as the end of an attempt, an error that was raised before an attempt began.

    Args:
      folder: the run's folder, which is made then if it does not exist.
      total_steps: as that of `recorded`.
    """
    entered = time.time()
    try:
        yield
    except BaseException as error:
        if last(folder).get("time", 0) < entered:
            folder.mkdir(parents=True, exist_ok=True)
            storage.append_line(folder / FILE, _end(error, total_steps))
        raise


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
        if begun.isdecimal():
            spans.append(max(0.0, path.stat().st_mtime - int(begun)))
    return sum(spans) if spans else None


def environment(folder: Path) -> dict[str, Any]:
    """Describes this process: its command, machine, devices, versions and code.

    Args:
      folder: the run's folder, to which differences of the code from its commits are written.

    Returns:
      What is known, as it goes into JSON. "checkouts" are the git checkouts of ganjax and of the
      current folder, as far as there are any, and "revision" is the first one's.
    """
    device = jax.devices()[0]
    checkouts = [
        {
            "root": str(each.root),
            "revision": each.revision,
            **({"diff": _write_diff(folder, each.diff)} if each.diff else {}),
        }
        for each in _checkouts()
    ]
    return {
        "command": command(sys.orig_argv),
        "current_folder": str(Path.cwd()),
        "revision": checkouts[0]["revision"] if checkouts else "",
        "checkouts": checkouts,
        "host": socket.gethostname(),
        "devices": f"{jax.device_count()} x {device.device_kind}",
        "platform": device.client.platform_version,
        "processes": jax.process_count(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": _versions(),
        "variables": {
            name: HIDDEN if SECRET.search(name) else value
            for name, value in sorted(os.environ.items())
            if VARIABLES.fullmatch(name)
        },
    }


def described(about: dict[str, Any]) -> list[str]:
    """Returns what `environment` found as lines of text."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"$ {about['command']}",
        f"in {about['current_folder']} on {about['host']}: {about['devices']}, "
        f"{about['cores']} cores, {about['system']}",
        f"python {about['python']}, {versions}",
    ]
    for each in about["checkouts"]:
        differs = f", which differs as {each['diff']} says" if "diff" in each else ""
        lines.append(f"git {each['revision']} of {each['root']}{differs}")
    return lines + [f"{name}={value}" for name, value in about["variables"].items()]


def command(arguments: Sequence[str]) -> str:
    """Returns the line that started a process, without the values of flags that are secret.

    Args:
      arguments: the process' arguments.
    """
    shown, hide = [], False
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        secret = argument.startswith("-") and SECRET.search(flag)
        shown.append(HIDDEN if hide else f"{flag}={HIDDEN}" if secret and equals else argument)
        hide = bool(secret) and not equals
    return shlex.join(shown)


def _checkouts() -> Iterator[checkout.Checkout]:
    """Yields the checkouts of ganjax and, if that is another, of the current folder."""
    own, current = Path(ganjax.__file__).resolve().parent, Path.cwd()
    if (of_code := checkout.find(own)) is not None:
        yield of_code
        if current.is_relative_to(of_code.root):
            return
    if (of_user := checkout.find(current)) is not None:
        yield of_user


@cache
def _versions() -> dict[str, str]:
    found = {"ganjax": ganjax.__version__}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _write_diff(folder: Path, diff: bytes) -> str:
    """Writes a difference unless it is there already, and returns its path within the folder."""
    name = f"{DIFFS}/{hashlib.sha256(diff).hexdigest()[:12]}.diff"
    if not (folder / name).exists():
        (folder / DIFFS).mkdir(exist_ok=True)
        with storage.replacing(folder / name, durable=False) as temporary:
            temporary.write_bytes(diff)
    return name


@contextlib.contextmanager
def _ended(folder: Path, total_steps: int) -> Iterator[None]:
    """Records how the body ends."""
    raised = None
    try:
        yield
    except BaseException as error:
        raised = error
        raise
    finally:
        # On a full disk, what ended the run is what matters.
        with contextlib.suppress(OSError):
            storage.append_line(folder / FILE, _end(raised, total_steps))


def _end(error: BaseException | None, total_steps: int) -> dict[str, Any]:
    """Returns the line of the end of an attempt."""
    outcome, reason = "finished", ""
    if error is not None:
        # SystemExit is raised by an interruption, and by submitit at Slurm's time limit.
        stopped = isinstance(error, SystemExit | KeyboardInterrupt)
        diverged = isinstance(error, NonFiniteError)
        outcome = "stopped" if stopped else "diverged" if diverged else "failed"
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
    end = {"outcome": outcome, "error": reason, "total_steps": total_steps}
    return {"event": "end", "time": time.time(), **end}
