"""Processes of ganjax's commands, forked from one that has imported what commands import.

Each then begins at once, where a new interpreter would import for seconds. The process that forks
must not have started JAX's backend, whose threads do not survive a fork.
"""

import atexit
import contextlib
import importlib
import os
import re
import runpy
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax

from ganjax.runtime import huge_pages

IMPORTS = (
    *("ganjax.algorithms.gan", "ganjax.algorithms.progan", "ganjax.analysis.measurement"),
    *("ganjax.analysis.trained", "ganjax.data.record_writer", "ganjax.data.show"),
    *("ganjax.parallel.joining", "ganjax.training.loop", "ganjax.evaluate", "ganjax.sample"),
    "orbax.checkpoint.experimental.v1",
)
# The variable of the folder of compiled programs.
CACHE = "JAX_COMPILATION_CACHE_DIR"
# The most seconds that a command may take.
PATIENCE = 120.0
# The variable of how many times as long all may take, on a machine that does other things too.
SLOWNESS = "GANJAX_FAULTS_SLOWNESS"


class HangError(Exception):
    """The error for a process that did not end, or did not come to a step, in time."""


class Ended(NamedTuple):
    """What is left of a process.

    Attributes:
      code: its exit code, or minus the number of the signal that ended it.
      out: its standard output.
      err: its standard error.
    """

    code: int
    out: str
    err: str


def load() -> None:
    """Imports what commands import, once for all processes that are forked later."""
    # Otherwise each process would restart, and import everything again.
    os.environ[huge_pages.VARIABLE] = huge_pages.tunables("")
    for name in IMPORTS:
        importlib.import_module(name)


class Process:
    """A process that this one has forked.

    Args:
      pid: its number.
      said: the folder with its standard output and standard error, "out" and "err".
    """

    def __init__(self, pid: int, said: Path):
        self.pid, self._said = pid, said
        self._code: int | None = None

    @property
    def out(self) -> str:
        """What it has written to its standard output so far."""
        return (self._said / "out").read_text(errors="replace")

    @property
    def err(self) -> str:
        """What it has written to its standard error so far."""
        return (self._said / "err").read_text(errors="replace")

    def poll(self) -> int | None:
        """Returns its exit code, or None if it has not ended."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def send(self, number: int) -> None:
        """Sends it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, patience: float = PATIENCE) -> Ended:
        """Waits until it ends.

        Raises:
          HangError: it did not within so many seconds; it is killed.
        """
        self._wait_until(lambda: self.poll() is not None, patience, "ended")
        assert self._code is not None
        return Ended(self._code, self.out, self.err)

    def kill(self) -> Ended:
        """Kills it, and waits for its end."""
        self.send(signal.SIGKILL)
        return self.wait()

    def wait_for_step(self, step: int, patience: float = PATIENCE) -> bool:
        """Waits until it has written the metrics of a step; returns whether it is still running."""

        def reached():
            steps = re.findall(r"(?m)^step (\d+)/", self.out)
            return self.poll() is not None or (steps and int(steps[-1]) >= step)

        self._wait_until(reached, patience, f"come to step {step}")
        return self.poll() is None

    def _wait_until(self, reached: Callable, patience: float, what: str) -> None:
        patience *= slowness()
        deadline = time.monotonic() + patience
        while not reached():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise HangError(f"it had not {what} after {patience:.0f} s")
            time.sleep(0.005)


def slowness() -> float:
    """Returns how many times as long as on an idle machine processes may take."""
    return float(os.environ.get(SLOWNESS, "1"))


def fork(function: Callable[[], object], said: Path) -> Process:
    """Calls a function in a process of its own.

    Args:
      function: the function. SystemExit ends the process with its code, and any other error with
        code 1 and a traceback on the standard error.
      said: a folder for what it writes to its standard output and error.
    """
    said.mkdir(parents=True, exist_ok=True)
    flags = os.O_CREAT | os.O_TRUNC | os.O_RDWR
    files = [os.open(said / name, flags, 0o666) for name in ("out", "err")]
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        for file in files:
            os.close(file)
        return Process(pid, said)
    code = 1
    try:
        for file, place in zip(files, (1, 2), strict=True):
            os.dup2(file, place)
            os.close(file)
        code = _called(function)
    finally:
        os._exit(code)


def command(
    module: str,
    arguments: list[str],
    said: Path,
    *,
    environment: Mapping[str, str] | None = None,
    at: Path | None = None,
    before: Callable[[], object] = lambda: None,
) -> Process:
    """Starts a command of ganjax, as `python -m <module> <arguments>` does.

    Args:
      module: the module of the command.
      arguments: the command's arguments.
      said: as for `fork`.
      environment: further environment variables.
      at: the current folder of the command; by default that of this process.
      before: a function that the new process calls first.
    """

    def run():
        os.environ.update(environment or {})
        if CACHE in os.environ:
            # JAX has read its variable already, when it was imported.
            jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])
        if at is not None:
            os.chdir(at)
        before()
        sys.argv = [module, *arguments]
        warnings.simplefilter("ignore")  # The module has been imported already.
        runpy.run_module(module, run_name="__main__", alter_sys=True)

    return fork(run, said)


def _called(function: Callable[[], object]) -> int:
    """Calls a function, ends this process's threads as Python does, and returns its exit code."""
    code = 0
    try:
        function()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code
