"""Measures the time that the training loop adds to its bare train step, at the shipped cadence.

    python -m experiments.benchmarks.loop --config=wgan_gp
    python -m experiments.benchmarks.loop --config=cgan --processor --rounds=6

A run is trained in stretches of steps with data and logging, after each of which it draws its
pictures, evaluates and saves. A stretch, each of these actions, until all of it is written, and as
many bare compiled steps on one constant batch are timed in turn, so that a slow spell of the
machine meets all of them. From these follows the time of a step in a run that acts as often as the
shipped config says. What the figures of evaluations take, such as a feature network's, stands
apart, since it is the user's choice how much is measured.

A growing network is measured at its last resolution, where it takes most of its time. A run
overlaps actions with steps, and the measurement does not: it counts an action in full. On a busy
machine `--processor` counts the processor's seconds of all threads in place of the clock's.
"""

import argparse
import contextlib
import io
import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from unittest import mock

import jax

from experiments.benchmarks.ours import Ours, load
from experiments.benchmarks.rows import LOOPS
from experiments.tools import arguments
from experiments.tools.configs import named
from ganjax.config import AUTO
from ganjax.configs import override
from ganjax.metrics.fields import NO_FIGURE
from ganjax.runtime import compiling, huge_pages
from ganjax.training import loop, setup
from ganjax.training.actions import Action, Checkpoint, Evaluation, Pictures, Snapshot

# The approximate seconds of a stretch, and its smallest and largest number of steps. A run that
# chooses the number of steps in a dispatch has done so within the smallest.
STRETCH_SECONDS, SHORTEST, LONGEST = 1.5, 15, 400
# The parts of a loop's step besides a stretch's, by the action that each is of.
PARTS = {Pictures: "pictures", Evaluation: "evaluation", Checkpoint: "checkpoints"}
FIGURES = "figures"


class Stopwatch:
    """Takes the place of the loop's `perform`, and times what the loop does.

    Args:
      bare: the bare step.
      now: the clock.

    Attributes:
      seconds: for "stretch" and "bare" the seconds of a step of each stretch but the first, which
        compiles, and for each part of the loop those of each time.
    """

    def __init__(self, bare: Ours, now: Callable[[], float]):
        self._bare, self._now = bare, now
        self._step, self._begin = 0, 0.0
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def perform(self, actions: Iterable[Action], snapshot: Snapshot) -> None:
        """Performs the actions that are due, after which it takes bare steps."""
        due = [each for each in actions if each.is_due(snapshot.step, snapshot.phase)]
        if not due:
            return
        jax.block_until_ready(snapshot.state)
        count, warm = snapshot.step - self._step, self._step > 0
        if warm:
            self.seconds["stretch"].append((self._now() - self._begin) / count)
        for action in due:
            begin, before = self._now(), sum(self.seconds[FIGURES])
            action(snapshot)
            outputs = vars(action)["_outputs"]
            outputs.pending.write()
            outputs.checkpoints.wait()
            figures = sum(self.seconds[FIGURES]) - before
            self.seconds[PARTS[type(action)]].append(self._now() - begin - figures)
        begin = self._now()
        self._bare.advance(count)
        if warm:
            self.seconds["bare"].append((self._now() - begin) / count)
        self._step, self._begin = snapshot.step, self._now()

    def figures(self, measure: Callable) -> Callable:
        """Returns the function of an evaluation that measures its figures, timed."""

        def timed(action: Evaluation, snapshot: Snapshot, index: int) -> dict[str, float]:
            jax.block_until_ready(snapshot.state)
            begin = self._now()
            found = measure(action, snapshot, index)
            self.seconds[FIGURES].append(self._now() - begin)
            return found

        return timed


