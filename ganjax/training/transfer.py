"""The beginning of a run from the weights of another run.

A new run takes the parameters and variables of both players, or of the generator alone, and of its
average. Everything else begins anew: the step, the optimisers, the probability of augmentation. The
arrays of both runs are matched by their names and must have the same shapes, but for what the user
allows (`RULES`).

Where the weights come from is recorded in config.json before anything else is written, and the
state that they make is the checkpoint of step 0, before the first step is trained. So a run that
was killed goes on without being told, and needs the other run no longer than until that checkpoint.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from ganjax.config import ConfigError, differences
from ganjax.engine import step as steps
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.state import GanState
from ganjax.parallel.sharding import Layout, state_sharding
from ganjax.training import checkpoint, continuing, ensemble, matching, schema, stored, workdir
from ganjax.training.checkpoint_folders import steps_in
from ganjax.training.history import Origin
from ganjax.training.matching import RULES
from ganjax.training.start import Start

# The fields on which the arrays of networks depend, whose differences a message names.
OF_NETWORKS = (
    *("config.image_size", "config.latent_dim", "config.data.num_classes", "config.data.channels"),
    *("config.conditioning.", "config.generator.", "config.discriminator.", "config.batch_norm."),
    "config.growth.batch_sizes",
)


class Transfer(NamedTuple):
    """What a run takes from another at its beginning.

    Attributes:
      origin: where it comes from.
      algorithm: the other run's algorithm.
      seeds: the seeds of the other run's members.
      parts: which parts of which arrays are taken (`ganjax.training.matching.parts`).
    """

    origin: Origin
    algorithm: Algorithm
    seeds: tuple[int, ...]
    parts: matching.Parts


def plan(folder: Path, start: Start, loaded: schema.Loaded, shapes: GanState) -> Transfer | None:
    """Returns what a run takes from another, or None if it takes nothing or has begun already.

    Args:
      folder: the run's folder.
      start: how the run is to begin.
      loaded: its config and the module of its algorithm.
      shapes: the shapes of its state.

    Raises:
      ConfigError: there is no such run or checkpoint, its weights do not fit, or the folder holds a
        run that began otherwise.
    """
    if checkpoint.exist(folder):
        if start.init_from:
            _check_same(folder, start)
        return None
    origin = _origin(folder, start, loaded.config)
    if origin is None:
        return None
    there = _read(origin, start, loaded.config)
    algorithm, seeds = there.module.build(there.config), ensemble.seeds(there.config)
    if len(seeds) not in (1, loaded.config.num_seeds):
        raise ConfigError(
            f"{origin}: that run has {len(seeds)} seeds; give --config.num_seeds={len(seeds)}"
        )
    try:
        parts = matching.parts(
            matching.Side(loaded, shapes),
            matching.Side(there, _shapes(algorithm)),
            origin.players,
            origin.allow,
        )
    except matching.Misfit as misfit:
        raise _refusal(origin, misfit, there.config, loaded.config) from None
    return Transfer(origin, algorithm, tuple(seeds), parts)


def begin(
    transfer: Transfer,
    init: Callable[[jax.Array], GanState],
    keys: Sequence[jax.Array],
    layout: Layout,
    sharding: Any,
    mode: str,
) -> ensemble.Members:
    """Returns the members' states at step 0, with what they take from another run.

    Args:
      transfer: what they take.
      init: returns the state of a member at step 0, given its key.
      keys: each member's root key.
      layout: the layout of arrays on the devices.
      sharding: the sharding of one member's state.
      mode: how parameters are sharded, config.sharding.

    Raises:
      ConfigError: the weights are gone, have changed, or are damaged.
    """
    origin = transfer.origin
    if _seal(origin) != origin.seal:
        raise ConfigError(f"{origin}: that checkpoint has changed since; give --init_from again")
    shapes = _shapes(transfer.algorithm)
    target = jax.tree.map(
        lambda leaf, of_leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=of_leaf),
        shapes,
        jax.tree.broadcast(state_sharding(layout, shapes, mode), shapes),
    )
    several = len(transfer.seeds) > 1
    fresh = checkpoint.init_program(init, sharding)
    merged = jax.jit(partial(matching.merged, transfer.parts), out_shardings=sharding)
    members = []
    with checkpoint.open_checkpoints(Path(origin.run)) as checkpoints:
        for i, key in enumerate(keys):
            try:  # For each member anew, since each donates its own.
                state = checkpoints.load(
                    origin.step, (target,) * len(transfer.seeds) if several else target
                )
            except checkpoint.CheckpointError as error:
                raise ConfigError(f"{origin}: {error}; name another step") from None
            members.append(merged(fresh(key), state[i] if several else state))
    return tuple(members)


def _origin(folder: Path, start: Start, config: schema.LoopConfig) -> Origin | None:
    """Returns where the weights of a run that has not begun come from.

    Raises:
      ConfigError: there is no such run or checkpoint, or a rule is unknown.
    """
    if not start.init_from:
        # As recorded by a command that was killed before the first checkpoint.
        return (
            workdir.read_history(folder).init_from if (folder / workdir.CONFIG).exists() else None
        )
    for rule in start.init_allow:
        if rule not in RULES:
            known = ", ".join(f"{name} ({meaning})" for name, meaning in RULES.items())
            raise ConfigError(f"--init_allow={rule}: there are {known}")
    asked = _asked(start)
    there = _read(asked, start, config).config
    run = Path(asked.run)
    if not checkpoint.exist(run):
        raise workdir.no_checkpoint(run, there)
    if asked.which.isdecimal() and int(asked.which) not in (
        kept := steps_in(run / checkpoint.FOLDER)
    ):
        raise ConfigError(
            f"--init_from={start.init_from}: {run / checkpoint.FOLDER} holds the steps "
            f"{', '.join(map(str, sorted(kept)))}; name one of these"
        )
    with checkpoint.open_checkpoints(run) as checkpoints:
        step = checkpoint.candidates(checkpoints, asked.which, there.evaluation.best)[0]
    found = asked.model_copy(update={"step": step})
    return found.model_copy(update={"seal": _seal(found)})


def _asked(start: Start) -> Origin:
    """Returns the origin that the flags name, whose step is not known yet."""
    run, colon, which = start.init_from.rpartition(":")
    if not colon or not (which.isdecimal() or which in ("best", "last")):
        run, which = start.init_from, "best"
    return Origin(
        run=str(Path(run).expanduser().resolve()),
        which=which,
        players=start.init_players,
        allow=tuple(sorted(start.init_allow)),
    )


def _check_same(folder: Path, start: Start) -> None:
    """Raises a ConfigError if the run in a folder did not begin as the flags say."""
    began = workdir.read_history(folder).init_from
    if began is None or not began.is_as(_asked(start)):
        how = "by itself" if began is None else f"by {began}"
        raise ConfigError(
            f"--init_from={start.init_from}: {folder} holds a run that began {how}; leave the flag "
            "out to go on with it, or take --new or another --workdir"
        )


def _read(origin: Origin, start: Start, config: schema.LoopConfig) -> schema.Loaded:
    """Loads the config of the other run, which may name the code that this one names."""
    return workdir.read(Path(origin.run), start.trust or (config.algorithm, config.data.source))


def _seal(origin: Origin) -> int | None:
    """Returns the checksum of the metadata of a checkpoint, which has those of its arrays."""
    try:
        path = Path(origin.run) / checkpoint.FOLDER / str(origin.step)
        return stored.read(path).get(stored.SEAL)
    except checkpoint.CheckpointError as error:
        raise ConfigError(f"{origin}: {error}; restore it, or name another step") from None


def _shapes(algorithm: Algorithm) -> GanState:
    return jax.eval_shape(partial(steps.init_state, algorithm), jax.random.key(0))


def _refusal(
    origin: Origin, misfit: matching.Misfit, there: schema.LoopConfig, here: schema.LoopConfig
) -> ConfigError:
    """Returns the error of one line for weights that do not fit."""
    old, new = there.model_dump(mode="json"), here.model_dump(mode="json")
    of_networks = [n for n in differences(old, new) if n.startswith(OF_NETWORKS)]
    if origin.players != "both":
        of_networks = [n for n in of_networks if not n.startswith("config.discriminator")]
    differ, flags = continuing.compared(old, new, of_networks)
    mends = [f"give {flags}"] if flags else ["begin from a run of the same networks"]
    mends += [
        f"--init_allow={rule} ({RULES[rule]})"
        for rule in matching.helpful(old, new, here)
        if rule not in origin.allow
    ]
    named = f", since {differ}" if differ else ""
    return ConfigError(f"{origin}: its weights do not fit: {misfit}{named}; {', or '.join(mends)}")
