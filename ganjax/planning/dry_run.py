"""`ganjax.main --dry_run`: what a run would take, known before it is launched.

Every phase's train step is compiled for its shapes and nothing is computed or read: so it works
for more devices than there are. Of TPUs the program is the real one, made by their own compiler,
where `libtpu` is installed (`pip install 'ganjax[tpu]'`; it needs no TPU). Else XLA compiles for
what this machine has, virtual CPU devices as a rule, with convolutions left whole as on an
accelerator: FLOPs are as there, memory is an estimate, and collectives are an upper bound (XLA's
CPU does not add up a gradient's parts, of reals, of fakes and of the penalty, before it sums them).
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from ganjax.config import ConfigError
from ganjax.engine import step as steps
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.errors import UserError
from ganjax.ops.lowering import native_convolutions
from ganjax.parallel.sharding import Layout, check_batch, gathered, make_layout, state_sharding
from ganjax.planning import devices as targets
from ganjax.planning import program
from ganjax.planning.accelerators import (
    ACCELERATORS,
    GIB,
    UTILISATION,
    Accelerator,
    Collective,
    collective_seconds,
    compute_seconds,
)
from ganjax.runtime import compiling
from ganjax.training import evaluation, schema
from ganjax.training.schema import RunConfig


class PhaseCost(NamedTuple):
    """What a step of a phase takes.

    Attributes:
      phase: the phase.
      images: reals that D sees in a step, over all devices.
      flops: of a step, of all devices together, as XLA counts them.
      held_bytes: on one device before the step: its part of the state and the batch.
      peak_bytes: on one device while it runs.
      collectives: by kind, as one device takes part in them.
    """

    phase: Phase
    images: int
    flops: float
    held_bytes: int
    peak_bytes: int
    collectives: dict[str, Collective]


class Plan(NamedTuple):
    """What a run takes.

    Attributes:
      config: the run's.
      devices: how many.
      compiler: what made the programs, in words.
      params: of the generator and of the discriminator.
      phases: in order.
    """

    config: RunConfig
    devices: int
    compiler: str
    params: tuple[int, int]
    phases: tuple[PhaseCost, ...]


def dry_run(
    raw: ml_collections.ConfigDict,
    *,
    devices: int | None = None,
    accelerator: str | None = None,
) -> str:
    """The report of a run that is not begun.

    Args:
      raw: what `get_config` of a config file returned.
      devices: how many; None is what this machine has.
      accelerator: a name in ACCELERATORS; None tells of all of them.

    Raises:
      ConfigError: the config cannot be run, or the accelerator's memory does not hold it; that
        of none, where none is named.
      UserError: there is no such accelerator, or JAX has begun with fewer devices.
    """
    if accelerator is not None and accelerator not in ACCELERATORS:
        raise UserError(f"--accelerator={accelerator}: there are {', '.join(ACCELERATORS)}")
    planned = plan(raw, devices=devices, accelerator=accelerator)
    roomiest = max(ACCELERATORS, key=lambda name: ACCELERATORS[name].memory)
    check_memory(planned, accelerator or roomiest)
    return report(planned, [accelerator] if accelerator else list(ACCELERATORS))


def plan(
    raw: ml_collections.ConfigDict,
    *,
    devices: int | None = None,
    accelerator: str | None = None,
    phases: slice = slice(None),
) -> Plan:
    """Compiles the phases of a run, or some of them.

    Arguments and errors are else those of `dry_run`.
    """
    config, module = schema.load(raw)
    algorithm = module.build(config)
    if config.num_seeds > 1:
        raise ConfigError(
            f"config.num_seeds={config.num_seeds}: a dry run is of one seed; set num_seeds=1: as "
            "many on one device take as many times its FLOPs and memory"
        )
    evaluation.check(config)
    found, compiler = targets.devices(devices, accelerator)
    layout = make_layout(found)
    for phase in algorithm.phases:
        check_batch(phase, layout, algorithm.accumulate)
    state = state_shapes(algorithm)
    with native_convolutions():
        costs = [_cost(config, algorithm, layout, phase) for phase in algorithm.phases[phases]]
    params = tuple(
        sum(leaf.size for leaf in jax.tree.leaves(player.params)) for player in (state.g, state.d)
    )
    return Plan(config, layout.mesh.size, compiler, params, tuple(costs))


def state_shapes(algorithm: Algorithm):
    """The state's shapes, without memory behind them."""
    return jax.eval_shape(partial(steps.init_state, algorithm), jax.random.key(0))


def batch_shapes(config: RunConfig, algorithm: Algorithm, phase: Phase) -> dict:
    """Those of a step's batch."""
    size, count = phase.image_size, (algorithm.reals_per_step, phase.batch_size)
    return {
        "image": jax.ShapeDtypeStruct((*count, size, size, config.data.channels), jnp.uint8),
        "label": jax.ShapeDtypeStruct(count, jnp.int32),
    }


def lower(
    config: RunConfig, algorithm: Algorithm, layout: Layout, phase: Phase, *, unroll: bool = False
):
    """The train step of a phase, lowered for the devices of a layout.

    The updates of D are a loop, as a run has them, or unrolled, to count what they compute.
    """

    def placed(shapes, sharding):
        return jax.tree.map(
            lambda leaf, each: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=each),
            shapes,
            jax.tree.broadcast(sharding, shapes),
        )

    how = config.sharding
    state = state_shapes(algorithm)
    sharding = state_sharding(layout, state, how)
    step = jax.jit(
        steps.make_train_step(
            gathered(algorithm, layout, how), unroll=unroll, sharding=layout.batch
        ),
        static_argnames="phase",
        out_shardings=(sharding, layout.replicated),
        donate_argnames="state",
        compiler_options=compiling.options(layout.platform),
    )
    return step.lower(
        placed(state, sharding),
        placed(batch_shapes(config, algorithm, phase), layout.batches),
        placed(jax.eval_shape(lambda: jax.random.key(0)), layout.replicated),
        phase=phase,
    )


