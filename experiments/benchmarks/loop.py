"""Measures the time that the training loop adds to its bare train step, on the shipped WGAN-GP.

    python -m experiments.benchmarks.loop

Whole runs with data, logging, samples, evaluation and checkpoints as often as in the shipped config
are timed at two lengths. Their difference, which is free of a run's start and end, is compared with
the bare compiled step on one constant batch. The two alternate.
"""

import argparse
import contextlib
import io
import os
import tempfile
from statistics import median

import jax

from experiments.benchmarks.clock import seconds
from experiments.benchmarks.ours import Ours, load
from experiments.tools import arguments
from experiments.tools.configs import named
from ganjax.runtime import huge_pages
from ganjax.training.loop import train

CONFIG = "wgan_gp"
# The number of steps of the shorter run.
START = 20


def run_seconds(steps: int) -> float:
    """Trains for a number of steps and returns the seconds of the whole run."""
    raw = named(CONFIG)
    raw.total_steps = steps
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        return seconds(lambda: train(raw, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--steps", type=arguments.count, default=200, help="the steps that a round measures"
    )
    parser.add_argument("--rounds", type=arguments.count, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        # Runs of both lengths find the program compiled.
        jax.config.update("jax_compilation_cache_dir", cache)
        bare = Ours(load(CONFIG))
        bare.advance(2)
        half = max(1, args.steps // 2)
        run_seconds(START)
        print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
        ratios = []
        for _ in range(args.rounds):
            before = seconds(lambda: bare.advance(half))
            short = run_seconds(START)
            loop = (run_seconds(START + args.steps) - short) / args.steps
            alone = (before + seconds(lambda: bare.advance(half))) / (2 * half)
            ratios.append(loop / alone)
            print(f"loop {loop:.4f} s a step, bare {alone:.4f} s: {loop / alone:.3f}", flush=True)
    print(f"loop / bare: {median(ratios):.3f} (median of {args.rounds} rounds)")


if __name__ == "__main__":
    huge_pages.restart()
    main()
