"""Seconds a train step takes: ganjax beside PyTorch, on CPU.

    python -m experiments.benchmarks.step --config=wgan_gp --rounds=12
    python -m experiments.benchmarks.step --config=dcgan:celeb_a --batch_size=32
    python -m experiments.benchmarks.step --config=cgan --rounds=12
    python -m experiments.benchmarks.step --config=dcgan --set latent_dim=64 g_optimiser.b1=0.0
    python -m experiments.benchmarks.step --config=progan --batch_size=32 \\
        --set 'growth.batch_sizes=()' 'growth.learning_rates=()' ema.half_life=0 ema.ramp_up=0.0

One process, the contenders taking turns in runs of a few steps, so that a slow spell meets all
of them. It does not meet them alike: beside busy neighbours on its two cores PyTorch was once
slowed sevenfold and ganjax less than twofold, so only an idle machine gives a ratio to quote.
Before the clock starts all are shown to compute the same step, but for dropout, whose masks
each draws its own: it is off for that check and on under the clock.
"""

import argparse
import ast
import os
import runpy
import time
from functools import partial
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import torch

import ganjax.config
from experiments.benchmarks.torch_cgan import TorchCgan
from experiments.benchmarks.torch_dcgan import TorchDcgan
from experiments.benchmarks.torch_noise import noise_of
from experiments.benchmarks.torch_peer import Peer
from experiments.benchmarks.torch_progan import TorchProgan
from experiments.benchmarks.torch_wgan_gp import TorchWganGp
from ganjax.step import donated, init_state, make_train_step

CONFIGS = Path(__file__).parents[2] / "configs"
# By loss and network; each refuses what else it does not implement.
PEERS = {
    ("wasserstein", "dcgan"): TorchWganGp,
    ("non_saturating", "dcgan"): TorchDcgan,
    ("non_saturating", "mlp"): TorchCgan,
    ("wasserstein", "progan"): TorchProgan,
}
OURS = "ganjax"
# By network, PyTorch's contenders and their options. Dense layers have no layout to choose;
# torch.compile cannot differentiate twice, as WGAN-GP does.
CONTENDERS = {
    "dcgan": {"torch eager": {}, "torch channels_last": {"channels_last": True}},
    "progan": {"torch eager": {}, "torch channels_last": {"channels_last": True}},
    "mlp": {"torch eager": {}, "torch compiled": {"compiled": True}},
}
# Steps in a row of one contender.
RUN = 5


def load(args: argparse.Namespace, **fields) -> ganjax.config.Loaded:
    """The shipped config that args name, with `fields` (by dotted names) instead of its own."""
    name, _, preset = args.config.partition(":")
    raw = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](preset)
    raw.update_from_flattened_dict(dict(args.set) | fields)
    return ganjax.config.load(raw)


def assignment(text: str) -> tuple[str, object]:
    """Text "field=value" -> (field, value), the value a Python literal or else a string."""
    field, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not field=value")
    try:
        return field, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return field, value


class Ours:
    """ganjax's train step, compiled ahead so that compiling is timed alone.

    Args:
      loaded: the config.
      dtype: of the parameters.
    """

    def __init__(self, loaded: ganjax.config.Loaded, dtype: str = "float32"):
        self.config = loaded.config
        self.algorithm = loaded.module.build(loaded.config)
        self.key = jax.random.key(loaded.config.seed)
        self.state = jax.tree.map(
            lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
            jax.jit(partial(init_state, self.algorithm))(self.key),
        )
        size = self.config.image_size
        shape = (self.algorithm.reals_per_step, self.config.batch_size, size, size)
        random, channels = np.random.RandomState(0), self.config.data.channels
        self.batch = {
            "image": random.randint(0, 256, (*shape, channels), np.uint8),
            "label": random.randint(0, self.config.data.num_classes, shape[:2], np.int32),
        }
        self._on_device = jax.device_put(self.batch)
        start = time.perf_counter()
        step = make_train_step(self.algorithm, unroll=jax.default_backend() == "cpu")
        step = jax.jit(step, static_argnames="phase", donate_argnames=donated())
        phase = self.algorithm.phases[0]
        self.compiled = step.lower(self.state, self._on_device, self.key, phase=phase).compile()
        self.compile_seconds = time.perf_counter() - start

    def peers(self, dtype: torch.dtype = torch.float32) -> dict[str, Peer]:
        """PyTorch's contenders with the weights of the present state."""
        network = self.config.discriminator.network
        kind, models = PEERS[self.config.loss, network], {}
        for name, options in CONTENDERS[network].items():
            models[name] = kind(self.config, dtype=dtype, **options)
            models[name].load(self.state)
        return models

    def step(self) -> dict[str, float]:
        self.state, metrics = self.compiled(self.state, self._on_device, self.key)
        jax.block_until_ready(self.state)
        return {name: value.item() for name, value in metrics.items()}


