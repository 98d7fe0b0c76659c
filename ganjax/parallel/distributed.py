"""Agreement between the processes of a run, once they have joined (`ganjax.parallel.joining`).

All processes run the same program on the same arrays, so they must take the same steps. Facts that
only one of them knows (a signal, an error, a metric) are shared here before any process acts upon
them. In a run of one process these functions do nothing.
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

# The number of bytes of an error's line that the other processes receive.
LINE_BYTES = 1024
# The seconds until a file that one process has written is visible to all, on a slow network.
VISIBLE_SECONDS = 15


@contextlib.contextmanager
def sharing_errors() -> Iterator[None]:
    """Makes all processes raise an error that the body raises in any of them.

    Otherwise the others would wait for the process that has ended. Every process must enter this
    context.

    Raises:
      UserError: in each process, the error of its own body, or else that of the first process with
        an error. The body's OSError is raised as it is.
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
    """Checks that all processes have the same facts; every process must call this function.

    Args:
      facts: the facts by name. Their values are compared by their repr.

    Raises:
      UserError: in all processes, if one of them has another value than process 0.
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
    """Checks that all processes reach the same folder; every process must call this function.

    Otherwise each process would save its part of a checkpoint where the others do not look, and all
    would wait forever.

    Args:
      folder: the run's folder, which process 0 has made.

    Raises:
      UserError: in all processes, if one of them does not reach the folder.
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
    """Enters a context in process 0 alone; all processes raise the errors of entering it.

    Args:
      manager: the context, which process 0 enters.
    """
    with contextlib.ExitStack() as stack:
        with sharing_errors():
            if jax.process_index() == 0:
                stack.enter_context(manager)
        yield


class Consensus:
    """A vote of all processes, which gives every process the same answer at the same call.

    All processes must call it once in every step. In a run of one process the answer is immediate.
    In a run of several processes it is the answer to the votes of the previous call, so that no
    process waits for a step: the votes are a collective on the devices, which runs after the step
    that was dispatched before it.

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
        """Casts a vote, 0 for none, and returns the largest vote of all processes."""
        if self._alone:
            return vote
        local = np.full(len(self._split.addressable_devices), vote, np.int32)
        votes = jax.make_array_from_process_local_data(self._split, local, (self._size,))
        previous, self._previous = self._previous, self._largest(votes)
        return 0 if previous is None else int(previous)


def broadcast_from_primary(figures: dict[str, float]) -> dict[str, float]:
    """Returns the figures of process 0, by which all processes can take the same decisions.

    The figures of other processes may be rounded differently.

    Args:
      figures: this process' figures by name, the same names in all processes.
    """
    if jax.process_count() == 1:
        return figures
    values = np.array([figures[name] for name in sorted(figures)], np.float64)
    # The values are sent as bytes, since JAX would round them to float32.
    received = multihost_utils.broadcast_one_to_all(values.view(np.uint8))
    return dict(zip(sorted(figures), np.asarray(received).view(np.float64).tolist(), strict=True))


def device_put(values: Any, sharding: NamedSharding) -> Any:
    """Puts host arrays that are the same in every process onto the devices.

    Args:
      values: a tree of NumPy arrays, of which each process gives its own devices their parts.
      sharding: the sharding of all of these arrays.

    Returns:
      The tree of arrays on the devices.
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
    """Ends this process at once, with exit code 1, if the body fails in it alone among several.

    Python's own exit would first wait for the other processes, which wait for this one's part of a
    collective. UserError and SystemExit pass, since all processes raise them alike, except for the
    DataError of images that only this process reads. In a run of one process all errors pass.
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
