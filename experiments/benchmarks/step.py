"""Seconds a train step takes: ganjax beside PyTorch, on CPU (gpu.py compares on a GPU).

    python -m experiments.benchmarks.step --config=wgan_gp --rounds=12
    python -m experiments.benchmarks.step --config=dcgan:celeb_a --batch_size=32
    python -m experiments.benchmarks.step --config=cgan --rounds=12
    python -m experiments.benchmarks.step --config=dcgan --set latent_dim=64 g_optimiser.b1=0.0
    python -m experiments.benchmarks.step --config=progan --batch_size=32 \\
        --set 'growth.batch_sizes=()' 'growth.learning_rates=()' ema.half_life=0 ema.ramp_up=0.0

Each contender has a process of its own (contender.py). They take turns in runs of a few steps, so
that a slow spell meets all of them. It does not meet them alike: beside busy neighbours on its two
cores PyTorch was once slowed sevenfold and ganjax less than twofold, so only an idle machine gives
a ratio to quote. Before the clock starts all are shown to compute the same step, but for dropout,
whose masks each draws its own: it is off for that check and on under the clock.
"""

import argparse
import ast
import contextlib
import os
from collections.abc import Callable
from functools import partial

import jax
import torch

from experiments.benchmarks import job
from experiments.benchmarks.clock import (
    OURS,
    RUN,
    Unequal,
    positive,
    report,
    seconds,
    summary,
    take_turns,
    threads,
)
from experiments.benchmarks.contender import start
from experiments.benchmarks.ours import Ours, Start, load, random_batch
from experiments.benchmarks.torch_cgan import TorchCgan
from experiments.benchmarks.torch_dcgan import TorchDcgan
from experiments.benchmarks.torch_noise import noise_of
from experiments.benchmarks.torch_peer import Peer, require
from experiments.benchmarks.torch_progan import TorchProgan
from experiments.benchmarks.torch_wgan_gp import TorchWganGp
from ganjax.errors import UserError
from ganjax.runtime import huge_pages
from ganjax.training import schema

# By loss and network.
PEERS = {
    ("wasserstein", "dcgan"): TorchWganGp,
    ("non_saturating", "dcgan"): TorchDcgan,
    ("non_saturating", "mlp"): TorchCgan,
    ("wasserstein", "progan"): TorchProgan,
}
# Of the metrics of a step in float64, relative.
TOLERANCE = 1e-4


def kind(config: schema.RunConfig) -> type[Peer]:
    """PyTorch's form of a config.

    Raises:
      UserError: there is none, or it lacks what the config asks for.
    """
    found = PEERS.get((config.loss, config.discriminator.network))
    if found is None:
        known = "; ".join(" with ".join(pair) for pair in PEERS)
        raise UserError(
            f"config.loss={config.loss!r} with config.discriminator.network="
            f"{config.discriminator.network!r}: PyTorch has no peer for it, but for {known}"
        )
    require(config, found.IMPLEMENTS)
    return found


def contenders(config: schema.RunConfig, device: str = "cpu") -> dict[str, dict]:
    """PyTorch's forms of a config by name, and their options of `Peer`."""
    found = {"torch eager": {}}
    if config.discriminator.network == "mlp":  # Dense layers have no layout to choose.
        return found | {"torch compiled": {"compiled": True}}
    found["torch channels_last"] = {"channels_last": True}
    # torch.compile cannot differentiate twice, as WGAN-GP does.
    if device == "cuda" and not config.penalty.weight:
        found["torch compiled"] = {"compiled": True}
    return found


def device() -> str:
    """PyTorch's name of what JAX computes on.

    Raises:
      UserError: it has none.
    """
    names = {"cpu": "cpu", "gpu": "cuda"}
    if jax.default_backend() not in names:
        raise UserError(f"JAX is on {jax.default_backend()}: PyTorch is compared on CPU or GPU")
    return names[jax.default_backend()]


def peers(
    ours: Start, dtype: torch.dtype = torch.float32, only: list[str] | None = None
) -> dict[str, Peer]:
    """PyTorch's contenders (or `only` some) with the weights of a state of ours."""
    models, place = {}, device()
    for name, options in contenders(ours.config, place).items():
        if only is None or name in only:
            peer = kind(ours.config)(ours.config, dtype=dtype, device=place, **options)
            peer.load(ours.state)
            models[name] = peer
    return models


