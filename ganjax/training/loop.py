"""The loop: build, restore, step, write, evaluate, save. It knows no algorithm."""

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from clu import parameter_overview

from ganjax.data import pipeline, sources
from ganjax.engine import step as steps
from ganjax.engine.phases import Phase
from ganjax.engine.state import GanState
from ganjax.metrics.figures import NO_FIGURE
from ganjax.parallel import distributed
from ganjax.parallel.sharding import check_batch, gathered, make_layout, state_sharding
from ganjax.runtime.signals import Signals
from ganjax.training import checkpoint, dispatch, ensemble, evaluation, leaks, schema, workdir
from ganjax.training.report import Report
from ganjax.training.writer import METRICS, Writer, read_metrics

# Enough for a stable mean: a held-out split of 20,000 need not be read at every evaluation.
EVAL_BATCHES = 16


class Interrupted(SystemExit):
    """SIGTERM or Ctrl-C came and the state was saved. The code is 128 + the signal's number."""


def train(raw: ml_collections.ConfigDict, folder: str | Path) -> GanState | ensemble.Members:
    """Runs a config to its end, from the latest checkpoint if the folder holds one.

    Of several processes that were joined (`ganjax.parallel.distributed`) all call this alike, with a folder
    that all can reach. Each reads its own part of the batches and saves its own part of the
    state; process 0 alone writes all else. A signal to any of them stops all at the same step.

    The folder gets config.json, metrics.jsonl, tensorboard/, samples/ and checkpoints/.

    Args:
      raw: what `get_config` of a config file returned.
      folder: the run's; made if it does not exist.

    Returns:
      The state at total_steps; of several seeds (config.num_seeds) the tuple of theirs.

    Raises:
      ConfigError, DataError, CheckpointError: before anything is compiled.
      NonFiniteError: training diverged.
      Interrupted: SIGTERM or Ctrl-C.
    """
    folder, primary = Path(folder), jax.process_index() == 0
    with distributed.together():
        config, module = schema.load(raw)
        algorithm = module.build(config)
        seeds = ensemble.seeds(config)
        ensemble.check(config)
        layout = make_layout(num_seeds=config.num_seeds)
        for phase in algorithm.phases:
            check_batch(phase, layout, config.accumulate)
        splits = [_open(config, phase) for phase in algorithm.phases]
        evaluation.check(config, [held_out for _, held_out in splits])
        params = evaluation.load(config)
    fingerprint = splits[0][0].fingerprint
    distributed.same({"config": config.model_dump(mode="json"), "set of images": fingerprint})
    with distributed.together():
        if primary:
            workdir.claim(folder, config, fingerprint)
    distributed.reached(folder)

    roots = [jax.random.key(seed) for seed in seeds]
    keys = tuple(
        jax.jit(lambda root=root: root, out_shardings=layout.replicated)() for root in roots
    )
    state_shapes = jax.eval_shape(partial(steps.init_state, algorithm), roots[0])
    placed = state_sharding(layout, state_shapes, config.sharding)
    algorithm = gathered(algorithm, layout, config.sharding)
    jit = partial(jax.jit, static_argnames="phase", out_shardings=layout.replicated)
    train_step = steps.make_train_step(algorithm, sharding=layout.batch)
    train_steps = dispatch.make_train_steps(train_step)
    runs = ensemble.make_ensemble(train_steps, len(seeds), layout, placed)
    eval_step = jit(steps.make_eval_step(algorithm, sharding=layout.batch))
    sampler = jit(steps.make_sampler(algorithm))
    evaluate = evaluation.make_evaluate(
        algorithm, config, sampler=sampler, sharding=layout.everywhere, params=params
    )
    measure_leaks = [leaks.make_measure(algorithm, key=root, sampler=sampler) for root in roots]
    begin = jit(
        lambda state, *, phase: algorithm.begin(state, phase),
        out_shardings=placed,
        donate_argnames="state",
    )
    all_finite = jax.jit(_all_finite, out_shardings=layout.replicated)
    pictured = _pictured(config, algorithm.num_classes)
    fixed = [
        distributed.put(
            jax.device_get(steps.sample_inputs(algorithm, root, pictured)), layout.replicated
        )
        for root in roots
    ]
    names = _names(pictured, algorithm.num_classes, splits[0][0])
    # Figures of different resolutions do not compare: where there are several, they say which.
    sizes = {phase: {"image_size": phase.image_size} for phase in algorithm.phases}
    if len({phase.image_size for phase in algorithm.phases}) == 1:
        sizes = {}
    agree = distributed.Consensus(layout.mesh)

    with (
        distributed.on_primary(workdir.lock(folder)),
        checkpoint.open_checkpoints(
            folder,
            config.keep_checkpoints,
            config.evaluation.best,
            [phase.stop for phase in algorithm.phases],
        ) as checkpoints,
        Writer(folder, checkpoint.latest_step(checkpoints), config.total_steps, primary) as writer,
        Signals() as signals,
        # Innermost: what is above would wait for the others on its way out.
        distributed.or_leave(),
    ):
        distributed.same({"last checkpoint": checkpoint.latest_step(checkpoints)})
        members = ensemble.restore_or_init(
            checkpoints, partial(steps.init_state, algorithm), keys, placed
        )
        done = int(members[0].step)
        if done >= config.total_steps:
            on = f"To train on: --config.total_steps={2 * done}"
            if "config.total_steps" not in config.continuable:
                on = "Its learning rates have fallen to 0"
            writer.say(
                f"{folder} is finished at step {done}. {on}; to begin anew: another --workdir"
            )
            return ensemble.saved(members)
        if _is_past_its_best(checkpoints, config, done):
            writer.say(_stopped_early(checkpoints, config, folder, done))
            return ensemble.saved(members)
        _announce(writer, folder, config, members[0])
        report = Report(writer, folder, config, checkpoints)
        # What a step leaves to be written waits here until the next one is under way.
        behind: list[Callable[[], None]] = []
        state, members = runs.pack(members), ()
        for phase, (reals, held_out) in zip(algorithm.phases, splits, strict=True):
            if done >= phase.stop:
                continue
            # Since this phase began: each has probes of its own.
            known = [
                row for row in read_metrics(folder / METRICS) if phase.start < row["step"] <= done
            ]
            least_leaks = [leaks.least_of(known) for _ in seeds]
            if 0 < done == phase.start:
                state = runs.pack(tuple(begin(m, phase=phase) for m in runs.members(state)))
                _settle(behind)
                report.begin(phase)
            on_device = config.data.on_device and pipeline.put_all(reals, layout.batches)
            batches = [
                pipeline.train_batches(
                    reals,
                    phase,
                    seed=seed,
                    reals=algorithm.reals_per_step,
                    start=done,
                    sharding=layout.batches,
                    on_device=on_device,
                    mirror=config.data.mirror,
                )
                for seed in seeds
            ]
            seen = phase.batch_size * algorithm.n_critic * len(seeds)
            cadences = config.sample_every, config.eval_every, config.checkpoint_every
            every = zip(*batches, strict=True)
            for group in dispatch.groups(every, done, config.steps_per_dispatch, cadences):
                with jax.transfer_guard("disallow"):  # Implicit ones would stall the device.
                    of_each = tuple(zip(*group, strict=True))
                    state, metrics = runs.advance(state, of_each, keys, phase)
                done += len(group)
                stop = agree(signals.received or 0)
                _settle(behind)
                behind.append(partial(report.metrics, done, len(group), seen, metrics))
                finished, ended = done == config.total_steps, done == phase.stop
                if done % config.sample_every == 0 or ended:
                    members = runs.members(state)
                    pictures = [
                        sampler(member.ema, *inputs, phase=phase)
                        for member, inputs in zip(members, fixed, strict=True)
                    ]
                    behind.append(partial(report.samples, done, pictures, names))
                if done % config.eval_every == 0 or ended:
                    members = members or runs.members(state)
                    # As large as what a training step holds at once, but as many images.
                    held = pipeline.eval_batches(
                        held_out,
                        phase.batch_size // config.accumulate,
                        limit=EVAL_BATCHES * config.accumulate,
                        sharding=layout.batches,
                    )
                    values = [[] for _ in seeds]
                    for i, each in enumerate(held):
                        for of_one, member, key in zip(values, members, keys, strict=True):
                            of_one.append(eval_step(member, each, np.int32(i), key, phase=phase))
                    figures = []
                    for i, (member, root) in enumerate(zip(members, roots, strict=True)):
                        found = evaluate(member.ema, phase, reals, held_out, root)
                        found = sizes.get(phase, {}) | distributed.of_primary(found)
                        leaked = measure_leaks[i](member.ema, phase, reals)
                        figures.append(found | leaked)
                        for line in leaks.warnings(leaked, least_leaks[i]):
                            of = f" of seed {seeds[i]}" if len(seeds) > 1 else ""
                            behind.append(partial(writer.say, f"step {done}{of}: {line}"))
                    behind.append(partial(report.evaluation, done, values, figures))
                if _is_due(config, done) or ended or stop:
                    # A state that is not finite is never saved.
                    behind.append(partial(report.state, done, all_finite(state)))
                    _settle(behind)
                    whole = ensemble.saved(members or runs.members(state))
                    checkpoint.save(checkpoints, done, whole, report.figures(done))
                    if not finished and _is_past_its_best(checkpoints, config, done):
                        checkpoints.wait()
                        writer.say(_stopped_early(checkpoints, config, folder, done))
                        return whole
                members = whole = ()  # Perhaps copies, for which a device has no room to spare.
                if stop and not finished:
                    checkpoints.wait()
                    writer.say(
                        f"stopped by {signal.Signals(stop).name} at step {done} of "
                        f"{config.total_steps}: saved; the same command goes on from there"
                    )
                    raise Interrupted(128 + stop)
        checkpoints.wait()
        writer.say(f"finished at step {done}: samples in {folder / 'samples'}")
        return ensemble.saved(runs.members(state))


