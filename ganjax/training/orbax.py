"""Saves and loads states by Orbax, and answers its failures in one line.

A save goes on in the background, and ends completely or not at all. What is loaded is compared with
the checksums that were saved (`ganjax.training.checksums`). Orbax is imported when it is first
used, or once the first steps are reported, since a run's start need not wait for it.
"""

import contextlib
import gc
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from ganjax.errors import DataError, UserError
from ganjax.parallel import distributed
from ganjax.runtime import storage
from ganjax.training import checksums, quiet, stored, update_counts
from ganjax.training.checkpoint_folders import (
    FOLDER,
    TEMPORARY,
    is_removed,
    path_for_orbax,
    set_figures_aside,
    steps_in,
)
from ganjax.training.migrations import FORMAT, KEY, as_stored, completed
from ganjax.training.stored import CheckpointError, DamagedError, RemovedError

if TYPE_CHECKING:
    from orbax.checkpoint import v1 as ocp


class SaveError(DataError):
    """The error for a checkpoint that could not be saved."""

    # Orbax's threads wait for minutes for those that have failed.
    leaves_threads = True


class Checkpoints:
    """The checkpoints of a run, to be used as a context, which waits until the last is saved.

    Args:
      workdir: the run's folder.
      policy: makes Orbax's policy of which checkpoints are kept, given this object; None opens
        them for reading only.

    Attributes:
      folder: the folder of the checkpoints.
      reads_only: whether another process may be writing them.
    """

    def __init__(self, workdir: Path, policy: Callable[["Checkpoints"], Any] | None = None):
        self.folder = (workdir / FOLDER).absolute()
        self.reads_only = policy is None
        self._policy = policy
        self._stack = contextlib.ExitStack()
        self._at = self._stack.enter_context(path_for_orbax(self.folder))
        self._waiter = self._stack.enter_context(ThreadPoolExecutor(1, "saving"))
        self._orbax: ocp.training.Checkpointer | None = None
        self._has_failed = False
        # How many bytes a checkpoint takes at most.
        self._needed = 0
        # Ends once the last save that has begun has ended.
        self._saving: Future | None = None
        # The steps that this process has saved, with their figures.
        self._begun: dict[int, dict[str, float]] = {}

    @property
    def steps(self) -> list[int]:
        """The steps of the checkpoints, in order, with that which is being saved."""
        found = steps_in(self.folder)
        return sorted(found | set(list(self._begun)[-1:]))

    def figures(self) -> dict[int, dict[str, float]]:
        """Returns the figures of the evaluation at each checkpoint, {} where there are none."""
        return {
            step: self._begun[step]
            if step in self._begun
            else stored.figures(self.folder / str(step))
            for step in self.steps
        }

    def load(self, step: int, target: Any) -> Any:
        """Returns the state of a checkpoint, which is checked by its checksums.

        Args:
          step: the step of the checkpoint.
          target: the state's shapes, with types and shardings.

        Raises:
          DamagedError: the checkpoint cannot be read, or is not as it was saved.
          RemovedError: the run that writes the checkpoints has removed it meanwhile.
          CheckpointError: it is of a newer format, or another state.
        """
        path = self.folder / str(step)
        try:
            return self._load(path, target)
        except CheckpointError:
            if self.reads_only and is_removed(path):
                raise RemovedError(f"{path} has been removed by its run; try again") from None
            raise
        except UserError as error:  # Another process's shards are damaged.
            raise DamagedError(str(error)) from None

    def _load(self, path: Path, target: Any) -> Any:
        from orbax.checkpoint import v1 as ocp

        with distributed.sharing_errors():
            ours = _read(path)
        number = ours.get(KEY, 1)
        at, reason = self._at / path.name, ""
        state: Any = None
        wanted = saved = as_stored(target, number)
        with quiet.loading(lambda: bool(reason)), _each_alone():
            try:
                if stored.CHECKSUMS in ours:  # Those of older versions have no schedules.
                    saved = update_counts.as_saved(saved, ours[stored.CHECKSUMS])
                state = ocp.load_checkpointables(str(at), {stored.STATE: saved})[stored.STATE]
            except Exception as error:  # Damaged files give errors of every kind.
                reason = stored.cause(path, error)
            if reason:
                gc.collect()  # Tasks that Orbax has left print their errors when they are freed.
        with distributed.sharing_errors():
            if reason:
                raise DamagedError(f"{path} cannot be read: {reason}")
        with distributed.sharing_errors():
            if stored.CHECKSUMS in ours:
                try:
                    checksums.check(state, ours[stored.CHECKSUMS])
                except checksums.ChecksumError as error:
                    raise DamagedError(f"{path} is damaged: {error}") from None
                except checksums.AnotherStateError as error:
                    raise CheckpointError(
                        f"{path} holds another state than the config makes here: {error}; is "
                        "JAX_ENABLE_X64, or a file of the algorithm, as it was?"
                    ) from None
            # Older versions have not stored it besides.
            step = ours.get(stored.STEP, _step_of(state))
            if step is not None and step != int(path.name):
                raise CheckpointError(
                    f"{path} holds the state of step {step}: name the folder {step} again"
                )
        return completed(update_counts.as_wanted(state, wanted), target, number)

    def get_ready(self) -> None:
        """Imports Orbax, so that one that cannot be imported ends a run before much is trained."""
        import orbax.checkpoint  # noqa: F401

    def save(self, step: int, state: Any, entries: dict[str, Any]) -> None:
        """Begins to save a state, once the save before has ended; the first is read back at once.

        Args:
          step: the state's step.
          state: the state, which the caller may donate at once.
          entries: what is stored besides (`ganjax.training.stored`).

        Raises:
          SaveError: this save or the one before has failed.
        """
        self.wait()
        if self._orbax is None:
            self._orbax = self._open()
        self._needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        entries = entries | {stored.STEP: step, stored.CHECKSUMS: checksums.of_state(state)}
        entries = stored.sealed(json.loads(json.dumps(entries)))
        first = not self._begun
        # Known before the save begins, since Orbax then asks which checkpoints are kept.
        self._begun[step] = entries[stored.FIGURES]
        try:
            with _uncompressed():
                response = self._orbax.save_async(step, state, force=True, custom_metadata=entries)
        except (OSError, ValueError, RuntimeError) as error:
            del self._begun[step]
            raise self._not_saved(step, error) from error
        assert response is not None  # Since the save is forced.
        self._saving = self._waiter.submit(_end, response, self.folder / str(step))
        if first:
            target = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
                state,
            )
            self.wait()
            self._read_back(step, target)

    def raise_failure(self) -> None:
        """Raises the error of the save in the background, if it has failed already."""
        if self._saving is not None and self._saving.done():
            self.wait()

    def wait(self) -> None:
        """Waits until the last save has ended.

        Raises:
          SaveError: it has failed.
        """
        if self._saving is None:
            return
        saving, self._saving = self._saving, None
        step = list(self._begun)[-1]
        try:
            saving.result()
        except (OSError, ValueError, RuntimeError) as error:
            del self._begun[step]
            raise self._not_saved(step, error) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error, trace) -> None:
        with self._stack:
            if self._orbax is None:
                return
            if error is None and not self._has_failed:
                self.wait()
                self._orbax.close()
            else:  # Whatever else fails is a consequence.
                with contextlib.suppress(Exception):
                    self.wait()
                with contextlib.suppress(Exception):
                    self._orbax.close()

    def _open(self) -> "ocp.training.Checkpointer":
        """Opens Orbax's checkpointer, which removes what a killed run has left half-written."""
        from orbax.checkpoint import v1 as ocp

        assert self._policy is not None
        self._stack.enter_context(quiet.saving(lambda: self._has_failed))
        if jax.process_index() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            for step in steps_in(self.folder):
                set_figures_aside(self.folder / str(step))
        return ocp.training.Checkpointer(
            str(self._at),
            # Orbax's own policies do not fit the Protocol that it states.
            preservation_policy=self._policy(self),  # pyright: ignore[reportArgumentType]
            cleanup_tmp_directories=True,
        )

    def _read_back(self, step: int, target: Any) -> None:
        """Reads the first checkpoint of a process as a later one would."""
        try:
            self.load(step, target)
        except CheckpointError as error:
            raise SaveError(
                f"{error}; it was written a moment ago, so that later ones would be lost too: take "
                "a --workdir on another disk"
            ) from None

    def _not_saved(self, step: int, error: BaseException) -> SaveError:
        """Returns the error of one line for a save that has failed, and frees its space."""
        self._has_failed = True
        for partial in self.folder.glob(f"{step}{TEMPORARY}*"):
            shutil.rmtree(partial, ignore_errors=True)
        reason, full = _first_line(error), is_full(error)
        if full:
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(self.folder).free
                reason = (
                    f"the disk is full or a limit is reached; it needs up to {self._needed:,} "
                    f"bytes, and {free:,} are free"
                )
        path = self.folder / str(step)
        return SaveError(f"{path} could not be saved: {reason}; {self._safe(full)}")

    def safe(self) -> str:
        """Returns what is safe after a write has failed, and what to do."""
        with contextlib.suppress(SaveError):
            self.wait()
        return self._safe(full=True)

    def _safe(self, full: bool) -> str:
        mend = "Make room, and" if full else "When that is mended,"
        safe = max(steps_in(self.folder), default=None)
        kept = "no step is saved yet" if safe is None else f"step {safe} is safe"
        return f"{kept}. {mend} the same command goes on from there"


