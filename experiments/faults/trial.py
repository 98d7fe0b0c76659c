"""Faults and their trials: each trial is a process of its own, which sees what happens and judges.

A fault is one function. It does something to a command of ganjax, and says what happened, or raises
`Unexpected` where that is not what should happen.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from experiments.faults import processes
from experiments.faults.processes import HangError

# The most seconds of a trial, after which it counts as hung.
PATIENCE = 300.0
# What a trial has come to, in its folder.
RESULT = "result.json"


class UnexpectedError(Exception):
    """The error for what should not have happened: its message is a line for the table."""


class NotRunError(Exception):
    """The error for a trial that this machine does not permit: its message says why."""


@dataclass(frozen=True)
class Trial:
    """What a fault is given for one trial.

    Attributes:
      folder: an empty folder of this trial.
      shared: the folder of what all trials read (`experiments.faults.runs.prepare`).
      number: the number of the trial among those of the same fault, from 0.
      random: random numbers, the same in every run of the program.
    """

    folder: Path
    shared: Path
    number: int
    random: random.Random

    @property
    def run(self) -> Path:
        """The folder of the trial's run."""
        return self.folder / "run"


class Fault(NamedTuple):
    """A fault that is tried.

    Attributes:
      name: what is done, for the table.
      attempt: does it, given a trial, and returns what happened in a few words.
      short: how often it is tried with --short.
      whole: how often it is tried without.
      needs: the runs of `experiments.faults.runs.RUNS` that the trials read.
    """

    name: str
    attempt: Callable[[Trial], str]
    short: int
    whole: int
    needs: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """What a trial of a fault has come to.

    Attributes:
      happened: what happened, in a few words.
      verdict: "expected", "unexpected" or "not run".
      seconds: the processor time that it took.
    """

    happened: str
    verdict: str
    seconds: float


def expect(holds: object, otherwise: str) -> None:
    """Raises an `UnexpectedError` unless something holds."""
    if not holds:
        raise UnexpectedError(otherwise)


def run_all(
    planned: Sequence[tuple[Fault, int]],
    folder: Path,
    shared: Path,
    jobs: int,
) -> Iterator[tuple[Fault, int, Outcome]]:
    """Runs trials, several at once.

    Args:
      planned: the faults and the numbers of their trials, in order.
      folder: the folder for the trials' own folders.
      shared: what all trials read.
      jobs: how many run at once; each then has cores of its own.

    Yields:
      The fault, the number and the outcome of each trial that has ended.
    """
    waiting = list(enumerate(planned))[::-1]
    free, running = list(range(jobs)), {}
    while waiting or running:
        while waiting and free:
            index, (fault, number) = waiting.pop()
            at = folder / f"{index:05}"
            at.mkdir()
            trial = Trial(at, shared, number, random.Random(f"{fault.name} {number}"))
            place = free.pop()
            pid = _start(fault, trial, place, jobs)
            running[pid] = (fault, trial, place, time.monotonic())
        for pid, (fault, trial, place, begun) in list(running.items()):
            seconds = time.monotonic() - begun
            ended, _, used = os.wait4(pid, os.WNOHANG)
            if not ended and seconds < PATIENCE * processes.slowness():
                continue
            _end_group(pid)
            if not ended:
                os.waitpid(pid, 0)
            del running[pid]
            free.append(place)
            outcome = _outcome(trial, used.ru_utime + used.ru_stime)
            if outcome.verdict != "unexpected":
                shutil.rmtree(trial.folder, ignore_errors=True)
            yield fault, trial.number, outcome
        time.sleep(0.01)


def _start(fault: Fault, trial: Trial, place: int, jobs: int) -> int:
    """Forks the process of a trial, the head of a group with all that it starts."""
    if pid := os.fork():
        return pid
    try:
        os.setsid()
        _take_cores(place, jobs)
        (trial.folder / RESULT).write_text(json.dumps(_judged(fault, trial)))
    finally:
        os._exit(0)


def _take_cores(place: int, jobs: int) -> None:
    """Keeps the threads of this process and its children to cores that no other trial has."""
    if jobs > 1 and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, set(cores[place % len(cores) :: jobs]))


def _judged(fault: Fault, trial: Trial) -> list[str]:
    """Returns what happened in a trial, and the verdict."""
    try:
        return [fault.attempt(trial), "expected"]
    except NotRunError as reason:
        return [str(reason), "not run"]
    except UnexpectedError as error:
        return [str(error), "unexpected"]
    except HangError as error:
        return [f"hung: {error}", "unexpected"]
    except BaseException:
        return [traceback.format_exc(), "unexpected"]


def _end_group(pid: int) -> None:
    """Ends what a trial has started and left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _outcome(trial: Trial, seconds: float) -> Outcome:
    try:
        happened, verdict = json.loads((trial.folder / RESULT).read_text())
    except (OSError, ValueError):
        happened, verdict = f"hung for {seconds:.0f} s", "unexpected"
    return Outcome(happened, verdict, seconds)