def _open(config: schema.RunConfig, phase: Phase) -> list[sources.Source]:
    """The training and the held-out images of a phase."""
    data = config.data
    splits = [
        sources.open_source(data, split, image_size=phase.image_size) for split in sources.SPLITS
    ]
    for split in splits:
        pipeline.check(split, on_device=data.on_device)
    return splits


def _names(num: int, num_classes: int, source: sources.Source) -> list[str]:
    """Of the classes of `num` samples, [] without any."""
    if num_classes == 1:
        return []
    names = source.label_names or [str(i) for i in range(num_classes)]
    return [names[i % num_classes] for i in range(num)]


def _pictured(config: schema.RunConfig, num_classes: int) -> int:
    """Images of a grid: each class as often, where there is room for all."""
    rows, columns = config.sample_grid
    return rows * columns // num_classes * num_classes or rows * columns


def _is_due(config: schema.RunConfig, done: int) -> bool:
    """Whether a checkpoint is; the best can only be kept if every evaluation has one."""
    evaluated = config.evaluation.best != NO_FIGURE and done % config.eval_every == 0
    return done % config.checkpoint_every == 0 or evaluated


def _is_past_its_best(checkpoints, config: schema.RunConfig, done: int) -> bool:
    """Whether `patience` evaluations in a row were no better; a function of what is saved."""
    patience = config.evaluation.patience
    best = checkpoint.best_step(checkpoints, config.evaluation.best) if patience else None
    return best is not None and done - best >= patience * config.eval_every


def _stopped_early(checkpoints, config: schema.RunConfig, folder: Path, done: int) -> str:
    best = checkpoint.best_step(checkpoints, config.evaluation.best)
    return (
        f"{folder} is finished at step {done}: {config.evaluation.best} was best at step {best}, "
        f"{config.evaluation.patience} evaluations ago. That checkpoint is what is sampled"
    )


def _all_finite(state: GanState) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]).all()


def _announce(writer: Writer, folder: Path, config: schema.RunConfig, state: GanState) -> None:
    for name, player in (("generator", state.g), ("discriminator", state.d)):
        overview = parameter_overview.get_parameter_overview(player.params, include_stats=False)
        writer.say(f"{name}\n{overview}")
    several = f" of {config.num_seeds} seeds" if config.num_seeds > 1 else ""
    writer.say(
        f"{config.algorithm} on {config.data.source}{several}, steps {int(state.step)} to "
        f"{config.total_steps}, {jax.device_count()} x {jax.devices()[0].device_kind}, "
        f"{folder}; compiling"
    )


def _settle(behind: list[Callable[[], None]]) -> None:
    """Does what waits, in order."""
    for action in behind:
        action()
    behind.clear()