def measure(
    config: str, fields: dict, rounds: int = 4, processor: bool = False, cache: str = ""
) -> dict:
    """Measures the loop of a shipped config; called as a job.

    Args:
      config: the name of a file of configs/, with :<preset> after it for a preset.
      fields: values for some of its fields.
      rounds: the number of stretches that count.
      processor: whether seconds are the processor's, of all threads.
      cache: the folder of a cache of programs, by which the run finds the bare step compiled.

    Returns:
      The seconds of a step: `bare`; `stretch`, with data and logging; `parts`, what each other part
      of the loop adds on average at the config's cadence; and `ratio`, of all but the figures to
      the bare step.
    """
    if cache:
        compiling.keep_programs(cache)
    bare = Ours(load(config, **fields))
    bare.advance(3)
    raw = named(config)
    override(raw, fields, f"config={config}")
    together = raw.steps_per_dispatch
    count = stretch_of(bare.advance, 1 if together == AUTO else together)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        rates = often(setup.prepare(raw, Path(folder) / "never"))
        raw.total_steps, raw.total_epochs = (rounds + 1) * count, 0.0
        for name in ("sample", "eval", "checkpoint"):
            raw[f"{name}_every"], raw[f"{name}_every_epochs"] = count, 0.0
        raw.log_every = min(raw.log_every, count)
        watch = Stopwatch(bare, time.process_time if processor else time.perf_counter)
        with (
            mock.patch.object(loop, "perform", watch.perform),
            mock.patch.object(Evaluation, "_figures", watch.figures(Evaluation._figures)),
        ):
            loop.train(raw, Path(folder) / "run")
    seconds = watch.seconds
    rates[FIGURES] = rates["evaluation"]
    # The first time of each compiles.
    parts = {name: median(seconds[name][1:]) * rate for name, rate in rates.items()}
    steps = {name: median(seconds[name]) for name in ("bare", "stretch")}
    ratios = [a / b for a, b in zip(seconds["stretch"], seconds["bare"], strict=True)]
    actions = sum(value for name, value in parts.items() if name != FIGURES)
    return steps | {"parts": parts, "ratio": median(ratios) + actions / steps["bare"]}


def stretch_of(advance: Callable[[int], object], together: int = 1) -> int:
    """Returns the number of steps of a stretch.

    Args:
      advance: takes a number of bare steps.
      together: the number of steps in a dispatch, of which a stretch has whole ones.
    """
    begin = time.perf_counter()
    advance(3)
    count = STRETCH_SECONDS * 3 / (time.perf_counter() - begin)
    return math.ceil(min(max(count, SHORTEST), LONGEST) / together) * together


def often(run: setup.Run) -> dict[str, float]:
    """Returns how often each part of a run's loop comes, for each step of its last phase."""
    phase = run.algorithm.phases[-1]
    sample, evaluate, save = (
        getattr(run.cadences, name).of(phase).steps for name in ("sample", "eval", "checkpoint")
    )
    saves = 1 / save
    if run.config.evaluation.best != NO_FIGURE:  # An evaluation is followed by a checkpoint.
        saves += 1 / evaluate - 1 / math.lcm(save, evaluate)
    return {"pictures": 1 / sample, "evaluation": 1 / evaluate, "checkpoints": saves}


def shares(found: dict) -> dict[str, float]:
    """Returns the result of `measure` as shares of the bare step, by the names of the parts."""
    bare = found["bare"]
    parts = {name: value / bare for name, value in found["parts"].items()}
    return {"data and logging": found["stretch"] / bare - 1} | parts


def line(found: dict) -> str:
    """Returns the result of `measure` as text."""
    bare, parts = found["bare"], shares(found)
    figures = parts.pop(FIGURES, None)
    texts = ", ".join(f"{name} {100 * share:.1f} %" for name, share in parts.items())
    text = f"bare {1e3 * bare:.4g} ms a step, the loop {found['ratio']:.3f} of it ({texts})"
    return text if figures is None else f"{text}; beside it figures {100 * figures:.1f} %"


def flags(description: str) -> argparse.ArgumentParser:
    """Returns the parser of the flags of a command that measures a loop."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--config", default="wgan_gp", help="<name>[:<preset>] of configs/")
    parser.add_argument("--rounds", type=arguments.count, default=4)
    parser.add_argument(
        "--processor", action="store_true", help="counts the processor's seconds, not the clock's"
    )
    return parser


def main() -> None:
    args = flags(str(__doc__)).parse_args()
    with tempfile.TemporaryDirectory() as cache:
        print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
        fields = LOOPS.get(args.config.partition(":")[0], {})
        print(line(measure(args.config, fields, args.rounds, args.processor, cache)))


if __name__ == "__main__":
    huge_pages.restart()
    main()
