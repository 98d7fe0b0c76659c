"""The runs: they are trained, and the processor's seconds of their steps are recorded."""

import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import jax
import numpy as np

from ganjax.runtime import storage
from ganjax.training import attempts
from ganjax.training.display import Display
from ganjax.training.loop import train
from ganjax.training.report import NonFiniteError

# The first steps of an attempt, which do not count.
WARM_UP = 5
# The file of a run's folder with the seconds of a step in each attempt.
CLOCK = "clock.jsonl"


class Clock(Display):
    """A display that records the CPU's seconds of each step, and shows only messages.

    Args:
      folder: the folder of the run, to whose `CLOCK` each attempt adds a line.
    """

    def __init__(self, folder: Path):
        self._folder, self._ends = folder, []

    def advance(self) -> None:
        self._ends.append(time.process_time())

    def say(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        spent = [end - start for start, end in pairwise(self._ends)][WARM_UP:]
        if spent:
            line = {"step_seconds": median(spent), "steps": len(spent)}
            storage.append_line(self._folder / CLOCK, line)


def step_seconds(folder: Path) -> float | None:
    """Returns the CPU's seconds of a step of a run, a mean over its attempts; None if unknown."""
    path = folder / CLOCK
    lines = storage.json_lines(path) if path.is_file() else []
    if not lines:
        return None
    steps = [line["steps"] for line in lines]
    return float(np.average([line["step_seconds"] for line in lines], weights=steps))


def trained(config: dict, folder: Path) -> bool:
    """Trains a run to its end, unless it has ended; returns False if it has diverged."""
    outcome = attempts.last(folder).get("outcome")
    if outcome not in ("finished", "diverged"):
        try:
            train(config, folder, Clock(folder))
            outcome = "finished"
        except NonFiniteError as error:
            print(error, flush=True)
            outcome = "diverged"
        jax.clear_caches()
    return outcome == "finished"
