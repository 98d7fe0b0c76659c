"""Checkpoints by Orbax: asynchronous, atomic, the latest few kept."""

from collections.abc import Callable
from pathlib import Path

import jax
from jax.sharding import NamedSharding
from orbax.checkpoint import v1 as ocp

from ganjax.errors import UserError
from ganjax.state import GanState

FOLDER = "checkpoints"


class CheckpointError(UserError):
    """A checkpoint that cannot be read."""


def open_checkpoints(workdir: Path, keep: int | None = None) -> ocp.training.Checkpointer:
    """Opens a run's checkpoints.

    Args:
      workdir: the run's folder.
      keep: how many of the latest are kept, to write; None only reads.
    """
    policies = ocp.training.preservation_policies
    return ocp.training.Checkpointer(
        (workdir / FOLDER).absolute(),
        preservation_policy=policies.PreserveAll() if keep is None else policies.LatestN(keep),
        # What a killed run left half-written. Never from a reader: a run may be writing it.
        cleanup_tmp_directories=keep is not None,
    )


def exist(workdir: Path) -> bool:
    """Whether a run has any checkpoint."""
    return any(path.name.isdigit() for path in (workdir / FOLDER).glob("*"))


def latest_step(checkpoints: ocp.training.Checkpointer) -> int:
    """The step of the latest checkpoint, 0 without one."""
    return 0 if checkpoints.latest is None else checkpoints.latest.step


def restore_or_init(
    checkpoints: ocp.training.Checkpointer,
    init: Callable[[jax.Array], GanState],
    key: jax.Array,
    sharding: NamedSharding,
) -> GanState:
    """The latest state, or without one a new one.

    Args:
      checkpoints: the run's.
      init: key -> the state at step 0.
      key: for `init`.
      sharding: how the state lies on the devices, whatever it was saved from.

    Raises:
      CheckpointError: the latest checkpoint cannot be read as such a state.
    """
    if checkpoints.latest is None:
        return jax.jit(init, out_shardings=sharding)(key)
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(init, key),
    )
    path = checkpoints.latest.path
    try:
        return checkpoints.load(checkpoints.latest, target)
    except (ValueError, KeyError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be read ({reason}): remove that folder to go on from the one before"
        ) from error


def save(checkpoints: ocp.training.Checkpointer, step: int, state: GanState) -> None:
    """Begins to save; the caller may donate `state` at once. Waits for the save before."""
    if latest_step(checkpoints) < step:
        checkpoints.save_async(step, state, force=True)
