"""Measures the time that growing saves: a run's cost at each resolution, and without growth.

    python -m experiments.benchmarks.growth --config=progan

The command times the bare step of each resolution on random images, and that of the same networks
at full resolution from the start. It prints images a second, and each resolution's share of the
time of a run of as many reals. (`python -m ganjax.main --dry_run` prints FLOPs and memory of each
without computing anything.)
"""

import argparse
import time
from functools import partial
from statistics import median
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.ours import load, train_step
from experiments.tools import arguments
from ganjax.engine.phases import Phase
from ganjax.engine.step import init_state
from ganjax.errors import UserError
from ganjax.planning.dry_run import batch_shapes
from ganjax.runtime import huge_pages
from ganjax.training.images import Images
from ganjax.training.schema import Loaded


def seconds_a_step(loaded: Loaded, count: int) -> dict[Phase, float]:
    """Times `count` steps of each phase and returns the median seconds, without compilation."""
    algorithm = loaded.module.build(loaded.config)
    key, step, random = jax.random.key(0), train_step(algorithm), np.random.RandomState(0)
    state = jax.jit(partial(init_state, algorithm))(key)
    medians = {}
    for phase in algorithm.phases:
        batch = {
            name: jax.device_put(random.randint(0, 2, leaf.shape).astype(leaf.dtype))
            for name, leaf in batch_shapes(Images(loaded.config), algorithm, phase).items()
        }
        times = []
        for _ in range(count + 1):
            start = time.perf_counter()
            state, _ = step(state, batch, key, phase=phase)
            jax.block_until_ready(state)
            times.append(time.perf_counter() - start)
        medians[phase] = median(times[1:])
    return medians


def timed(name: str, count: int) -> None:
    """Times `count` steps of each phase of a config and prints the table."""
    whole = {"growth.batch_sizes": (), "growth.learning_rates": ()}
    growing, whole = load(name), load(name, **whole)
    config: Any = growing.config  # Its fields are those of the algorithm.
    n_critic = config.n_critic
    grown = seconds_a_step(growing, count)
    ((phase, at_full),) = seconds_a_step(whole, count).items()
    spent = {phase: (phase.stop - phase.start) * a_step for phase, a_step in grown.items()}
    total, reals = sum(spent.values()), 0
    print("| resolution | batch | images/s | reals | seconds | share of time |")
    print("|---|---|---|---|---|---|")
    for each, a_step in grown.items():
        seen = (each.stop - each.start) * each.batch_size * n_critic
        reals += seen
        print(
            f"| {each.image_size}x{each.image_size} | {each.batch_size} | "
            f"{each.batch_size * n_critic / a_step:,.0f} | {seen:,} | "
            f"{spent[each]:,.0f} | {spent[each] / total:.0%} |"
        )
    rate = phase.batch_size * n_critic / at_full
    print(f"| grown | | {reals / total:,.0f} | {reals:,} | {total:,.0f} | 100% |")
    print(
        f"| {phase.image_size}x{phase.image_size} from the start | {phase.batch_size} | "
        f"{rate:,.0f} | {reals:,} | {reals / rate:,.0f} | {reals / rate / total:.0%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--config", default="progan", help="<name>[:<preset>] of a growing config")
    parser.add_argument(
        "--steps", type=arguments.count, default=10, help="timed steps at each resolution"
    )
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, {args.config}")
    try:
        timed(args.config, args.steps)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    huge_pages.restart()
    main()
