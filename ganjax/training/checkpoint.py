"""Checkpoints by Orbax: asynchronous, atomic, the latest few kept."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from ganjax.engine.state import GanState
from ganjax.errors import UserError
from ganjax.metrics import figures

FOLDER = "checkpoints"


class CheckpointError(UserError):
    """A checkpoint that cannot be read."""


def open_checkpoints(
    workdir: Path,
    keep: int | None = None,
    best: str = figures.NO_FIGURE,
    besides: Sequence[int] = (),
) -> ocp.training.Checkpointer:
    """Opens a run's checkpoints.

    Args:
      workdir: the run's folder.
      keep: how many of the latest are kept, to write; None only reads.
      best: the figure whose best value marks a checkpoint that is kept besides.
      besides: the steps of others that are.
    """
    policies = ocp.training.preservation_policies
    policy = policies.PreserveAll()
    if keep is not None:
        kept = [policies.LatestN(keep), policies.CustomSteps(besides)]
        if best != figures.NO_FIGURE:
            kept.append(_Best(best))
        policy = policies.AnyPreservationPolicy(kept)
    return ocp.training.Checkpointer(
        (workdir / FOLDER).absolute(),
        preservation_policy=policy,
        # What a killed run left half-written. Never from a reader: a run may be writing it.
        cleanup_tmp_directories=keep is not None,
    )


def exist(workdir: Path) -> bool:
    """Whether a run has any checkpoint."""
    return any(path.name.isdigit() for path in (workdir / FOLDER).glob("*"))


def latest_step(checkpoints: ocp.training.Checkpointer) -> int:
    """The step of the latest checkpoint, 0 without one."""
    return 0 if checkpoints.latest is None else checkpoints.latest.step


def best_step(checkpoints: ocp.training.Checkpointer, best: str) -> int | None:
    """The step of the checkpoint with the best figure `best`, None without any."""
    return _best(checkpoints.checkpoints, best)


def _best(checkpoints: Sequence, best: str) -> int | None:
    """What `best_step` gives, of checkpoints with a `step` and `metrics`."""
    found = [
        (figures.sign(best) * c.metrics[best], c.step)
        for c in checkpoints
        if best in (c.metrics or {})
    ]
    # The first of equals, so that waiting for a better one has an end.
    return max(found, key=lambda figure: (figure[0], -figure[1]))[1] if found else None


class _Best:
    """Keeps the checkpoint that `best_step` names. (Orbax's BestN keeps the last of equals.)"""

    def __init__(self, best: str):
        self._best = best

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        del context
        best = _best(checkpoints, self._best)
        return [c.step == best for c in checkpoints]


def choose_step(checkpoints: ocp.training.Checkpointer, which: str, best: str) -> int:
    """The step of the checkpoint that `which` names; there must be a checkpoint.

    Args:
      checkpoints: the run's.
      which: "last"; "best": by the figure `best`, or the last where none has it; or a step.
      best: the figure by which the run's best is kept, or `figures.NO_FIGURE`.

    Raises:
      CheckpointError: it is none of these, or the run has kept no checkpoint of that step.
    """
    kept = sorted(c.step for c in checkpoints.checkpoints)
    if which == "best":
        step = None if best == figures.NO_FIGURE else best_step(checkpoints, best)
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
    init: Callable[[jax.Array], GanState],
    key: jax.Array,
    sharding: Any,
    step: int | None = None,
) -> GanState:
    """The latest state, or without one a new one.

    Args:
      checkpoints: the run's.
      init: key -> the state at step 0.
      key: for `init`.
      sharding: how the state lies on the devices, whatever it was saved from: of all of it, or
        a tree of them.
      step: of the checkpoint; None takes the latest.

    Raises:
      CheckpointError: the latest checkpoint cannot be read as such a state.
    """
    if checkpoints.latest is None:
        return jax.jit(init, out_shardings=sharding)(key)
    shapes = jax.eval_shape(init, key)
    target = jax.tree.map(
        lambda leaf, each: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=each),
        shapes,
        jax.tree.broadcast(sharding, shapes),
    )
    step = checkpoints.latest.step if step is None else step
    path = checkpoints.directory / str(step)
    try:
        return checkpoints.load(step, target)
    except (ValueError, KeyError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be read ({reason}): remove that folder to go on from the one before"
        ) from error


def save(
    checkpoints: ocp.training.Checkpointer, step: int, state: GanState, figures: dict[str, float]
) -> None:
    """Begins to save; the caller may donate `state` at once. Waits for the save before.

    Args:
      checkpoints: the run's.
      step: of the state.
      state: to save.
      figures: of its evaluation, {} without one.
    """
    if latest_step(checkpoints) < step:
        checkpoints.save_async(step, state, force=True, metrics=figures or None)
