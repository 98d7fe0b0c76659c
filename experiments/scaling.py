"""Estimates where each system stops scaling: a step's seconds against the number of devices.

    python -m experiments.scaling --accelerator=v5e
    python -m experiments.scaling --accelerator=h100 --config dcgan:celeb_a wgan_gp:celeb_a

Each config's step (for a growing run, that of its last resolution) is compiled for 8 devices, which
gives its FLOPs and its collectives: gradients, BatchNorm's statistics and means of metrics, which
have the same number of bytes for any number of devices. From these and the accelerator's peak
figures (`ganjax.planning.times` lists all assumptions) it estimates the seconds of a step on n
devices: the middle of the computation's range, and then every collective in a ring of the devices.

Efficiency is the speed of n devices over n times the speed of one: for the config's batch divided
among all devices ("fixed batch"), and for the config's batch on each of them ("a batch each").
"""

import argparse

from experiments.tools.configs import named
from ganjax.errors import UserError
from ganjax.planning.accelerators import ACCELERATORS, Accelerator
from ganjax.planning.costs import PhaseCost, precision
from ganjax.planning.dry_run import plan
from ganjax.planning.times import Work, collective_seconds, compute_seconds

SYSTEMS = (
    "cgan:mnist",
    "dcgan:celeb_a",
    "dcgan_noisy:emoji64",
    "wgan:celeb_a",
    "wgan_gp:celeb_a",
    "cwgan_gp:celeb_a",
    "sngan:cifar10",
    "progan:celeb_a_64",
    "ada:celeb_a",
)
COMPILED, MOST, LEAST_EFFICIENCY = 8, 4096, 0.5
COUNTS = [2**i for i in range(MOST.bit_length())]


def fixed_batch(cost: PhaseCost, accelerator: Accelerator, n: int, kind: str = "float32") -> float:
    """Returns the efficiency, in (0, 1], of n devices that share one batch.

    Args:
      cost: the cost of a train step (`ganjax.planning.costs.PhaseCost`).
      accelerator: the kind of the devices.
      n: the number of devices.
      kind: the type in which the networks compute.
    """
    return _seconds(cost, accelerator, 1, kind) / (n * _seconds(cost, accelerator, n, kind))


def _seconds(cost: PhaseCost, accelerator: Accelerator, n: int, kind: str) -> float:
    """Returns the middle of a step's computation on n devices, and its collectives after it."""
    computing = compute_seconds(accelerator, cost.work.shared(n), kind).middle
    return computing + collective_seconds(accelerator, cost.collectives, n)


def batch_each(cost: PhaseCost, accelerator: Accelerator, n: int, kind: str = "float32") -> float:
    """Returns the efficiency of n devices with a batch on each; see `fixed_batch`.

    The step has n times the FLOPs and bytes, as many products and the same collectives.
    """
    flops, size, products = cost.work
    larger = cost._replace(work=Work(n * flops, n * size, products))
    return _seconds(cost, accelerator, 1, kind) / _seconds(larger, accelerator, n, kind)


def limit(efficiency, cost: PhaseCost, accelerator: Accelerator, most: int, kind: str) -> str:
    """Returns, as text, the first power of 2 at which n devices are less than half efficient.

    Args:
      efficiency: `fixed_batch` or `batch_each`.
      cost: the cost of a train step (`ganjax.planning.costs.PhaseCost`).
      accelerator: the kind of the devices.
      most: the largest number of devices that is tried.
      kind: the type in which the networks compute.
    """
    for n in COUNTS:
        if n > most:
            return f"none to {most}"
        if efficiency(cost, accelerator, n, kind) < LEAST_EFFICIENCY:
            return str(n)
    return f"none to {MOST}"


def row(name: str, accelerator_name: str) -> str:
    """Returns the row of a config in the table, as Markdown."""
    accelerator = ACCELERATORS[accelerator_name]
    last = slice(-1, None)  # A growing run spends nearly all of its time there.
    planned = plan(named(name), devices=COMPILED, accelerator=accelerator_name, phases=last)
    kind, (cost,) = precision(planned.config), planned.phases
    batch = cost.phase.batch_size
    sent = sum(each.bytes for each in cost.collectives.values())
    count = sum(each.count for each in cost.collectives.values())
    shares = [f"{fixed_batch(cost, accelerator, n, kind):.0%}" for n in (8, 32)]
    shares.append(limit(fixed_batch, cost, accelerator, batch, kind))
    shares += [f"{batch_each(cost, accelerator, n, kind):.0%}" for n in (8, 256)]
    shares.append(limit(batch_each, cost, accelerator, MOST, kind))
    milliseconds = 1e3 * _seconds(cost, accelerator, 1, kind)
    return (
        f"| {name} | {batch} | {cost.work.flops / cost.images / 1e9:.3g} | {milliseconds:.3g} | "
        f"{sent / 1e6:.3g} in {count} | {' | '.join(shares)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--accelerator", default="v5e", choices=tuple(ACCELERATORS))
    parser.add_argument(
        "--config", nargs="+", default=list(SYSTEMS), help="<name>[:<preset>] of configs/"
    )
    args = parser.parse_args()
    print(f"{args.accelerator}, on paper; efficiency of n devices")
    print(
        "| system | batch | GFLOP an image | ms a step on one | MB sent | fixed batch: 8 | 32 | "
        "below half at | a batch each: 8 | 256 | below half at |"
    )
    print("|" + "---|" * 11)
    try:
        for name in args.config:
            print(row(name, args.accelerator), flush=True)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
