"""The clock that all benchmarks share, with their measure of memory and their types of flags."""

import argparse
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

OURS = "ganjax"
# The number of steps that a contender takes in a row.
RUN = 5


class Unequal(Exception):
    """An error of contenders that do not compute the same, whose speeds must not be compared."""


def seconds(step: Callable[[], object]) -> float:
    """Calls a step and returns the seconds that it takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def alternate(
    contenders: dict[str, Callable[[int], list[float]]], rounds: int, run: int = RUN
) -> dict[str, list[float]]:
    """Times contenders alternately, so that a slow spell of the machine meets all of them.

    A first round, which is not counted, warms all of them up.

    Args:
      contenders: functions by name, which take a number of steps in a row and return the seconds of
        each step.
      rounds: the number of rounds that count.
      run: the number of steps that a contender takes in a row in each round. It should exceed 1,
        because the threads of the previous contender spin for a while after their last step.

    Returns:
      For each contender, the median of the seconds of its steps in each round.
    """
    times = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, take_steps in contenders.items():
            times[name].append(median(take_steps(run)))
    return {name: values[1:] for name, values in times.items()}


def steps_of(step: Callable[[], object]) -> Callable[[int], list[float]]:
    """Turns a step of this process into a contender of `alternate`."""
    return lambda count: [seconds(step) for _ in range(count)]


def summary(times: dict[str, list[float]]) -> dict:
    """Summarises the times that `alternate` returns.

    Returns:
      A dict of `seconds`, which has for each contender the seconds of a step (`median`, `least`,
      `most` and those of all `rounds`), and of `ratios`, which has for each other contender the
      ratios of ganjax's seconds to its own: `of_medians`, `of_rounds` (the median of the ratios of
      the rounds) and `of_fastest`.
    """
    ours = times[OURS]
    return {
        "seconds": {
            name: {
                "median": median(values),
                "least": min(values),
                "most": max(values),
                "rounds": values,
            }
            for name, values in times.items()
        },
        "ratios": {
            name: {
                "of_medians": median(ours) / median(values),
                "of_rounds": median(a / b for a, b in zip(ours, values, strict=True)),
                "of_fastest": min(ours) / min(values),
            }
            for name, values in times.items()
            if name != OURS
        },
    }


def report(result: dict) -> None:
    """Prints a `summary`."""
    for name, seconds in result["seconds"].items():
        print(
            f"{name}: median {seconds['median']:.4f} s a step "
            f"({seconds['least']:.4f}..{seconds['most']:.4f})",
            flush=True,
        )
    for name, ratios in result["ratios"].items():
        print(
            f"{OURS} / {name}: {ratios['of_medians']:.3f} of medians, {ratios['of_rounds']:.3f} "
            f"median of rounds, {ratios['of_fastest']:.3f} of fastest",
            flush=True,
        )


def peak_mib() -> float:
    """Returns the peak of this process' resident memory in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux getrusage's value would start at the peak of the parent process.
        lines = status.read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    # macOS counts in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def threads() -> int:
    """Returns the number of cores that this process may use, on each of which XLA runs a thread."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def program(text: str) -> str:
    """Parses a flag that names a program to an absolute path, without resolving symbolic links."""
    found = shutil.which(os.path.expanduser(text))
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: there is no such program")
    return os.path.abspath(found)
