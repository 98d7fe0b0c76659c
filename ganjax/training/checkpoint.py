"""Checkpoints by Orbax, which are saved in the background, completely or not at all."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from ganjax.engine.state import GanState
from ganjax.errors import UserError
from ganjax.metrics.fields import NO_FIGURE
from ganjax.metrics.table import sign
from ganjax.runtime import regular
from ganjax.training.migrations import FORMAT, KEY, as_stored, completed

FOLDER = "checkpoints"
# The file in which Orbax keeps the metadata of a checkpoint.
METADATA = "_CHECKPOINT_METADATA"
# Where it has the metrics since the last line of them.
WINDOW = "window"

Keys = TypeVar("Keys", jax.Array, Sequence[jax.Array])
State = TypeVar("State", GanState, tuple[GanState, ...])


class CheckpointError(UserError):
    """The error for a checkpoint that does not exist or cannot be read."""


def open_checkpoints(
    workdir: Path,
    keep: int | None = None,
    best: str = NO_FIGURE,
    milestones: Sequence[int] = (),
) -> ocp.training.Checkpointer:
    """Opens a run's checkpoints.

    Args:
      workdir: the run's folder.
      keep: the number of the latest checkpoints that are kept; None opens them for reading only.
      best: the figure whose best checkpoint is kept too.
      milestones: the steps whose checkpoints are always kept.
    """
    policies = ocp.training.preservation_policies
    policy = policies.PreserveAll()
    if keep is not None:
        kept = [policies.LatestN(keep), policies.CustomSteps(milestones)]
        if best != NO_FIGURE:
            kept.append(_KeepBest(best))
        policy = policies.AnyPreservationPolicy(kept)
    return ocp.training.Checkpointer(
        str((workdir / FOLDER).absolute()),
        # Orbax's own policies do not fit the Protocol that it states.
        preservation_policy=policy,  # pyright: ignore[reportArgumentType]
        # Removes what a killed run left half-written; for a reader, a run may still be writing it.
        cleanup_tmp_directories=keep is not None,
    )


def exist(workdir: Path) -> bool:
    """Returns whether the run in the folder `workdir` has any checkpoint."""
    return any(path.name.isdigit() for path in (workdir / FOLDER).glob("*"))


def latest_step(checkpoints: ocp.training.Checkpointer) -> int:
    """Returns the step of the latest checkpoint, or 0 if there is none."""
    return 0 if checkpoints.latest is None else checkpoints.latest.step


def best_step(checkpoints: ocp.training.Checkpointer, best: str) -> int | None:
    """Returns the step of the checkpoint with the best value of a figure.

    Args:
      checkpoints: the run's checkpoints.
      best: the name of the figure.

    Returns:
      The step, or None if no checkpoint has the figure. Among equally good checkpoints it is the
      first, so that waiting for a better one comes to an end.
    """
    return _best_step(checkpoints.checkpoints, best)


def _best_step(checkpoints: Sequence, best: str) -> int | None:
    ranked = [
        (sign(best) * each.metrics[best], -each.step)
        for each in checkpoints
        if best in (each.metrics or {})
    ]
    return -max(ranked)[1] if ranked else None


class _KeepBest:
    """A policy that keeps the checkpoint of `best_step`; Orbax's BestN keeps the last of equals."""

    def __init__(self, best: str):
        self._best = best

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        del context
        step = _best_step(checkpoints, self._best)
        return [each.step == step for each in checkpoints]


