"""What the loop costs: a whole run beside its bare train step, on the shipped WGAN-GP.

    python -m experiments.benchmarks.loop

A run with data, logging, samples, evaluation and checkpoints at the shipped cadence, of two
lengths: the difference, a step, is free of start and end. Beside it the bare compiled step on
one constant batch. They take turns.
"""

import argparse
import contextlib
import io
import os
import runpy
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import jax
import numpy as np

import ganjax.config
from ganjax.step import donated, init_state, make_train_step
from ganjax.train import train

CONFIG = Path(__file__).parents[2] / "configs" / "wgan_gp.py"
# Steps of the shorter run.
START = 20


def run_seconds(steps: int) -> float:
    """Seconds of a whole run of `steps`, start and end included."""
    raw = runpy.run_path(str(CONFIG))["get_config"]()
    raw.total_steps = steps
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        train(raw, folder)
        return time.perf_counter() - start


def bare_step():
    """count -> seconds a step of the compiled step alone, over `count` steps."""
    config, module = ganjax.config.load(runpy.run_path(str(CONFIG))["get_config"]())
    algorithm = module.build(config)
    key = jax.random.key(0)
    state = jax.jit(partial(init_state, algorithm))(key)
    size = (algorithm.reals_per_step, config.batch_size, config.image_size, config.image_size, 1)
    batch = jax.device_put(
        {
            "image": np.random.RandomState(0).randint(0, 256, size, np.uint8),
            "label": np.zeros(size[:2], np.int32),
        }
    )
    unroll = jax.default_backend() == "cpu"
    step = jax.jit(
        make_train_step(algorithm, unroll=unroll),
        static_argnames="phase",
        donate_argnames=donated(),
    )

    def seconds(count: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(count):
            state, _ = step(state, batch, key, phase=algorithm.phases[0])
        jax.block_until_ready(state)
        return (time.perf_counter() - start) / count

    seconds(2)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="steps that a round measures")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        # So that both lengths find the program compiled.
        jax.config.update("jax_compilation_cache_dir", cache)
        bare = bare_step()
        run_seconds(START)
        print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
        ratios = []
        for _ in range(args.rounds):
            before = bare(args.steps // 2)
            short = run_seconds(START)
            loop = (run_seconds(START + args.steps) - short) / args.steps
            alone = (before + bare(args.steps // 2)) / 2
            ratios.append(loop / alone)
            print(f"loop {loop:.4f} s a step, bare {alone:.4f} s: {loop / alone:.3f}", flush=True)
    print(f"loop / bare: {median(ratios):.3f} (median of {args.rounds} rounds)")


if __name__ == "__main__":
    main()
