"""The dry run of `ganjax.main --dry_run`, which tells the needs of a run before it is launched.

Every phase's train step is compiled for its shapes. Nothing is computed, so that a dry run works
for more devices than there are; images are counted, if they are on this machine. For TPUs the
program is the real one, made by their own compiler, if `libtpu` is installed (`pip install
'ganjax[tpu]'`; it needs no TPU). Otherwise XLA compiles for this machine, usually for virtual CPU
devices, with convolutions as on an accelerator. FLOPs are then those of the accelerator, memory is
an estimate, and collectives are an upper bound: XLA on CPU does not add the parts of a gradient,
from reals, fakes and the penalty, before it sums them over devices.
"""

import math
from functools import partial

import jax
import ml_collections

from ganjax.config import ConfigError, refuse_idle
from ganjax.engine import step as steps
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.engine.state import GanState
from ganjax.errors import DataError, UserError
from ganjax.ops.lowering import native_convolutions
from ganjax.parallel.sharding import (
    Layout,
    check_batch,
    make_layout,
    on_devices,
    state_sharding,
)
from ganjax.planning import program
from ganjax.planning.accelerators import ACCELERATORS, GIB
from ganjax.planning.costs import PhaseCost, Plan
from ganjax.planning.devices import devices_to_compile_for
from ganjax.planning.report import render
from ganjax.planning.times import Work
from ganjax.runtime import compiling
from ganjax.training import domain as domains
from ganjax.training import schema
from ganjax.training.domain import Domain
from ganjax.training.epochs import Epochs, settle
from ganjax.training.schema import Loaded, LoopConfig

# The steps of a plan whose run is given in epochs of images that are not on this machine.
STAND_IN = 1_000


def describe(
    raw: ml_collections.ConfigDict,
    *,
    devices: int | None = None,
    accelerator: str | None = None,
) -> str:
    """Returns a report on the needs of a run, without starting it.

    Args:
      raw: the config, as `get_config` of a config file returns it.
      devices: the number of devices; None means all devices of this machine.
      accelerator: a name in ACCELERATORS; None reports on all of them.

    Raises:
      ConfigError: the config cannot be run, or the memory of the accelerator does not hold it;
        without a name, that of no accelerator does.
      UserError: there is no such accelerator, or JAX has been used before with fewer devices.
    """
    if accelerator is not None and accelerator not in ACCELERATORS:
        raise UserError(f"--accelerator={accelerator}: there are {', '.join(ACCELERATORS)}")
    planned = plan(raw, devices=devices, accelerator=accelerator)
    roomiest = max(ACCELERATORS, key=lambda name: ACCELERATORS[name].memory)
    check_memory(planned, accelerator or roomiest)
    return render(planned, [accelerator] if accelerator else list(ACCELERATORS))


def plan(
    raw: ml_collections.ConfigDict,
    *,
    devices: int | None = None,
    accelerator: str | None = None,
    phases: slice = slice(None),
) -> Plan:
    """Compiles the phases of a run, or some of them, and returns their cost.

    Args:
      raw: the config, as `get_config` of a config file returns it.
      devices: the number of devices; None means all devices of this machine.
      accelerator: a name in ACCELERATORS, or None.
      phases: the phases to compile, as a slice of the run's phases.

    Raises:
      ConfigError: the config cannot be run.
      UserError: JAX has been used before with fewer devices.
    """
    loaded = schema.load(raw)
    refuse_idle(loaded.config)
    config, algorithm, length = _settled(loaded)
    if config.num_seeds > 1:
        raise ConfigError(
            f"config.num_seeds={config.num_seeds}: a dry run is of one seed; set num_seeds=1: as "
            "many on one device take as many times its FLOPs and memory"
        )
    domain = domains.of(Loaded(config, loaded.module))
    domain.check()
    compiled_for, compiler = devices_to_compile_for(devices, accelerator)
    layout = make_layout(compiled_for)
    for phase in algorithm.phases:
        check_batch(phase, layout, algorithm.accumulate)
    state = state_shapes(algorithm)
    with native_convolutions():
        costs = [_cost(domain, algorithm, layout, phase) for phase in algorithm.phases[phases]]
    g, d = (
        sum(leaf.size for leaf in jax.tree.leaves(player.params)) for player in (state.g, state.d)
    )
    return Plan(config, length, layout.mesh.size, compiler, (g, d), tuple(costs))


def _settled(loaded: Loaded) -> tuple[LoopConfig, Algorithm, str]:
    """Returns a config with its steps, its algorithm, and a line that says how long the run is."""
    config, domain = loaded.config, domains.of(loaded)

    def count() -> int:
        return domain.count()

    try:
        images = count()
    except DataError as error:
        unknown = f"the number of its images is not known ({error})"
        if config.total_steps and not config.total_epochs:
            return *settle(loaded, count), f"{config.total_steps:,} steps; {unknown}"
        update = {"total_steps": STAND_IN, "total_epochs": 0.0}
        stand_in = loaded._replace(config=config.model_copy(update=update))
        length = f"{config.total_epochs:g} epochs, planned as if they were {STAND_IN:,} steps"
        return *settle(stand_in, count), f"{length}: {unknown}"
    config, algorithm = settle(loaded, lambda: images)
    epochs = Epochs.of(algorithm, images)
    epochs.cadences(config)  # Refuses what is to come at epochs that have no whole step.
    return (
        config,
        algorithm,
        f"{config.total_steps:,} steps: {epochs.described(config.total_steps)}",
    )


