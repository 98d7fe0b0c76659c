"""The checkpoints of a run: which are kept, which is loaded, and what each holds."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from ganjax.engine.state import GanState
from ganjax.errors import printable
from ganjax.metrics.fields import NO_FIGURE
from ganjax.metrics.table import sign
from ganjax.parallel import distributed
from ganjax.runtime import compiling
from ganjax.training import stored
from ganjax.training.checkpoint_folders import FOLDER, others_in, set_aside, steps_in
from ganjax.training.migrations import FORMAT, KEY
from ganjax.training.orbax import Checkpoints, SaveError
from ganjax.training.stored import METADATA, CheckpointError, DamagedError, RemovedError

__all__ = ["FOLDER", "METADATA", "CheckpointError", "Checkpoints", "SaveError", "others_in"]

# How often, and at which interval in seconds, a reader begins anew because a run has removed what
# it was reading.
ATTEMPTS, PAUSE = 20, 0.1

T = TypeVar("T")
Keys = TypeVar("Keys", jax.Array, Sequence[jax.Array])
State = TypeVar("State", GanState, tuple[GanState, ...])


def open_checkpoints(
    workdir: Path,
    keep: int | None = None,
    best: str = NO_FIGURE,
    milestones: Sequence[int] = (),
) -> Checkpoints:
    """Opens a run's checkpoints.

    Args:
      workdir: the run's folder.
      keep: the number of the latest checkpoints that are kept; None opens them for reading only.
      best: the figure whose best checkpoint is kept too.
      milestones: the steps whose checkpoints are always kept.
    """
    if keep is None:
        return Checkpoints(workdir)

    def policy(checkpoints: Checkpoints):
        from orbax.checkpoint import v1 as ocp

        policies = ocp.training.preservation_policies
        kept: list[Any] = [policies.LatestN(keep), policies.CustomSteps(milestones)]
        if best != NO_FIGURE:
            kept.append(_KeepBest(checkpoints, best))
        return policies.AnyPreservationPolicy(kept)

    return Checkpoints(workdir, policy)


def exist(workdir: Path) -> bool:
    """Returns whether the run in the folder `workdir` has any checkpoint."""
    return bool(steps_in(workdir / FOLDER))


def latest_step(checkpoints: Checkpoints) -> int:
    """Returns the step of the latest checkpoint, or 0 if there is none."""
    return max(checkpoints.steps, default=0)


def best_step(checkpoints: Checkpoints, best: str) -> int | None:
    """Returns the step of the checkpoint with the best value of a figure.

    Args:
      checkpoints: the run's checkpoints.
      best: the name of the figure.

    Returns:
      The step, or None if no checkpoint has the figure. Among equally good checkpoints it is the
      first, so that waiting for a better one comes to an end.
    """
    return next(iter(_ranked(checkpoints.figures(), best)), None)


def _ranked(figures: Mapping[int, Mapping[str, float]], best: str) -> list[int]:
    """Returns the steps of the checkpoints that have a figure, the best first."""
    direction = sign(best)
    if direction is None:  # No value of it is better than another.
        return []
    values = {step: direction * each[best] for step, each in figures.items() if best in each}
    return sorted(values, key=lambda step: (-values[step], step))


class _KeepBest:
    """A policy that keeps the checkpoint of `best_step`; Orbax's BestN keeps the last of equals."""

    def __init__(self, checkpoints: Checkpoints, best: str):
        self._checkpoints, self._best = checkpoints, best

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        del context
        step = best_step(self._checkpoints, self._best)
        return [each.step == step for each in checkpoints]


def candidates(checkpoints: Checkpoints, which: str, best: str) -> list[int]:
    """Returns the steps of the checkpoints that would serve a user, the one asked for first.

    The others are taken if it is damaged.

    Args:
      checkpoints: the run's checkpoints, at least one.
      which: "last"; "best", which means the last if no checkpoint has the figure `best`; or a step,
        in place of which no other would serve.
      best: the figure by which the run's best checkpoint is kept, or `NO_FIGURE`.

    Raises:
      CheckpointError: `which` is none of these, or the run has kept no checkpoint of that step.
    """
    kept = sorted(checkpoints.steps, reverse=True)
    if which == "best":
        ranked = [] if best == NO_FIGURE else _ranked(checkpoints.figures(), best)
        return [*ranked, *(step for step in kept if step not in ranked)]
    if which == "last":
        return kept
    if which.isdecimal() and int(which) in kept:
        return [int(which)]
    raise CheckpointError(
        f"--which={which}: name best, last or one of the steps that "
        f"{checkpoints.folder} holds: {', '.join(map(str, sorted(kept)))}"
    )