def choose_step(checkpoints: ocp.training.Checkpointer, which: str, best: str) -> int:
    """Returns the step of the checkpoint that a user asks for.

    Args:
      checkpoints: the run's checkpoints, at least one.
      which: "last"; "best", which means the last if no checkpoint has the figure `best`; or a step.
      best: the figure by which the run's best checkpoint is kept, or `NO_FIGURE`.

    Raises:
      CheckpointError: `which` is none of these, or the run has kept no checkpoint of that step.
    """
    kept = sorted(each.step for each in checkpoints.checkpoints)
    if which == "best":
        step = None if best == NO_FIGURE else best_step(checkpoints, best)
        return kept[-1] if step is None else step
    if which == "last":
        return kept[-1]
    if which.isdecimal() and int(which) in kept:
        return int(which)
    raise CheckpointError(
        f"--which={which}: name best, last or one of the steps that "
        f"{checkpoints.directory} holds: {', '.join(map(str, kept))}"
    )


def restore_or_init(
    checkpoints: ocp.training.Checkpointer,
    init: Callable[[Keys], State],
    key: Keys,
    sharding: Any,
    step: int | None = None,
) -> State:
    """Restores a run's state from a checkpoint, or initialises it if there is none.

    Args:
      checkpoints: the run's checkpoints.
      init: returns the state at step 0, given a key; for an ensemble, the members' states, given
        their keys.
      key: the key, or the members' keys, for `init`.
      sharding: the sharding of the state that is returned: one for all leaves, or a tree of them.
        The devices need not be those from which it was saved.
      step: the step of the checkpoint; None takes the latest.

    Raises:
      CheckpointError: the checkpoint cannot be read as such a state.
    """
    if checkpoints.latest is None:
        return jax.jit(init, out_shardings=sharding)(key)
    shapes = jax.eval_shape(init, key)
    target = jax.tree.map(
        lambda leaf, of_leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=of_leaf),
        shapes,
        jax.tree.broadcast(sharding, shapes),
    )
    step = checkpoints.latest.step if step is None else step
    path = Path(checkpoints.directory) / str(step)
    stored = stored_format(path)
    if stored not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"{path} is of format {stored!r}: this version of ganjax reads checkpoints of formats "
            f"1 to {FORMAT}; take a newer ganjax"
        )
    try:
        state = checkpoints.load(step, as_stored(target, stored))
    except (ValueError, KeyError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be read ({reason}): remove that folder to go on from the one before"
        ) from error
    return completed(state, target, stored)


def stored_format(path: Path) -> int:
    """Returns the number of the format in which a checkpoint was saved.

    Args:
      path: the checkpoint's folder.

    Returns:
      The number; 1 if the checkpoint stores none, as those of early versions.
    """
    return _stored(path).get(KEY, 1)


def window(checkpoints: ocp.training.Checkpointer) -> dict[str, Any]:
    """Returns what the latest checkpoint holds of the metrics since the last line that was written.

    That is {} where there is no checkpoint, or one of an older version.
    """
    if checkpoints.latest is None:
        return {}
    return _stored(Path(checkpoints.directory) / str(checkpoints.latest.step)).get(WINDOW, {})


def _stored(path: Path) -> dict[str, Any]:
    """Returns what a checkpoint holds besides the state, {} where that cannot be read."""
    try:
        # Orbax's own reader of metadata would open every array.
        metadata = json.loads(regular.read_text(path / METADATA))
    except (OSError, ValueError):  # Loading reports whatever is wrong.
        return {}
    return metadata.get("custom_metadata") or {}


def save(
    checkpoints: ocp.training.Checkpointer,
    step: int,
    state: GanState | tuple[GanState, ...],
    figures: dict[str, Any],
    window: dict[str, Any],
) -> None:
    """Begins to save a state, once the previous save has ended.

    Nothing is saved if there is a checkpoint of this or a later step. The caller may donate the
    state at once.

    Args:
      checkpoints: the run's checkpoints.
      step: the state's step.
      state: the state, or the tuple of several members' states.
      figures: the figures of the evaluation at this step, or {} if there was none.
      window: the metrics since the last line of them (`ganjax.training.window.Window.saved`).
    """
    if latest_step(checkpoints) < step:
        checkpoints.save_async(
            step,
            state,
            force=True,
            metrics=figures or None,
            custom_metadata={KEY: FORMAT, WINDOW: window},
        )
