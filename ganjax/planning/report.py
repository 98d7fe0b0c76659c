"""The report of a dry run: its plan as tables, and the assumptions behind the figures."""

from ganjax.planning.accelerators import ACCELERATORS, GIB, Accelerator
from ganjax.planning.costs import Plan, precision, step_seconds
from ganjax.planning.times import TRAFFIC, UTILISATION, collective_seconds


def render(plan: Plan, names: list[str]) -> str:
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
            f"| {phase.start} to {phase.stop} | {phase.size} | "
            f"{phase.batch_size} | {cost.work.flops / cost.images / 1e9:.3g} | "
            f"{cost.peak_bytes / GIB:.2f} | {sent or 'none'} |"
        )
    lines += [
        "",
        "| accelerator | fits | images/s | h:mm:ss | share of collectives, at most |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        lines.append(_row(plan, name, ACCELERATORS[name]))
    shown = [ACCELERATORS[name] for name in names]
    return "\n".join([*lines, "", *assumptions(precision(config), shown)])


def _row(plan: Plan, name: str, accelerator: Accelerator) -> str:
    images, communicating, low, high = 0, 0.0, 0.0, 0.0
    for cost in plan.phases:
        steps = cost.phase.stop - cost.phase.start
        images += steps * cost.images
        step = step_seconds(cost, accelerator, plan.devices, precision(plan.config))
        low, high = low + steps * step.low, high + steps * step.high
        communicating += steps * collective_seconds(accelerator, cost.collectives, plan.devices)
    peak = max(cost.peak_bytes for cost in plan.phases)
    usable = accelerator.memory * accelerator.usable
    fits = f"{peak / usable:.0%} of {usable / GIB:.0f} GiB" if peak <= usable else "no"
    return (
        f"| {name} | {fits} | {_rounded(images / high)} to {_rounded(images / low)} | "
        f"{_clock(low)} to {_clock(high)} | {min(1, communicating / low):.0%} |"
    )


def _rounded(rate: float) -> str:
    """Returns a rate with two digits that count."""
    return f"{float(f'{rate:.1e}'):,.0f}" if rate >= 10 else f"{rate:.2g}"


def _clock(seconds: float) -> str:
    """Returns a time as h:mm:ss, where h may have any number of digits."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def assumptions(kind: str, accelerators: list[Accelerator]) -> list[str]:
    """Returns the lines that state the assumptions behind the figures of accelerators.

    Args:
      kind: the precision in which the networks compute, such as "float32".
      accelerators: those whose figures are shown.
    """
    launches = sorted({each.launch for each in accelerators})
    starts = " or ".join(f"{1e6 * low:.0f} to {1e6 * high:.0f}" for low, high in launches)
    most, least = UTILISATION
    return [
        f"A range, which holds all steps that were measured on an H100: {least:.0%} to {most:.0%}",
        f"of the peak for {kind}, {TRAFFIC[0]:.0%} to {TRAFFIC[1]:.0%} of the bytes of unfused",
        f"operations, and {starts} us for the host and the starts of each product. Other",
        "accelerators by their makers' figures (ganjax/planning/accelerators.py).",
        "Collectives go in a ring over all devices, over the slow network where there are more",
        "devices than a node has; at worst nothing hides them. No time for data, pictures or",
        "evaluation. An image is a real that D sees. Memory is of one train step: what",
        "data.on_device keeps, further batches of steps_per_dispatch, and evaluation come on top.",
    ]