def check_equal(config: str, fields: dict, only: list[str] | None = None) -> dict[str, float]:
    """Checks that one step from the same weights and noise gives the same metrics.

    In float64, since a step is not continuous: rounding decides on which side of LeakyReLU's
    kink an activation near 0 falls, and which sign Adam's first update of a parameter with
    a gradient near 0 has. In float32, g_loss of WGAN-GP, near 0, so differs by up to 1e-2.

    Returns:
      Contender -> the largest relative difference of a metric.

    Raises:
      Unequal: one is above the tolerance.
    """
    rates = ("dropout", "final_dropout")
    discriminator = load(config, **fields).config.discriminator
    still = {f"discriminator.{name}": 0.0 for name in rates if hasattr(discriminator, name)}
    with jax.enable_x64(True):
        ours = Ours(load(config, **fields | still | {"batch_size": 8}), "float64")
        models = peers(ours, torch.float64, only)
        noise = noise_of(ours.config, ours.algorithm, ours.key, 0, 8)
        expected = ours.step()
    found = {}
    for name, peer in models.items():
        got = peer.step(ours.batch, noise)
        # Relative, but of an accuracy of 0.
        errors = {
            metric: abs(got[metric] - value) / (abs(value) or 1)
            for metric, value in expected.items()
        }
        metric = max(errors, key=errors.get)
        print(f"one step of {name}: equal to {errors[metric]:.1e} ({metric})")
        # Not "above the tolerance": NaN is neither.
        if not errors[metric] < TOLERANCE:
            raise Unequal(f"{name}: {metric} is {got[metric]}, ours is {expected[metric]}")
        found[name] = errors[metric]
    return found


def compare(
    config: str,
    fields: dict,
    rounds: int,
    only: list[str] | None = None,
    checked: bool = True,
) -> dict:
    """Seconds a step of ganjax and of PyTorch's contenders.

    Args:
      config: as in `experiments.benchmarks.ours.load`.
      fields: likewise.
      rounds: in which each has a turn.
      only: names of contenders, instead of all.
      checked: whether both are shown to compute the same before.

    Returns:
      `experiments.benchmarks.clock.summary`, with `batch_size` and, if `checked`, the
      `difference` that `check_equal` returns.

    Raises:
      UserError: there is no such config, PyTorch has no peer of it, or JAX is not on CPU.
      job.Failed: they do not compute the same, or a process ended.
    """
    loaded = load(config, **fields)
    kind(loaded.config)  # Else refused before anything is compiled.
    if device() != "cpu":
        raise UserError("JAX is on a GPU: use experiments.benchmarks.gpu, or JAX_PLATFORMS=cpu")
    which = {"config": config, "fields": fields}
    found = {"difference": job.run("step.check_equal", **which, only=only)} if checked else {}
    names = [OURS, *(name for name in contenders(loaded.config) if only is None or name in only)]
    print(f"{config}, batch size {loaded.config.batch_size}, {rounds} rounds of {RUN}", flush=True)
    with contextlib.ExitStack() as stack:
        runs = {
            name: stack.enter_context(start("step.contender", **which, name=name)).steps
            for name in names
        }
        times = take_turns(runs, rounds)
    return found | {"batch_size": loaded.config.batch_size} | summary(times)


def contender(config: str, fields: dict, name: str) -> Callable[[], object]:
    """The step of `OURS` or of PyTorch's contender `name`, in the process that is to time it."""
    loaded = load(config, **fields)
    if name == OURS:
        ours = Ours(loaded)
        print(f"{OURS}: compiled in {ours.compile_seconds:.2f} s", end=", ")
        print(f"first step after it {seconds(ours.step):.3f} s", flush=True)
        return ours.step
    return alone(loaded, name)


def alone(loaded: schema.Loaded, name: str) -> Callable[[], object]:
    """The step of PyTorch's contender at its own weights: nothing is computed in JAX for it."""
    torch.set_num_threads(threads())  # As many as XLA takes.
    peer = kind(loaded.config)(loaded.config, **contenders(loaded.config)[name])
    algorithm = loaded.module.build(loaded.config)
    return partial(peer.step, random_batch(loaded.config, algorithm.reals_per_step))


def assignment(text: str) -> tuple[str, object]:
    """Text "field=value" -> (field, value), the value a Python literal or else a string."""
    field, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not field=value")
    try:
        return field, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return field, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="wgan_gp", help="a file of configs/[:preset]")
    parser.add_argument("--rounds", type=positive, default=12)
    parser.add_argument("--batch_size", type=positive, help="instead of the config's")
    parser.add_argument(
        "--set", type=assignment, nargs="+", default=[], metavar="field=value", help="dotted names"
    )
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, torch {torch.__version__}")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
    fields = dict(args.set) | ({"batch_size": args.batch_size} if args.batch_size else {})
    try:
        report(compare(args.config, fields, args.rounds))
    except (UserError, job.Failed) as error:
        parser.error(str(error))


if __name__ == "__main__":
    huge_pages.restart()
    main()