def state_shapes(algorithm: Algorithm) -> GanState:
    """Returns the shapes of an algorithm's state."""
    return jax.eval_shape(partial(steps.init_state, algorithm), jax.random.key(0))


def batch_shapes(
    domain: Domain, algorithm: Algorithm, phase: Phase
) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of the batches of reals that one train step takes."""
    count = algorithm.real_batches, phase.batch_size
    return {
        name: jax.ShapeDtypeStruct((*count, *each.shape), each.dtype)
        for name, each in domain.shapes(phase).items()
    }


def lower(
    domain: Domain, algorithm: Algorithm, layout: Layout, phase: Phase, *, unroll: bool = False
) -> jax.stages.Lowered:
    """Lowers the train step of a phase for the devices of a layout.

    Args:
      domain: what the run is about.
      algorithm: the run's algorithm.
      layout: the layout, whose devices need not exist.
      phase: the phase.
      unroll: whether the discriminator's updates are unrolled, so that the FLOPs of all of them are
        counted; otherwise they are a loop as in a run.
    """

    def placed(shapes, shardings):
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            jax.tree.broadcast(shardings, shapes),
        )

    state = state_shapes(algorithm)
    mode = domain.config.sharding
    shardings = state_sharding(layout, state, mode)
    algorithm_on_devices = on_devices(algorithm, layout, mode)
    step = jax.jit(
        steps.make_train_step(algorithm_on_devices, unroll=unroll, sharding=layout.batch),
        static_argnames="phase",
        out_shardings=(shardings, layout.replicated),
        donate_argnames="state",
        compiler_options=compiling.options(layout.platform),
    )
    return step.lower(
        placed(state, shardings),
        placed(batch_shapes(domain, algorithm, phase), layout.batches),
        placed(jax.eval_shape(lambda: jax.random.key(0)), layout.replicated),
        phase=phase,
    )


def work(domain: Domain, algorithm: Algorithm, layout: Layout, phase: Phase) -> Work:
    """Returns what a train step of a phase computes, as XLA counts it before it compiles.

    XLA counts a loop's body once, and in compiled programs for CPUs no products of libraries. So
    the step is unrolled and not compiled.

    Args:
      domain: what the run is about.
      algorithm: the run's algorithm.
      layout: one device.
      phase: the phase.
    """
    lowered = lower(domain, algorithm, layout, phase, unroll=True)
    counted = lowered.cost_analysis()
    assert counted is not None  # XLA gives it on every platform.
    products = program.products(lowered.as_text(dialect="hlo"))
    return Work(counted["flops"], counted["bytes accessed"], products)


def _cost(domain: Domain, algorithm: Algorithm, layout: Layout, phase: Phase) -> PhaseCost:
    once = compiling.options_once(layout.platform)  # The program is read, never run.
    compiled = lower(domain, algorithm, layout, phase).compile(once)
    one_device = make_layout(jax.devices("cpu")[:1])
    memory, hlo = compiled.memory_analysis(), compiled.as_text()
    assert memory is not None  # XLA gives both on every platform.
    assert hlo is not None
    return PhaseCost(
        phase,
        phase.batch_size * algorithm.n_critic,
        work(domain, algorithm, one_device, phase),
        memory.argument_size_in_bytes,
        program.peak_bytes(compiled),
        program.collectives(hlo),
    )


def check_memory(planned: Plan, name: str) -> None:
    """Checks that the memory of an accelerator holds every phase of a run.

    Args:
      planned: the plan of the run.
      name: the accelerator, a name in ACCELERATORS.

    Raises:
      ConfigError: a phase needs more memory than a program gets.
    """
    accelerator = ACCELERATORS[name]
    usable = accelerator.memory * accelerator.usable
    for cost in planned.phases:
        if cost.peak_bytes <= usable:
            continue
        batch = cost.phase.batch_size
        image_bytes = (cost.peak_bytes - cost.held_bytes) * planned.devices / batch
        largest = math.floor(max(0, usable - cost.held_bytes) / image_bytes) * planned.devices
        room = "the state alone leaves no room"
        if cost.held_bytes < usable:
            room = f"about {largest} would fit" if largest else "not one image a device fits"
        *others, last = _remedies(planned, cost, usable, largest)
        remedies = f"{', '.join(others)} or {last}" if others else last
        raise ConfigError(
            f"{cost.phase.batch_field}={batch} at {cost.phase.size} on {planned.devices} device(s) "
            f"needs {cost.peak_bytes / GIB:.1f} GiB on each, and of {name}'s "
            f"{accelerator.memory / GIB:.1f} GiB a program gets {usable / GIB:.1f}: {room}; "
            f"{remedies}"
        )


def _remedies(planned: Plan, cost: PhaseCost, usable: float, largest: int) -> list[str]:
    """Returns the changes of a config that would reduce a phase's memory, as parts of a sentence.

    Args:
      planned: the plan of the run.
      cost: the cost of the phase.
      usable: the bytes that a program gets on each device.
      largest: the largest batch size that would fit, or 0.
    """
    fields = planned.config.model_dump()  # Not every algorithm has all of them.
    remedies = ["set a smaller batch"] if largest else []
    remedies.append("take more devices")
    if fields.get("accumulate") == 1 and cost.phase.batch_size % (2 * planned.devices) == 0:
        remedies.append("take it in parts by config.accumulate=2")
    if fields.get("remat") is False:
        remedies.append("keep less for the backward pass by config.remat=True")
    replicated = fields["sharding"] == "replicated" and planned.devices > 1
    if replicated and cost.held_bytes > usable / 4:  # Less would gain little.
        remedies.append("set config.sharding='fully_sharded'")
    return remedies
