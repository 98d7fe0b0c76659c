"""Agreement between the processes of a run, once they have joined (`ganjax.parallel.joining`).

All processes run the same program on the same arrays, so they must take the same steps: what one of
them alone finds out (a signal, an error, a metric) is shared here before any acts upon it. In a run
of one process these functions do nothing.
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

# Bytes of an error's line that the other processes are told.
LINE_BYTES = 1024
# Seconds until a file that one process has written is visible to all, on a slow network.
VISIBLE_SECONDS = 15


@contextlib.contextmanager
def sharing_errors() -> Iterator[None]:
    """A context whose errors all processes raise, so that none waits for one that has ended.

    Every process must enter it.

    Raises:
      UserError: the body's own error, or that of the first process with one.
    """
    own_error = None
    try:
        yield
    except (UserError, OSError) as error:
        own_error = error
    if jax.process_count() == 1:
        if own_error is not None:
            raise own_error
        return
    line = ""
    if own_error is not None:
        line = " ".join(str(own_error).split()) or type(own_error).__name__
    message = np.zeros(LINE_BYTES, np.uint8)
    encoded = line.encode()[:LINE_BYTES]
    message[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    messages = [bytes(row).rstrip(b"\0") for row in multihost_utils.process_allgather(message)]
    if own_error is not None:
        raise own_error
    for process, encoded in enumerate(messages):
        if encoded:
            raise UserError(f"process {process}: {encoded.decode(errors='replace')}")


def check_same(facts: Mapping[str, Any]) -> None:
    """Raises unless all processes hold the same facts; every process must call it.

    Args:
      facts: the name of each fact and its value, which is compared by its repr.

    Raises:
      UserError: on all processes, if one holds another value than process 0.
    """
    if jax.process_count() == 1:
        return
    digests = [hashlib.sha256(repr(fact).encode()).digest() for fact in facts.values()]
    gathered = multihost_utils.process_allgather(np.array([[*each] for each in digests], np.uint8))
    for process, others in enumerate(gathered):
        for name, digest, first in zip(facts, others, gathered[0], strict=True):
            if (digest != first).any():
                raise UserError(
                    f"process {process} has another {name} than process 0; start all with the "
                    "same --config, the same data and one --workdir that all reach"
                )


def check_shared_folder(folder: Path) -> None:
    """Raises unless all processes reach the same folder; every process must call it.

    Otherwise each would save its part of a checkpoint where the others do not look, and all would
    wait forever.

    Args:
      folder: the run's folder, which process 0 has made.

    Raises:
      UserError: on all processes, if one does not reach it.
    """
    if jax.process_count() == 1:
        return
    token = multihost_utils.broadcast_one_to_all(np.frombuffer(os.urandom(16), np.uint8))
    name = folder / f".reached_{bytes(token).hex()}"
    with sharing_errors():
        if jax.process_index() == 0:
            name.touch()
    try:
        with sharing_errors():
            deadline = time.monotonic() + VISIBLE_SECONDS
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
    """A context that process 0 alone enters; what it raises on entering, all processes raise."""
    with contextlib.ExitStack() as stack:
        with sharing_errors():
            if jax.process_index() == 0:
                stack.enter_context(manager)
        yield


class Consensus:
    """Tells all processes at the same call what any of them wants done.

    All processes must call it once a step. In a run of one process the answer is immediate. In one
    of several processes it is the answer to the votes of the call before, so that no step is waited
    for: the votes are a collective on the devices, which runs after the step begun before them.

    Args:
      mesh: the mesh of all devices.
    """

    def __init__(self, mesh: Mesh):
        self._alone = jax.process_count() == 1
        self._size = mesh.size
        self._split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._largest = jax.jit(
            lambda votes: votes.max(), out_shardings=NamedSharding(mesh, PartitionSpec())
        )
        self._previous: jax.Array | None = None

    def __call__(self, vote: int) -> int:
        """Returns the largest vote of all processes; 0 is no vote."""
        if self._alone:
            return vote
        local = np.full(len(self._split.addressable_devices), vote, np.int32)
        votes = jax.make_array_from_process_local_data(self._split, local, (self._size,))
        previous, self._previous = self._previous, self._largest(votes)
        return 0 if previous is None else int(previous)


def broadcast_from_primary(figures: dict[str, float]) -> dict[str, float]:
    """Returns process 0's values of named figures.

    Processes decide by them, and the other processes' values may be rounded differently.
    """
    if jax.process_count() == 1:
        return figures
    values = np.array([figures[name] for name in sorted(figures)], np.float64)
    # They are sent as bytes, since JAX would round them to float32.
    received = multihost_utils.broadcast_one_to_all(values.view(np.uint8))
    return dict(zip(sorted(figures), np.asarray(received).view(np.float64).tolist(), strict=True))


def device_put(values: Any, sharding: NamedSharding) -> Any:
    """Puts host arrays that every process holds alike onto the devices.

    Args:
      values: a tree of numpy arrays; each process gives its own devices their parts.
      sharding: the sharding of all of them.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(values, sharding)
    # jax.device_put would first send every array to all processes to compare them.
    return jax.tree.map(
        lambda array: jax.make_array_from_callback(
            np.shape(array), sharding, lambda index: np.asarray(array)[index]
        ),
        values,
    )


@contextlib.contextmanager
def exiting_on_error() -> Iterator[None]:
    """A context that ends this process at once if it fails alone among several.

    Python's own exit would first wait for the other processes, which wait for this one's part of a
    collective. UserError and SystemExit pass, since all processes raise them alike, except for the
    DataError of images that this process alone reads.
    """
    try:
        yield
    except (UserError, SystemExit) as error:
        if jax.process_count() == 1 or not isinstance(error, DataError):
            raise
        _exit(error)
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        _exit(error)


def _exit(error: BaseException) -> NoReturn:
    process = f"ganjax: process {jax.process_index()} of {jax.process_count()}"
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, DataError):
        print(f"{process}: {first_line}", file=sys.stderr)
    elif not isinstance(error, jax.errors.JaxRuntimeError):
        traceback.print_exception(error)
    elif first_line.startswith("RESOURCE_EXHAUSTED"):
        print(
            f"{process}: its devices' memory does not hold the run ({first_line}); take a smaller "
            "config.batch_size, config.accumulate or config.remat",
            file=sys.stderr,
        )
    else:
        print(
            f"{process} lost the others ({first_line}); start all again: the run goes on from its "
            "last checkpoint",
            file=sys.stderr,
        )
    sys.stderr.flush()
    os._exit(1)
