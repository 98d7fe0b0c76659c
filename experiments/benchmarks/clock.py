"""What benchmarks share: contenders that take turns under one clock, memory, threads, flags."""

import argparse
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

OURS = "ganjax"
# Steps in a row of one contender.
RUN = 5


class Unequal(Exception):
    """Two sides do not compute the same: their speeds are not to be compared."""


def seconds(step: Callable[[], object]) -> float:
    """That a call takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def take_turns(
    runs: dict[str, Callable[[int], list[float]]], rounds: int, run: int = RUN
) -> dict[str, list[float]]:
    """Contender -> median seconds of its steps in each round; a round before warms all up.

    Args:
      runs: contender -> count -> the seconds of as many steps in a row.
      rounds: that count.
      run: steps of a contender in a round. In a row: the threads of whoever went before spin for
        a while after their step.
    """
    times = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, of in runs.items():
            times[name].append(median(of(run)))
    return {name: values[1:] for name, values in times.items()}


def steps_of(step: Callable[[], object]) -> Callable[[int], list[float]]:
    """A step within this process in the form that `take_turns` takes."""
    return lambda count: [seconds(step) for _ in range(count)]


def summary(times: dict[str, list[float]]) -> dict:
    """Seconds a step of each contender, and ours over each other one's.

    Returns:
      `seconds`: contender -> median, least, most, rounds (the median of each). `ratios`:
      contender -> of_medians, of_rounds (the median of the rounds' ratios), of_fastest.
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


def report(found: dict) -> None:
    """Prints a `summary`."""
    for name, of in found["seconds"].items():
        print(
            f"{name}: median {of['median']:.4f} s a step ({of['least']:.4f}..{of['most']:.4f})",
            flush=True,
        )
    for name, of in found["ratios"].items():
        print(
            f"{OURS} / {name}: {of['of_medians']:.3f} of medians, {of['of_rounds']:.3f} median of "
            f"rounds, {of['of_fastest']:.3f} of fastest",
            flush=True,
        )


def peak_mib() -> float:
    """The most memory, in MiB, that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage's figure, which on Linux starts at the peak of the process that began this.
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    # macOS counts in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def threads() -> int:
    """As many as XLA takes: one for each core that the process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def positive(text: str) -> int:
    """A flag's value as a number of 1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)