def undisturbed(read: Callable[[], T]) -> T:
    """Calls a function that reads checkpoints, again as long as their run removes what it reads.

    A run removes old checkpoints while others read them, so `read` must list them anew.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return read()
        except RemovedError:
            time.sleep(PAUSE)
    return read()


def init_program(init: Callable[[Keys], State], sharding: Any) -> Callable[[Keys], State]:
    """Returns a function that initialises states, compiled for its single use.

    Args:
      init: the function.
      sharding: the sharding of the state that it returns: one for all leaves, or a tree of them.
    """
    once = compiling.options_once(jax.default_backend())
    return jax.jit(init, out_shardings=sharding, compiler_options=once)


def restore_or_init(
    checkpoints: Checkpoints,
    init: Callable[[Keys], State],
    key: Keys,
    sharding: Any,
    steps: Sequence[int] | None = None,
) -> State:
    """Restores a run's state from a checkpoint, or initialises it if there is none.

    A damaged checkpoint is passed over with a line that says so. If the run is to go on, it is set
    aside, since the run will save that step again.

    Args:
      checkpoints: the run's checkpoints.
      init: returns the state at step 0, given a key; for an ensemble, the members' states, given
        their keys.
      key: the key, or the members' keys, for `init`.
      sharding: the sharding of the state that is returned: one for all leaves, or a tree of them.
        The devices need not be those from which it was saved.
      steps: the steps of the checkpoints to try, in order; by default all, the latest first.

    Raises:
      CheckpointError: no checkpoint can be read as such a state.
    """
    if steps is None:
        steps = sorted(checkpoints.steps, reverse=True)
    if not steps:
        return init_program(init, sharding)(key)
    shapes = jax.eval_shape(init, key)
    target = jax.tree.map(
        lambda leaf, of_leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=of_leaf),
        shapes,
        jax.tree.broadcast(sharding, shapes),
    )
    damaged: dict[int, CheckpointError] = {}
    for step in steps:
        try:
            state = checkpoints.load(step, target)
        except DamagedError as error:
            damaged[step] = error
            continue
        _pass_over(checkpoints, damaged, step)
        return state
    first = damaged[steps[0]]
    others = f"; nor can the others, of steps {', '.join(map(str, steps[1:]))}"
    raise CheckpointError(
        f"{first}{others if len(steps) > 1 else ''}; restore it from a copy, or take "
        + ("another checkpoint by --which" if checkpoints.reads_only else "another --workdir")
    )


def _pass_over(checkpoints: Checkpoints, damaged: dict[int, CheckpointError], step: int) -> None:
    """Says which damaged checkpoints are passed over for that of `step`, and sets them aside."""
    if jax.process_index() == 0:
        for other, error in damaged.items():
            kept = "" if checkpoints.reads_only else "; it is kept as "
            if kept:
                kept += set_aside(checkpoints.folder / str(other)).name
            said = printable(f"{error}{kept}; step {step} is taken instead")
            print(f"ganjax: {said}", file=sys.stderr)
    if damaged and not checkpoints.reads_only:
        distributed.check_same({"checkpoint that can be read": step})


def stored_format(path: Path) -> int:
    """Returns the number of the format in which a checkpoint was saved.

    Args:
      path: the checkpoint's folder.

    Returns:
      The number; 1 if the checkpoint stores none, as those of early versions.

    Raises:
      DamagedError: its metadata cannot be read.
    """
    return stored.read(path).get(KEY, 1)


def window(checkpoints: Checkpoints) -> dict[str, Any]:
    """Returns what the latest checkpoint holds of the metrics since the last line that was written.

    That is {} where there is no checkpoint, or one of an older version.
    """
    if not (step := latest_step(checkpoints)):
        return {}
    return stored.read(checkpoints.folder / str(step)).get(stored.WINDOW, {})


def save_first(checkpoints: Checkpoints, state: GanState | tuple[GanState, ...]) -> None:
    """Saves the state of step 0, and waits until that has ended.

    A run that can be initialised again needs no such checkpoint.

    Raises:
      SaveError: the save has failed.
    """
    checkpoints.save(0, state, {KEY: FORMAT, stored.WINDOW: {}, stored.FIGURES: {}})
    checkpoints.wait()


def save(
    checkpoints: Checkpoints,
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

    Raises:
      SaveError: this save or the previous one has failed.
    """
    if latest_step(checkpoints) < step:
        entries = {KEY: FORMAT, stored.WINDOW: window, stored.FIGURES: figures}
        checkpoints.save(step, state, entries)