def _cost(config: RunConfig, algorithm: Algorithm, layout: Layout, phase: Phase) -> PhaseCost:
    compiled = lower(config, algorithm, layout, phase).compile()
    # A loop's body is counted once, and of a compiled program no product that XLA's CPU hands to
    # a library: so FLOPs are those of the whole step, unrolled, before it is compiled.
    alone = make_layout(jax.devices("cpu")[:1])
    counted = lower(config, algorithm, alone, phase, unroll=True).cost_analysis()
    return PhaseCost(
        phase,
        phase.batch_size * algorithm.n_critic,
        counted["flops"],
        compiled.memory_analysis().argument_size_in_bytes,
        program.peak_bytes(compiled),
        program.collectives(compiled.as_text()),
    )


def check_memory(planned: Plan, name: str) -> None:
    """Raises ConfigError if an accelerator's memory does not hold every phase."""
    accelerator = ACCELERATORS[name]
    usable = accelerator.memory * accelerator.usable
    for cost in planned.phases:
        if cost.peak_bytes <= usable:
            continue
        batch, size = cost.phase.batch_size, cost.phase.image_size
        an_image = (cost.peak_bytes - cost.held_bytes) * planned.devices / batch
        most = math.floor(max(0, usable - cost.held_bytes) / an_image) * planned.devices
        room = "the state alone leaves no room"
        if cost.held_bytes < usable:
            room = f"about {most} would fit" if most else "not one image a device fits"
        mends = ["take more devices"]
        if most:
            mends.insert(0, "set a smaller batch")
        fields = planned.config.model_dump()  # Not every algorithm has these two.
        if fields.get("accumulate") == 1 and batch % (2 * planned.devices) == 0:
            mends.append("take it in parts by config.accumulate=2")
        if fields.get("remat") is False:
            mends.append("keep less for the backward pass by config.remat=True")
        # Where the state matters.
        replicated = planned.config.sharding == "replicated" and planned.devices > 1
        if replicated and cost.held_bytes > usable / 4:
            mends.append("set config.sharding='fully_sharded'")
        *first, last = mends
        offered = f"{', '.join(first)} or {last}" if first else last
        raise ConfigError(
            f"{cost.phase.batch_field}={batch} at {size}x{size} on {planned.devices} device(s) "
            f"needs {cost.peak_bytes / GIB:.1f} GiB on each, and of {name}'s "
            f"{accelerator.memory / GIB:.1f} GiB a program gets {usable / GIB:.1f}: {room}; "
            f"{offered}"
        )


def report(planned: Plan, names: list[str]) -> str:
    """The plan in tables."""
    config = planned.config
    g, d = planned.params
    lines = [
        f"{config.algorithm} on {config.data.source}, {planned.devices} device(s), "
        f"sharding {config.sharding}; {planned.compiler}",
        f"generator {g:,} parameters, discriminator {d:,}",
        "",
        "| steps | size | batch | GFLOP an image | GiB a device | collectives of a step, MB |",
        "|---|---|---|---|---|---|",
    ]
    for cost in planned.phases:
        phase = cost.phase
        sent = ", ".join(
            f"{kind} {each.bytes / 1e6:.2f} in {each.count}"
            for kind, each in sorted(cost.collectives.items())
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
        lines.append(_row(planned, name, ACCELERATORS[name]))
    return "\n".join([*lines, "", *assumptions(precision(config))])


def _row(planned: Plan, name: str, accelerator: Accelerator) -> str:
    images = seconds = waiting = 0.0
    for cost in planned.phases:
        step = step_seconds(cost, accelerator, planned.devices, precision(planned.config))
        count = cost.phase.stop - cost.phase.start
        images += count * cost.images
        seconds += count * step
        waiting += count * collective_seconds(accelerator, cost.collectives, planned.devices)
    peak = max(cost.peak_bytes for cost in planned.phases)
    usable = accelerator.memory * accelerator.usable
    fits = f"{peak / usable:.0%} of {usable / GIB:.0f} GiB" if peak <= usable else "no"
    return (
        f"| {name} | {fits} | {images / seconds:,.0f} | {seconds / 3600:.3g} | "
        f"{waiting / seconds:.0%} |"
    )


def step_seconds(cost: PhaseCost, accelerator: Accelerator, devices: int, precision: str) -> float:
    """Of a step on paper: computation, then collectives."""
    computing = compute_seconds(accelerator, cost.flops / devices, precision)
    return computing + collective_seconds(accelerator, cost.collectives, devices)


def precision(config: RunConfig) -> str:
    """What the networks compute in."""
    return getattr(config, "precision", "float32")


def assumptions(kind: str) -> list[str]:
    """What the figures of accelerators rest on."""
    return [
        f"On paper, not measured: {UTILISATION:.0%} of the peak for {kind}, small layers reach",
        "less; collectives in a ring over all devices, none hidden behind computation, over the",
        "slow network where there are more devices than a node has; no time for data, pictures or",
        "evaluation. An image is a real that D sees. Memory is of one train step: what",
        "data.on_device keeps, further batches of steps_per_dispatch, and evaluation come on top.",
        "The peaks: ganjax/planning/accelerators.py.",
    ]