def check_equal(args: argparse.Namespace) -> None:
    """Asserts that one step from the same weights and noise gives the same metrics.

    In float64, since a step is not continuous: rounding decides on which side of LeakyReLU's
    kink an activation near 0 falls, and which sign Adam's first update of a parameter with
    a gradient near 0 has. In float32, g_loss of WGAN-GP, near 0, so differs by up to 1e-2.
    """
    with jax.enable_x64(True):
        rates = ("dropout", "final_dropout")
        has = [name for name in rates if hasattr(load(args).config.discriminator, name)]
        no_dropout = {f"discriminator.{name}": 0.0 for name in has}
        ours = Ours(load(args, batch_size=8, **no_dropout), "float64")
        peers = ours.peers(torch.float64)
        noise = noise_of(ours.config, ours.algorithm, ours.key, 0, 8)
        expected = ours.step()
    for name, peer in peers.items():
        got = peer.step(ours.batch, noise)
        # Relative, but of an accuracy of 0.
        errors = {
            metric: abs(got[metric] - value) / (abs(value) or 1)
            for metric, value in expected.items()
        }
        metric = max(errors, key=errors.get)
        print(f"one step of {name}: equal to {errors[metric]:.1e} ({metric})")
        assert errors[metric] < 1e-4, (name, expected, got)


def seconds(step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(ours: Ours, rounds: int) -> dict[str, list[float]]:
    """Contender -> median seconds of its steps in each round, all warmed up before."""
    steps = {OURS: ours.step}
    for name, peer in ours.peers().items():
        steps[name] = lambda peer=peer: peer.step(ours.batch)
    print(f"{OURS}: compiled in {ours.compile_seconds:.2f} s", end=", ")
    print(f"first step after it {seconds(ours.step):.3f} s")
    for _ in range(2):
        for step in steps.values():
            step()
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            # In runs: the threads of whoever went before spin for a while after their step.
            times[name].append(median(seconds(step) for _ in range(RUN)))
    return times


def report(times: dict[str, list[float]]) -> None:
    for name, values in times.items():
        print(
            f"{name}: median {median(values):.4f} s a step ({min(values):.4f}..{max(values):.4f})"
        )
    for name in (name for name in times if name != OURS):
        of_medians = median(times[OURS]) / median(times[name])
        of_rounds = median(a / b for a, b in zip(times[OURS], times[name], strict=True))
        of_fastest = min(times[OURS]) / min(times[name])
        print(
            f"{OURS} / {name}: {of_medians:.3f} of medians, {of_rounds:.3f} median of rounds, "
            f"{of_fastest:.3f} of fastest"
        )


def set_threads() -> None:
    """Gives PyTorch as many threads as XLA takes, and prints what both have."""
    # XLA takes one for each core that the process may run on.
    torch.set_num_threads(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    jax.block_until_ready(jnp.zeros(()))
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    print(f"threads: torch {torch.get_num_threads()}, XLA {names.count('tf_XLAEigen')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="wgan_gp", help="a file of configs/[:preset]")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--batch_size", type=int, help="instead of the config's")
    parser.add_argument(
        "--set", type=assignment, nargs="+", default=[], metavar="field=value", help="dotted names"
    )
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, torch {torch.__version__}")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
    set_threads()
    check_equal(args)
    ours = Ours(load(args, **({"batch_size": args.batch_size} if args.batch_size else {})))
    print(f"{args.config}, batch size {ours.config.batch_size}, {args.rounds} rounds of {RUN}")
    report(measure(ours, args.rounds))


if __name__ == "__main__":
    main()
