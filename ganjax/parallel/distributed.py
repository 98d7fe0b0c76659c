"""Several processes as one run, once they have joined (`ganjax.parallel.joining`): they stay of one mind.

All of them run the same program on the same arrays, so all must take the same turns: what one
of them alone finds out (a signal, an error, a figure) is shared here before it is acted upon.
In a run of one process these functions do nothing.
"""

import contextlib
import hashlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ganjax.errors import DataError, UserError

# Bytes of an error's line that others are told.
LINE = 1024
# Seconds until what one process has written is there for all, on a slow network.
VISIBLE = 15


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What one process alone finds wrong in the body, all raise: none waits for one that left.

    Every process must come by.

    Raises:
      UserError: the body's own; or of the first process with one.
    """
    found = None
    try:
        yield
    except (UserError, OSError) as error:
        found = error
    if jax.process_count() == 1:
        if found is not None:
            raise found
        return
    line = np.zeros(LINE, np.uint8)
    text = "" if found is None else " ".join(str(found).split()) or type(found).__name__
    told = text.encode()[:LINE]
    line[: len(told)] = np.frombuffer(told, np.uint8)
    lines = [bytes(each).rstrip(b"\0") for each in multihost_utils.process_allgather(line)]
    if found is not None:
        raise found
    for process, each in enumerate(lines):
        if each:
            raise UserError(f"process {process}: {each.decode(errors='replace')}")


def same(facts: Mapping[str, Any]) -> None:
    """Makes sure that all processes know the same; every process must come by.

    Args:
      facts: name -> what is to be alike, by its repr.

    Raises:
      UserError: on all of them, where one knows otherwise than process 0.
    """
    if jax.process_count() == 1:
        return
    digests = [hashlib.sha256(repr(fact).encode()).digest() for fact in facts.values()]
    told = multihost_utils.process_allgather(np.array([[*each] for each in digests], np.uint8))
    for process, theirs in enumerate(told):
        for name, each, first in zip(facts, theirs, told[0], strict=True):
            if (each != first).any():
                raise UserError(
                    f"process {process} has another {name} than process 0; start all with the "
                    "same --config, the same data and one --workdir that all reach"
                )


def reached(folder: Path) -> None:
    """Makes sure that all processes reach the folder of process 0, which has made it.

    Else each saves its part of a checkpoint where the others do not look, and all wait for ever.

    Args:
      folder: the run's.

    Raises:
      UserError: on all of them, where one does not.
    """
    if jax.process_count() == 1:
        return
    token = multihost_utils.broadcast_one_to_all(np.frombuffer(os.urandom(16), np.uint8))
    name = folder / f".reached_{bytes(token).hex()}"
    with together():
        if jax.process_index() == 0:
            name.touch()
    try:
        with together():
            deadline = time.monotonic() + VISIBLE
            while not name.exists():
                if time.monotonic() > deadline:
                    raise UserError(
                        f"--workdir={folder}: what process 0 has made there, process "
                        f"{jax.process_index()} does not find; name a folder that all reach"
                    )
                time.sleep(0.1)
    finally:
        if jax.process_index() == 0:
            name.unlink(missing_ok=True)


@contextlib.contextmanager
def on_primary(manager: contextlib.AbstractContextManager) -> Iterator[None]:
    """A context of process 0 alone. What it raises on entering, all raise."""
    with contextlib.ExitStack() as stack:
        with together():
            if jax.process_index() == 0:
                stack.enter_context(manager)
        yield


class Consensus:
    """What any process wants done, told to all at the same call.

    To be called by all processes once a step. A run of one process is answered at once. In one
    of several the answer is that of the call before, so that no step is waited for: the votes
    are a collective on the devices, behind the step that was begun before them.

    Args:
      mesh: all devices.
    """

    def __init__(self, mesh: Mesh):
        self._alone = jax.process_count() == 1
        self._size = mesh.size
        self._split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._most = jax.jit(
            lambda votes: votes.max(), out_shardings=NamedSharding(mesh, PartitionSpec())
        )
        self._before = None

    def __call__(self, vote: int) -> int:
        """The largest vote of all processes; 0 is none."""
        if self._alone:
            return vote
        local = np.full(len(self._split.addressable_devices), vote, np.int32)
        votes = jax.make_array_from_process_local_data(self._split, local, (self._size,))
        before, self._before = self._before, self._most(votes)
        return 0 if before is None else int(before)


def of_primary(figures: dict[str, float]) -> dict[str, float]:
    """Process 0's figures: others may have rounded differently, and decide by them."""
    if jax.process_count() == 1:
        return figures
    values = np.array([figures[name] for name in sorted(figures)], np.float64)
    # As bytes: JAX would make float32 of them.
    told = multihost_utils.broadcast_one_to_all(values.view(np.uint8))
    return dict(zip(sorted(figures), np.asarray(told).view(np.float64).tolist(), strict=True))


def put(values: Any, sharding: NamedSharding) -> Any:
    """Host arrays that every process holds alike, onto the devices.

    Args:
      values: a tree of numpy arrays; each process gives its devices their parts.
      sharding: of all of them.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(values, sharding)
    # (device_put would first send all of it round to compare.)
    return jax.tree.map(
        lambda each: jax.make_array_from_callback(
            np.shape(each), sharding, lambda index: np.asarray(each)[index]
        ),
        values,
    )


@contextlib.contextmanager
def or_leave() -> Iterator[None]:
    """Ends a process of several at once where it fails alone.

    Python's own end would first wait for the others, who wait for this one's part of a
    collective. UserError and SystemExit, which all raise alike, pass, but for the DataError of
    images that this process alone reads.
    """
    try:
        yield
    except (UserError, SystemExit) as error:
        if jax.process_count() == 1 or not isinstance(error, DataError):
            raise
        _leave(error)
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        _leave(error)


def _leave(error: BaseException) -> NoReturn:
    who = f"ganjax: process {jax.process_index()} of {jax.process_count()}"
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, DataError):
        print(f"{who}: {first}", file=sys.stderr)
    elif not isinstance(error, jax.errors.JaxRuntimeError):
        traceback.print_exception(error)
    elif first.startswith("RESOURCE_EXHAUSTED"):
        print(
            f"{who}: its devices' memory does not hold the run ({first}); take a smaller "
            "config.batch_size, config.accumulate or config.remat",
            file=sys.stderr,
        )
    else:
        print(
            f"{who} lost the others ({first}); start all again: the run goes on from its last "
            "checkpoint",
            file=sys.stderr,
        )
    sys.stderr.flush()
    os._exit(1)
