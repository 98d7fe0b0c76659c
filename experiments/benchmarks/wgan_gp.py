"""Seconds a train step of WGAN-GP takes: ganjax beside eager PyTorch, on CPU.

    python -m experiments.benchmarks.wgan_gp --config=default --rounds=30

One process, the contenders taking turns step by step, so that whatever else the machine does
meets all of them. Before the clock starts both are shown to compute the same step.
"""

import argparse
import os
import runpy
import time
from pathlib import Path
from statistics import median

import jax
import numpy as np
import torch

import ganjax.config
from experiments.benchmarks.torch_wgan_gp import TorchWganGp, load_from_jax, noise_of
from ganjax.step import init_state, make_train_step

CONFIG = Path(__file__).parents[2] / "configs" / "wgan_gp.py"
OURS, EAGER, CHANNELS_LAST = "ganjax", "torch eager", "torch channels_last"
# Whether each PyTorch contender is channels_last.
PEERS = {EAGER: False, CHANNELS_LAST: True}


def load(preset: str, batch_size: int | None) -> ganjax.config.Loaded:
    raw = runpy.run_path(str(CONFIG))["get_config"]("" if preset == "default" else preset)
    raw.batch_size = batch_size or raw.batch_size
    return ganjax.config.load(raw)


class Ours:
    """ganjax's train step, compiled ahead so that compiling is timed alone."""

    def __init__(self, loaded: ganjax.config.Loaded):
        self.config = loaded.config
        self.algorithm = loaded.module.build(loaded.config)
        self.key = jax.random.key(loaded.config.seed)
        self.state = init_state(self.algorithm, self.key)
        size = self.config.image_size
        shape = (self.algorithm.reals_per_step, self.config.batch_size, size, size)
        self.images = np.random.RandomState(0).randint(
            0, 256, (*shape, self.config.data.channels), np.uint8
        )
        self.batch = jax.device_put({"image": self.images})
        start = time.perf_counter()
        step = make_train_step(self.algorithm, unroll=jax.default_backend() == "cpu")
        step = jax.jit(step, static_argnames="phase", donate_argnames="state")
        phase = self.algorithm.phases[0]
        self.compiled = step.lower(self.state, self.batch, self.key, phase=phase).compile()
        self.compile_seconds = time.perf_counter() - start

    def peer(self, channels_last: bool) -> TorchWganGp:
        """PyTorch's contender with the weights of the present state."""
        model = TorchWganGp(self.config, channels_last)
        load_from_jax(model, self.state)
        return model

    def step(self) -> dict[str, float]:
        self.state, metrics = self.compiled(self.state, self.batch, self.key)
        jax.block_until_ready(self.state)
        return {name: value.item() for name, value in metrics.items()}


def check_equal(preset: str) -> None:
    """Asserts that one step from the same weights and noise gives the same losses."""
    ours = Ours(load(preset, batch_size=8))
    peers = {name: ours.peer(channels_last) for name, channels_last in PEERS.items()}
    noise = noise_of(ours.algorithm, ours.key, 0, 8)
    expected = ours.step()
    for name, peer in peers.items():
        got = peer.step(ours.images, noise)
        for metric in ("d_loss", "c_gp", "g_loss"):
            np.testing.assert_allclose(
                got[metric], expected[metric], rtol=1e-4, err_msg=f"{metric} of {name}"
            )
            print(f"equal at batch 8: {metric} {expected[metric]:.7g} {got[metric]:.7g} {name}")


def seconds(step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(ours: Ours, rounds: int) -> dict[str, list[float]]:
    """Contender -> seconds of its step in each round, all warmed up before."""
    steps = {OURS: ours.step}
    for name, channels_last in PEERS.items():
        peer = ours.peer(channels_last)
        steps[name] = lambda peer=peer: peer.step(ours.images)
    print(f"{OURS}: compiled in {ours.compile_seconds:.2f} s", end=", ")
    print(f"first step after it {seconds(ours.step):.3f} s")
    for _ in range(2):
        for step in steps.values():
            step()
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step))
    return times


def report(times: dict[str, list[float]]) -> None:
    for name, values in times.items():
        print(
            f"{name}: median {median(values):.4f} s a step ({min(values):.4f}..{max(values):.4f})"
        )
    for name in PEERS:
        of_medians = median(times[OURS]) / median(times[name])
        of_rounds = median(a / b for a, b in zip(times[OURS], times[name], strict=True))
        print(f"{OURS} / {name}: {of_medians:.3f} of medians, {of_rounds:.3f} median of rounds")


def set_threads() -> None:
    """Gives PyTorch as many threads as XLA takes, and prints what both have."""
    # XLA takes one for each core that the process may run on.
    torch.set_num_threads(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    jax.block_until_ready(jax.numpy.zeros(()))
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    print(f"threads: torch {torch.get_num_threads()}, XLA {names.count('tf_XLAEigen')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="default", help="default, or a preset (celeb_a)")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch_size", type=int, help="instead of the config's")
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, torch {torch.__version__}")
    set_threads()
    check_equal(args.config)
    ours = Ours(load(args.config, args.batch_size))
    print(f"{args.config}, batch size {ours.config.batch_size}, {args.rounds} rounds")
    report(measure(ours, args.rounds))


if __name__ == "__main__":
    main()
