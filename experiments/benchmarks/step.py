"""Times a train step of ganjax and of PyTorch on CPU (gpu.py compares the two on a GPU).

    python -m experiments.benchmarks.step --config=wgan_gp --rounds=12
    python -m experiments.benchmarks.step --config=dcgan:celeb_a --batch_size=32
    python -m experiments.benchmarks.step --config=cgan --rounds=12
    python -m experiments.benchmarks.step --config=dcgan --set latent_dim=64 g_optimiser.b1=0.0
    python -m experiments.benchmarks.step --config=progan --batch_size=32 \\
        --set 'growth.batch_sizes=()' 'growth.learning_rates=()' ema.half_life=0

Each contender has a process of its own (contender.py). The processes alternate, a few steps at a
time, so that a slow spell of the machine meets all of them; but it may slow one more than another
(docs/speed.md), so only an idle machine gives a ratio to quote. Before the clock starts, all
contenders are shown to compute the same step. Dropout is off in that check, since each contender
draws its own masks, and on under the clock.
"""

import argparse
import ast
import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import torch

from experiments.benchmarks import job
from experiments.benchmarks.clock import (
    OURS,
    RUN,
    Unequal,
    alternate,
    report,
    seconds,
    summary,
    threads,
)
from experiments.benchmarks.contender import start
from experiments.benchmarks.ours import Ours, Start, load, random_batch
from experiments.benchmarks.torch_cgan import TorchCgan
from experiments.benchmarks.torch_dcgan import TorchDcgan
from experiments.benchmarks.torch_noise import noise_of
from experiments.benchmarks.torch_peer import Peer, require
from experiments.benchmarks.torch_progan import TorchProgan
from experiments.benchmarks.torch_r3gan import TorchR3gan
from experiments.benchmarks.torch_wgan_gp import TorchWganGp
from experiments.tools import arguments
from ganjax.errors import UserError
from ganjax.runtime import huge_pages
from ganjax.training import schema

# The peer of each loss and network of D.
PEERS = {
    ("wasserstein", "dcgan"): TorchWganGp,
    ("non_saturating", "dcgan"): TorchDcgan,
    ("non_saturating", "mlp"): TorchCgan,
    ("wasserstein", "progan"): TorchProgan,
    ("relativistic_paired", "r3gan"): TorchR3gan,
}
# The relative tolerance of the metrics of a step in float64.
TOLERANCE = 1e-4


def kind(config: Any) -> type[Peer]:
    """Returns the class of a config's PyTorch peer.

    Raises:
      UserError: there is no such peer, or it does not implement all of the config.
    """
    peer = PEERS.get((config.loss, config.discriminator.network))
    if peer is None:
        names = "; ".join(" with ".join(pair) for pair in PEERS)
        raise UserError(
            f"config.loss={config.loss!r} with config.discriminator.network="
            f"{config.discriminator.network!r}: PyTorch has no peer for it, but for {names}"
        )
    require(config, peer.IMPLEMENTS)
    return peer


def contenders(config: Any, device: str = "cpu") -> dict[str, dict]:
    """Returns the PyTorch contenders of a config, each name with its options of `Peer`."""
    found = {"torch eager": {}}
    if config.discriminator.network == "mlp":  # Dense layers have no layout to choose.
        return found | {"torch compiled": {"compiled": True}}
    found["torch channels_last"] = {"channels_last": True}
    # torch.compile cannot differentiate twice, which a gradient penalty needs.
    penalty = config.penalty
    if device == "cuda" and not (penalty.weight or penalty.r1 or penalty.r2):
        found["torch compiled"] = {"compiled": True}
    return found


def device() -> str:
    """Returns PyTorch's name of the device on which JAX computes.

    Raises:
      UserError: the device is neither a CPU nor a GPU.
    """
    names = {"cpu": "cpu", "gpu": "cuda"}
    if jax.default_backend() not in names:
        raise UserError(f"JAX is on {jax.default_backend()}: PyTorch is compared on CPU or GPU")
    return names[jax.default_backend()]


def peers(
    ours: Start, dtype: torch.dtype = torch.float32, only: list[str] | None = None
) -> dict[str, Peer]:
    """Makes the PyTorch contenders of a step, with the weights of ganjax's state.

    Args:
      ours: ganjax's state and config.
      dtype: the dtype of the parameters and of the computation.
      only: the names of the contenders to make, None for all.
    """
    models, place = {}, device()
    for name, options in contenders(ours.config, place).items():
        if only is None or name in only:
            peer = kind(ours.config)(ours.config, dtype=dtype, device=place, **options)
            peer.load(ours.state)
            models[name] = peer
    return models


