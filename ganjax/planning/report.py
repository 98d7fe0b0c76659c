"""The report of a dry run: its plan as tables, and the assumptions behind the figures."""

from ganjax.planning.accelerators import (
    ACCELERATORS,
    GIB,
    UTILISATION,
    Accelerator,
    collective_seconds,
)
from ganjax.planning.costs import Plan, precision, step_seconds


def report(plan: Plan, names: list[str]) -> str:
    """Returns the report of a plan: tables of its phases and of the run's time, and assumptions.

    Args:
      plan: the plan of a run.
      names: the accelerators, names in ACCELERATORS.
    """
    config = plan.config
    g, d = plan.params
    lines = [
        f"{config.algorithm} on {config.data.source}, {plan.devices} device(s), "
        f"sharding {config.sharding}; {plan.compiler}",
        plan.length,
        f"generator {g:,} parameters, discriminator {d:,}",
        "",
        "| steps | size | batch | GFLOP an image | GiB a device | collectives of a step, MB |",
        "|---|---|---|---|---|---|",
    ]
    for cost in plan.phases:
        phase = cost.phase
        sent = ", ".join(
            f"{kind} {collective.bytes / 1e6:.2f} in {collective.count}"
            for kind, collective in sorted(cost.collectives.items())
        )
        lines.append(
            f"| {phase.start} to {phase.stop} | {phase.image_size}x{phase.image_size} | "
            f"{phase.batch_size} | {cost.flops / cost.images / 1e9:.3g} | "
            f"{cost.peak_bytes / GIB:.2f} | {sent or 'none'} |"
        )
    lines += [
        "",
        "| accelerator | fits | images/s | hours | share of collectives |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        lines.append(_row(plan, name, ACCELERATORS[name]))
    return "\n".join([*lines, "", *assumptions(precision(config))])


def _row(plan: Plan, name: str, accelerator: Accelerator) -> str:
    images = seconds = communicating = 0.0
    for cost in plan.phases:
        steps = cost.phase.stop - cost.phase.start
        images += steps * cost.images
        seconds += steps * step_seconds(cost, accelerator, plan.devices, precision(plan.config))
        communicating += steps * collective_seconds(accelerator, cost.collectives, plan.devices)
    peak = max(cost.peak_bytes for cost in plan.phases)
    usable = accelerator.memory * accelerator.usable
    fits = f"{peak / usable:.0%} of {usable / GIB:.0f} GiB" if peak <= usable else "no"
    return (
        f"| {name} | {fits} | {images / seconds:,.0f} | {seconds / 3600:.3g} | "
        f"{communicating / seconds:.0%} |"
    )


def assumptions(kind: str) -> list[str]:
    """Returns the lines that state the assumptions behind the figures of accelerators.

    Args:
      kind: the precision in which the networks compute, such as "float32".
    """
    return [
        f"On paper, not measured: {UTILISATION:.0%} of the peak for {kind}, small layers reach",
        "less; collectives in a ring over all devices, none hidden behind computation, over the",
        "slow network where there are more devices than a node has; no time for data, pictures or",
        "evaluation. An image is a real that D sees. Memory is of one train step: what",
        "data.on_device keeps, further batches of steps_per_dispatch, and evaluation come on top.",
        "The peaks: ganjax/planning/accelerators.py.",
    ]
