"""Set-up of a run: its config is checked, its reals are opened, and its programs are made."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
from jax.sharding import NamedSharding

from ganjax.config import refuse_idle
from ganjax.data import pipeline
from ganjax.data.base import SPLITS, Source
from ganjax.engine import step as steps
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.engine.sizes import ImageSize
from ganjax.engine.state import GanState
from ganjax.parallel import distributed
from ganjax.parallel.sharding import Layout, check_batch, make_layout, on_devices, state_sharding
from ganjax.training import (
    checkpoint,
    continuing,
    dispatch,
    ensemble,
    layer_table,
    schema,
    sizes,
    transfer,
    workdir,
)
from ganjax.training.domain import Domain
from ganjax.training.domain import of as domain_of
from ganjax.training.epochs import Cadences, Epochs, Interval, settle
from ganjax.training.start import AS_IT_IS, Start


class PhaseImages(NamedTuple):
    """The images of one phase, at its resolution, or whatever else the run's reals are.

    Attributes:
      training: the reals on which the networks are trained.
      held_out: the reals that are held out; there may be none.
    """

    training: Source
    held_out: Source

    @property
    def compared(self) -> Source:
        """The images with which evaluations compare samples: held-out ones, if there are any."""
        return self.held_out if self.held_out.size else self.training


@dataclass(frozen=True)
class Programs:
    """The functions of a run that its devices compute, each of which is compiled when first called.

    Attributes:
      ensemble: the functions by which the members advance (`ganjax.training.ensemble.Ensemble`).
      begin: `begin(state, phase=phase)` returns the state from which a member trains in a phase,
        given the state at the end of the previous phase. It donates that state.
      sampler: `sampler(ema, z, label, phase=phase)` (`ganjax.engine.step.make_sampler`).
      eval_step: `eval_step(state, batch, index, key, phase=phase)`
        (`ganjax.engine.step.make_eval_step`).
      all_finite: `all_finite(state)` returns whether all values of a state are finite.
    """

    ensemble: ensemble.Ensemble
    begin: Callable
    sampler: Callable
    eval_step: Callable
    all_finite: Callable


@dataclass(frozen=True)
class Run:
    """A run that is ready to train: everything that stays the same from its first step to its last.

    Attributes:
      folder: the folder to which the run is written.
      config: the checked config.
      algorithm: the algorithm that the config describes, with its networks ready for parameters
        that are sharded over devices.
      epochs: the conversion between the run's steps and epochs.
      cadences: when the run logs, draws samples, evaluates and saves.
      networks: the layers of both networks.
      layout: the layout of arrays on the devices.
      state_shapes: the shapes of one member's state.
      state_sharding: the sharding of one member's state.
      seeds: the seed of each member; a single one unless config.num_seeds is larger.
      keys: each member's root key, replicated over the layout, for the programs.
      local_keys: the same keys on this process's own device.
      domain: what the run is about, which opens, shows and measures it.
      images: the reals of each phase.
      programs: the functions that the devices compute.
      start: how the run begins or goes on.
      transfer: what the run takes from another at its beginning; None if that is past, or nothing.
    """

    folder: Path
    config: schema.LoopConfig
    algorithm: Algorithm
    epochs: Epochs
    cadences: Cadences
    networks: tuple[layer_table.Network, layer_table.Network]
    layout: Layout
    state_shapes: GanState
    state_sharding: Any
    seeds: tuple[int, ...]
    keys: tuple[jax.Array, ...]
    local_keys: tuple[jax.Array, ...]
    domain: Domain
    images: Mapping[Phase, PhaseImages]
    programs: Programs
    start: Start
    transfer: transfer.Transfer | None

    @property
    def holds_out(self) -> bool:
        """Whether any images are held out."""
        return _holds_out(self.images)

    def due(self, phase: Phase) -> list[Interval]:
        """Returns the intervals of what a phase does between dispatches: all but lines."""
        return [getattr(self.cadences, name).of(phase) for name in ("sample", "eval", "checkpoint")]

    def restore(self, checkpoints: checkpoint.Checkpoints) -> ensemble.Members:
        """Returns the members' states from the latest checkpoint, or new ones if there is none.

        States that begin from another run's weights are saved at once, as those of step 0.

        Raises:
          CheckpointError: the latest checkpoint cannot be read.
          ConfigError: the weights of another run cannot be read.
          SaveError: the state of step 0 could not be saved.
        """
        distributed.check_same({"last checkpoint": checkpoint.latest_step(checkpoints)})
        init = partial(steps.init_state, self.algorithm)
        if self.transfer is not None:
            mode = self.config.sharding
            members = transfer.begin(
                self.transfer, init, self.keys, self.layout, self.state_sharding, mode
            )
            checkpoint.save_first(checkpoints, ensemble.saved_form(members))
            return members
        members = ensemble.restore_or_init(checkpoints, init, self.keys, self.state_sharding)
        return tuple(continuing.with_rates(member, self.algorithm) for member in members)


def prepare(raw: ml_collections.ConfigDict | dict, folder: Path, start: Start = AS_IT_IS) -> Run:
    """Checks a config and opens its images. No train step is compiled yet and nothing is written.

    Args:
      raw: the config, as `get_config` of a config file returns it.
      folder: the run's folder, which need not exist.
      start: how the run begins or goes on.

    Raises:
      ConfigError, DataError: the run cannot begin; all processes raise the same error.
    """
    with distributed.sharing_errors():
        loaded = schema.load(raw)
        if not checkpoint.exist(folder):
            refuse_idle(loaded.config)
        domain = domain_of(loaded, folder)
        images_of_size = cache(partial(_open_images, domain))
        size = domain.image_size
        config, algorithm = settle(loaded, lambda: images_of_size(size).training.size)
        seeds = ensemble.seeds(config)
        ensemble.check(config)
        layout = make_layout(num_seeds=config.num_seeds)
        for phase in algorithm.phases:
            check_batch(phase, layout, algorithm.accumulate)
        state_shapes, networks = layer_table.trace(algorithm, jax.random.key(seeds[0]))
        sharding = state_sharding(layout, state_shapes, config.sharding)
        sizes.check(config, domain, algorithm, state_shapes, layout, sharding)
        images = {phase: images_of_size(phase.image_size) for phase in algorithm.phases}
        epochs = Epochs.of(algorithm, images[algorithm.phases[0]].training.size)
        cadences = epochs.cadences(config)
        compared = [each.compared for each in images.values()]
        taken = transfer.plan(folder, start, loaded._replace(config=config), state_shapes)
        domain.check(compared, _holds_out(images))
        domain.load()

    local_keys = tuple(jax.random.key(seed) for seed in seeds)
    keys = tuple(
        jax.jit(lambda key=key: key, out_shardings=layout.replicated)() for key in local_keys
    )
    algorithm = on_devices(algorithm, layout, config.sharding)
    return Run(
        folder=folder,
        config=config,
        algorithm=algorithm,
        epochs=epochs,
        cadences=cadences,
        networks=networks,
        layout=layout,
        state_shapes=state_shapes,
        state_sharding=sharding,
        seeds=tuple(seeds),
        keys=keys,
        local_keys=local_keys,
        domain=domain,
        images=images,
        programs=_programs(algorithm, len(seeds), layout, sharding),
        start=start,
        transfer=taken,
    )


@contextlib.contextmanager
def open_checkpoints(run: Run) -> Iterator[checkpoint.Checkpoints]:
    """Locks the folder of a run, claims it for the run, and opens its checkpoints.

    Raises:
      ConfigError: another process is training in the folder, or it holds another run. In neither
        case has the folder changed, but for its lock.
    """
    config = run.config
    with (
        _claimed(run),
        checkpoint.open_checkpoints(
            run.folder,
            config.keep_checkpoints,
            config.evaluation.best,
            milestones=[phase.stop for phase in run.algorithm.phases],
        ) as checkpoints,
    ):
        yield checkpoints


def _open_images(domain: Domain, size: ImageSize) -> PhaseImages:
    images = PhaseImages(*(domain.open(split, size) for split in SPLITS))
    for source in filter(lambda each: each.size, images):
        pipeline.check(source, on_device=domain.on_device)
    return images


def _holds_out(images: Mapping[Phase, PhaseImages]) -> bool:
    return all(of_phase.held_out.size for of_phase in images.values())


@contextlib.contextmanager
def _claimed(run: Run) -> Iterator[None]:
    """Holds the lock of a run's folder, claimed once all processes agree on config and images."""
    config = run.config
    fingerprint = run.images[run.algorithm.phases[0]].training.fingerprint
    origin = run.transfer and run.transfer.origin
    distributed.check_same(
        {
            "config": config.model_dump(mode="json"),
            "set of images": fingerprint,
            "run to begin from": origin,
        }
    )
    # The lock comes first: until it is held, the folder's files are those of another process.
    with distributed.on_primary(workdir.lock(run.folder)):
        with distributed.sharing_errors():
            if jax.process_index() == 0:
                first = run.algorithm.phases[0]
                first_save = min(run.cadences.checkpoint.of(first).until(0), first.stop)
                workdir.claim(run.folder, config, fingerprint, first_save, run.start, origin)
                run.domain.keep(run.folder)
        distributed.check_shared_folder(run.folder)
        yield


def _programs(
    algorithm: Algorithm,
    num_members: int,
    layout: Layout,
    sharding: NamedSharding | GanState,
) -> Programs:
    jit = partial(jax.jit, static_argnames="phase", out_shardings=layout.replicated)
    train_steps = dispatch.make_train_steps(steps.make_train_step(algorithm, sharding=layout.batch))
    return Programs(
        ensemble=ensemble.make_ensemble(train_steps, num_members, layout, sharding),
        begin=jax.jit(
            lambda state, *, phase: algorithm.begin(state, phase),
            static_argnames="phase",
            out_shardings=sharding,
            donate_argnames="state",
        ),
        sampler=jit(steps.make_sampler(algorithm)),
        eval_step=jit(steps.make_eval_step(algorithm, sharding=layout.batch)),
        all_finite=jax.jit(_all_finite, out_shardings=layout.replicated),
    )


def _all_finite(state: Any) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]).all()
