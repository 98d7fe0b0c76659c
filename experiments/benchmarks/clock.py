"""Shared by all benchmarks: alternating contenders under one clock, memory, threads, flags."""

import argparse
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

OURS = "ganjax"
# The steps that a contender takes in a row.
RUN = 5


class Unequal(Exception):
    """Two contenders do not compute the same, so their speeds must not be compared."""


def seconds(step: Callable[[], object]) -> float:
    """The seconds that one call takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def alternate(
    contenders: dict[str, Callable[[int], list[float]]], rounds: int, run: int = RUN
) -> dict[str, list[float]]:
    """Times contenders alternately, so that a slow spell of the machine meets all of them.

    A first round, which is not counted, warms all of them up.

    Args:
      contenders: for each name a function of a count that takes so many steps in a row and
        returns the seconds of each.
      rounds: how many rounds count.
      run: the steps that a contender takes in a row in each round. Several, because the threads
        of the contender before it spin for a while after their last step.

    Returns:
      For each contender, the median seconds of its steps in each round.
    """
    times = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, take_steps in contenders.items():
            times[name].append(median(take_steps(run)))
    return {name: values[1:] for name, values in times.items()}


def steps_of(step: Callable[[], object]) -> Callable[[int], list[float]]:
    """Turns a step of this process into the function of a count that `alternate` takes."""
    return lambda count: [seconds(step) for _ in range(count)]


def summary(times: dict[str, list[float]]) -> dict:
    """Summarises what `alternate` returns.

    Returns:
      `seconds` a step: for each contender the median, least and most, and the median of each
      of the rounds. `ratios` of ganjax's seconds to those of each other contender: of_medians,
      of_rounds (the median of the rounds' ratios) and of_fastest.
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
    """The peak of this process' resident memory in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux getrusage's figure would start at the peak of the parent process.
        lines = status.read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    # macOS counts in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def threads() -> int:
    """The number of threads that XLA takes: one for each core that the process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def positive(text: str) -> int:
    """The value of a flag that is a whole number of 1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def program(text: str) -> str:
    """The value of a flag that names a program, as an absolute path, symbolic links kept."""
    found = shutil.which(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: there is no such program")
    return os.path.abspath(found)
