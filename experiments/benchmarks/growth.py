"""What growing buys: a run's cost resolution by resolution, beside no growing at all.

    python -m experiments.benchmarks.growth --config=progan
    python -m experiments.benchmarks.growth --config=progan:celeb_a_hq_1024 --compile

Timed, each resolution's bare step on random images, and that of the same networks at full
resolution from the start for as many reals: images a second, and the share of the run. With
--compile nothing is computed: each resolution's step is compiled for its shapes, and its FLOPs
and memory are XLA's own count for this machine's backend.
"""

import argparse
import runpy
import time
from functools import partial
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np

import ganjax.config
from ganjax.algorithms.base import Algorithm
from ganjax.phases import Phase
from ganjax.step import donated, init_state, make_train_step

CONFIGS = Path(__file__).parents[2] / "configs"


def load(name: str, **fields) -> tuple[ganjax.config.RunConfig, Algorithm]:
    name, _, preset = name.partition(":")
    raw = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](preset)
    raw.update_from_flattened_dict(fields)
    config, module = ganjax.config.load(raw)
    return config, module.build(config)


def shapes(config: ganjax.config.RunConfig, algorithm: Algorithm, phase: Phase):
    """Of a step's batch, without memory behind them."""
    size, count = phase.image_size, (algorithm.reals_per_step, phase.batch_size)
    return {
        "image": jax.ShapeDtypeStruct((*count, size, size, config.data.channels), jnp.uint8),
        "label": jax.ShapeDtypeStruct(count, jnp.int32),
    }


def step_of(algorithm: Algorithm):
    step = make_train_step(algorithm, unroll=jax.default_backend() == "cpu")
    return jax.jit(step, static_argnames="phase", donate_argnames=donated())


def compiled(name: str, only: list[int]) -> None:
    config, algorithm = load(name)
    key = jax.random.key(0)
    state = jax.eval_shape(partial(init_state, algorithm), key)
    for player in ("g", "d"):
        count = sum(leaf.size for leaf in jax.tree.leaves(getattr(state, player).params))
        print(f"{player}: {count:,} parameters")
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    print(f"state (both players, moments, average): {held / 2**30:.2f} GiB")
    step = step_of(algorithm)
    print("| resolution | batch | GFLOP a step | GFLOP an image | activations, GiB | compiled in |")
    print("|---|---|---|---|---|---|")
    for phase in algorithm.phases:
        if only and phase.image_size not in only:
            continue
        start = time.perf_counter()
        lowered = step.lower(state, shapes(config, algorithm, phase), key, phase=phase)
        program = lowered.compile()
        seconds = time.perf_counter() - start
        # XLA's CPU counts no product that it hands to a library: before that it does.
        flops = lowered.cost_analysis()["flops"] / 1e9
        memory = program.memory_analysis().temp_size_in_bytes / 2**30
        size = phase.image_size
        print(
            f"| {size}x{size} | {phase.batch_size} | {flops:,.1f} | "
            f"{flops / phase.batch_size:,.2f} | {memory:.2f} | {seconds:.0f} s |",
            flush=True,
        )


def seconds_a_step(config, algorithm: Algorithm, count: int) -> dict[Phase, float]:
    """The median of `count` steps of each phase, compiled before."""
    key, step, random = jax.random.key(0), step_of(algorithm), np.random.RandomState(0)
    state = jax.jit(partial(init_state, algorithm))(key)
    found = {}
    for phase in algorithm.phases:
        batch = {
            name: jax.device_put(random.randint(0, 2, leaf.shape).astype(leaf.dtype))
            for name, leaf in shapes(config, algorithm, phase).items()
        }
        times = []
        for _ in range(count + 1):
            start = time.perf_counter()
            state, _ = step(state, batch, key, phase=phase)
            jax.block_until_ready(state)
            times.append(time.perf_counter() - start)
        found[phase] = median(times[1:])
    return found


def timed(name: str, count: int) -> None:
    config, algorithm = load(name)
    grown = seconds_a_step(config, algorithm, count)
    whole = {"growth.batch_sizes": (), "growth.learning_rates": ()}
    (phase, at_full), *_ = seconds_a_step(*load(name, **whole), count).items()
    spent = {phase: (phase.stop - phase.start) * a_step for phase, a_step in grown.items()}
    total, reals = sum(spent.values()), 0
    print("| resolution | batch | images/s | reals | seconds | share of time |")
    print("|---|---|---|---|---|---|")
    for each, a_step in grown.items():
        seen = (each.stop - each.start) * each.batch_size * algorithm.n_critic
        reals += seen
        print(
            f"| {each.image_size}x{each.image_size} | {each.batch_size} | "
            f"{each.batch_size * algorithm.n_critic / a_step:,.0f} | {seen:,} | "
            f"{spent[each]:,.0f} | {spent[each] / total:.0%} |"
        )
    rate = phase.batch_size * algorithm.n_critic / at_full
    print(f"| grown | | {reals / total:,.0f} | {reals:,} | {total:,.0f} | 100% |")
    print(
        f"| {phase.image_size}x{phase.image_size} from the start | {phase.batch_size} | "
        f"{rate:,.0f} | {reals:,} | {reals / rate:,.0f} | {reals / rate / total:.0%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="progan", help="a file of configs/[:preset] that grows")
    parser.add_argument("--steps", type=int, default=10, help="timed at each resolution")
    parser.add_argument("--compile", action="store_true", help="count FLOPs and memory instead")
    parser.add_argument("--only", type=int, nargs="+", default=[], help="--compile: resolutions")
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, {args.config}")
    if args.compile:
        compiled(args.config, args.only)
    else:
        timed(args.config, args.steps)


if __name__ == "__main__":
    main()