def check_equal(config: str, fields: dict, only: list[str] | None = None) -> dict[str, float]:
    """Checks that one step from the same weights and noise gives the same metrics.

    The check is in float64, because a step is not continuous: rounding decides on which side of
    LeakyReLU's kink an activation near 0 is, and which sign Adam's first update of a parameter has
    whose gradient is near 0. In float32, WGAN-GP's g_loss, itself near 0, differs by up to 1e-2.

    Args:
      config: the name of a config, as `experiments.benchmarks.ours.load` takes it.
      fields: values for some of its fields.
      only: the names of PyTorch's contenders, None for all.

    Returns:
      For each contender the largest relative difference of a metric.

    Raises:
      Unequal: a difference is above the tolerance.
    """
    rates = ("dropout", "final_dropout")
    raw: Any = load(config, **fields).config
    discriminator = raw.discriminator
    still = {f"discriminator.{name}": 0.0 for name in rates if hasattr(discriminator, name)}
    with jax.enable_x64(True):
        ours = Ours(load(config, **fields | still | {"batch_size": 8}), "float64")
        models = peers(ours, torch.float64, only)
        noise = noise_of(ours.config, ours.algorithm, ours.key, 0, 8)
        expected = ours.step()
    differences = {}
    for name, peer in models.items():
        got = peer.step(ours.batch, noise)
        # Errors are relative, except those of values of 0.
        errors = {
            metric: abs(got[metric] - value) / (abs(value) or 1)
            for metric, value in expected.items()
        }
        metric = max(errors, key=errors.__getitem__)
        print(f"one step of {name}: equal to {errors[metric]:.1e} ({metric})")
        # "Not below" rather than "above", so that NaN is refused.
        if not errors[metric] < TOLERANCE:
            raise Unequal(f"{name}: {metric} is {got[metric]}, ours is {expected[metric]}")
        differences[name] = errors[metric]
    return differences


def compare(
    config: str,
    fields: dict,
    rounds: int,
    only: list[str] | None = None,
    checked: bool = True,
) -> dict:
    """Times a step of ganjax and of PyTorch's contenders.

    Args:
      config: the name of a config, as `experiments.benchmarks.ours.load` takes it.
      fields: values for some of its fields.
      rounds: the number of rounds in which each is timed.
      only: the names of PyTorch's contenders, None for all.
      checked: whether the contenders are first shown to compute the same.

    Returns:
      The summary of `experiments.benchmarks.clock.summary`, with the `batch_size` and, if
      `checked`, the `difference` that `check_equal` returns.

    Raises:
      UserError: there is no such config, or no PyTorch peer for it, or JAX is not on CPU.
      job.Failed: the contenders do not compute the same, or a process ended.
    """
    loaded = load(config, **fields)
    kind(loaded.config)  # Refuses a config without a peer before anything is compiled.
    if device() != "cpu":
        raise UserError("JAX is on a GPU: use experiments.benchmarks.gpu, or JAX_PLATFORMS=cpu")
    which = {"config": config, "fields": fields}
    result = {"difference": job.run("step.check_equal", **which, only=only)} if checked else {}
    names = [OURS, *(name for name in contenders(loaded.config) if only is None or name in only)]
    print(f"{config}, batch size {loaded.config.batch_size}, {rounds} rounds of {RUN}", flush=True)
    with contextlib.ExitStack() as stack:
        steps = {
            name: stack.enter_context(start("step.contender", **which, name=name)).steps
            for name in names
        }
        times = alternate(steps, rounds)
    return result | {"batch_size": loaded.config.batch_size} | summary(times)


def contender(config: str, fields: dict, name: str) -> Callable[[], object]:
    """Returns the step of `OURS` or of a PyTorch contender; called in the process that takes it."""
    loaded = load(config, **fields)
    if name == OURS:
        ours = Ours(loaded)
        print(f"{OURS}: compiled in {ours.compile_seconds:.2f} s", end=", ")
        print(f"first step after it {seconds(ours.step):.3f} s", flush=True)
        return ours.step
    return alone(loaded, name)


def alone(loaded: schema.Loaded, name: str) -> Callable[[], object]:
    """Returns the step of a PyTorch contender with weights of its own, so that JAX is not used."""
    torch.set_num_threads(threads())
    peer = kind(loaded.config)(loaded.config, **contenders(loaded.config)[name])
    algorithm = loaded.module.build(loaded.config)
    return partial(peer.step, random_batch(loaded, algorithm))


def assignment(text: str) -> tuple[str, object]:
    """Parses "field=value", whose value is a Python literal or else a string."""
    field, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not field=value")
    try:
        return field, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return field, value


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--config", default="wgan_gp", help="<name>[:<preset>] of configs/")
    parser.add_argument("--rounds", type=arguments.count, default=12)
    parser.add_argument("--batch_size", type=arguments.count, help="instead of the config's")
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