def is_full(error: BaseException | None) -> bool:
    """Returns whether an error, or one of its causes, says that the disk or a quota is full."""
    while error is not None:
        if storage.is_full(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def naming_full_disk(checkpoints: Checkpoints) -> Iterator[None]:
    """Turns the error of a full disk into one line with the file and the step that is saved.

    Raises:
      SaveError: a write in the body has found the disk full.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        where = error.filename or checkpoints.folder.parent
        raise SaveError(f"{where}: {error.strerror}; {checkpoints.safe()}") from error


def _each_alone() -> contextlib.AbstractContextManager:
    """Returns a context in which each process loads its shards without Orbax's waiting for others.

    It would wait for minutes for a process whose shards cannot be read; errors are shared after it.
    """
    if jax.default_backend() == "tpu":  # There Orbax may number the processes otherwise than JAX.
        return contextlib.nullcontext()
    from orbax.checkpoint import v1 as ocp

    options = ocp.options.MultiprocessingOptions(
        primary_host=None, active_processes={jax.process_index()}
    )
    return ocp.Context(multiprocessing_options=options)


def _uncompressed() -> contextlib.AbstractContextManager:
    """Returns a context in which Orbax saves arrays as they are.

    Compression makes weights a twelfth smaller, and a save up to two fifths longer (docs/speed.md).
    """
    from orbax.checkpoint import v1 as ocp

    context = ocp.Context()
    context.array.saving.use_compression = False
    return context


def _read(path: Path) -> dict[str, Any]:
    """Reads our entries in a checkpoint's metadata, and refuses those of newer versions."""
    ours = stored.read(path)
    found = ours.get(KEY, 1)
    if found not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"{path} is of format {found!r}: this version of ganjax reads checkpoints of formats "
            f"1 to {FORMAT}; take a newer ganjax"
        )
    return ours


def _end(response: "ocp.AsyncResponse", path: Path) -> None:
    """Waits until a save has ended, and until it is on the disk."""
    # Without asking for the result, Orbax keeps an event loop and its thread for each save.
    response.result()
    if path.is_dir():
        for each in (*path.rglob("*"), path, path.parent):
            with contextlib.suppress(FileNotFoundError):
                storage.sync(each)


def _step_of(state: Any) -> int | None:
    """Returns the step of a state or of the first of several; None if it has none."""
    first = state[0] if isinstance(state, tuple) else state
    step = first.get("step") if isinstance(first, dict) else getattr(first, "step", None)
    return None if step is None else int(step)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
