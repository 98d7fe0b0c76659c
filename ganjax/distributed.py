"""Several processes as one run: how they join, and how they stay of one mind.

All of them run the same program on the same arrays, so all must take the same turns: what one
of them alone finds out (a signal, an error, a figure) is shared here before it is acted upon.
In a run of one process these functions do nothing.
"""

import contextlib
import hashlib
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ganjax import meeting
from ganjax.errors import DataError, UserError

# --distributed -> JAX's name of the environment that it reads the processes from; None takes the
# first of TPU, Slurm, Open MPI and Kubernetes that it finds.
METHODS = {
    "auto": None,
    "tpu": None,
    "slurm": "slurm",
    "ompi": "ompi",
    "mpi4py": "mpi4py",
    "k8s": "k8s",
}
NONE = "none"
# A launcher's variable that counts the processes -> what joins them.
COUNTS = {
    "SLURM_STEP_NUM_TASKS": "slurm",
    "OMPI_COMM_WORLD_SIZE": "ompi",
    "PMI_SIZE": "mpi4py",
    "TPU_WORKER_HOSTNAMES": "tpu",
}
# Bytes of an error's line that others are told.
LINE = 1024
# Seconds that a process that ends waits for the others.
SHUTDOWN = 60
# And without a sign of life after which a process counts as lost: the others end then, where no
# collective has told them before.
HEARTBEAT = 30
# Seconds until what one process has written is there for all, on a slow network.
VISIBLE = 15


class JoinError(UserError):
    """Processes that could not be joined."""


def started_together(environ: Mapping[str, str]) -> tuple[str, int, str] | None:
    """(variable, count, --distributed) where a launcher started this process with others.

    Args:
      environ: the environment's variables.
    """
    for name, method in COUNTS.items():
        value = environ.get(name, "")
        count = len(value.split(",")) if method == "tpu" else int(value) if value.isdigit() else 0
        if count > 1:
            return name, count, method
    return None


def join(
    method: str | None,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = 300,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Joins this process to the others of its run. To be called before JAX is used.

    Args:
      method: a name in METHODS reads who the others are from the environment; NONE runs alone
        whatever that says; None joins by the next three, or runs alone without them.
      coordinator: host:port of process 0, the same for all.
      num_processes: how many there are.
      process_id: of this one, from 0.
      timeout: seconds to wait for the others.
      environ: the environment's variables.

    Raises:
      JoinError: the flags do not go together, this process was started as one of several but
        told nothing of it, or the environment does not say who they are. Where the others do not
        come within the timeout the process ends with one line and exit code 2.
    """
    explicit = {
        "--coordinator": coordinator,
        "--num_processes": num_processes,
        "--process_id": process_id,
    }
    given = [name for name, value in explicit.items() if value is not None]
    if method is not None and given:
        raise JoinError(f"{given[0]} and --distributed={method} exclude each other: set one")
    if method is None and not given:
        _refuse_alone(environ)
        return
    if method == NONE:
        return
    if method is None:
        _check(explicit)
        who = f"--coordinator={coordinator}: process {process_id} of {num_processes}"
    elif method in METHODS:
        who = f"--distributed={method}: this process"
    else:
        raise JoinError(f"--distributed={method}: there are {', '.join((*METHODS, NONE))}")
    # Its handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    trouble: list[str] = []
    here: set[int] = set()

    def late():
        found = trouble
        if process_id == 0 and len(here) < num_processes - 1:
            missing = sorted(set(range(1, num_processes)) - here)
            found = [f"missing: {', '.join(map(str, missing))}"]
        why = f" ({found[0]})" if found else ""
        return (
            f"{who} was not joined by all others within --join_timeout={timeout} seconds{why}; "
            "start all, each with its own number, and let them reach the coordinator's port"
        )

    with _deadline(timeout, late), _quiet("jax"):
        try:
            if method is None:
                _meet(coordinator, num_processes, process_id, here, trouble)
                trouble[:] = ["all have met, but JAX did not join them"]
            jax.distributed.initialize(
                coordinator,
                num_processes,
                process_id,
                cluster_detection_method="deactivate" if method is None else METHODS[method],
                # Its own deadline would abort the process with a stack trace.
                initialization_timeout=timeout + 60,
                shutdown_timeout_seconds=SHUTDOWN,
                heartbeat_timeout_seconds=HEARTBEAT,
            )
        except meeting.Refused as error:
            raise JoinError(f"{who}: {error}") from None
        except (ValueError, RuntimeError, KeyError, OSError, ImportError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            unset = isinstance(error, KeyError) or "should be defined" in reason
            if method is not None and unset:
                reason = "its environment variables are not set, so nothing is known of the others"
            raise JoinError(
                f"{who} could not be joined to the others ({reason}); start all by that "
                "launcher, or name them by --coordinator, --num_processes and --process_id"
            ) from None


def _meet(coordinator: str, count: int, number: int, here: set[int], trouble: list[str]) -> None:
    address, _, port = coordinator.rpartition(":")
    if number == 0:
        meeting.host(int(port), count, here)
    else:
        meeting.call(address.strip("[]"), int(port), number, count, trouble)


def _refuse_alone(environ: Mapping[str, str]) -> None:
    found = started_together(environ)
    if found is not None:
        name, count, method = found
        raise JoinError(
            f"{name}={environ[name]}: this is one of {count} processes, which would be {count} "
            f"runs; add --distributed={method} to join them, or --distributed={NONE} if lone runs "
            "are meant"
        )


def _check(explicit: dict[str, Any]) -> None:
    missing = [name for name, value in explicit.items() if value is None]
    if missing:
        raise JoinError(
            f"{missing[0]} is missing: {', '.join(explicit)} go together; set all three"
        )
    coordinator, count, number = explicit.values()
    found = re.fullmatch(r".+:(\d+)", coordinator)
    if found is None:
        raise JoinError(f"--coordinator={coordinator}: write host:port, such as 10.0.0.1:7777")
    if not 1 <= int(found[1]) <= 65_535:
        raise JoinError(f"--coordinator={coordinator}: ports are from 1 to 65535")
    if count < 1:
        raise JoinError(f"--num_processes={count}: set 1 or more")
    if not 0 <= number < count:
        raise JoinError(
            f"--process_id={number}: of --num_processes={count} there are 0 to {count - 1}"
        )


@contextlib.contextmanager
def _deadline(seconds: float, line: Callable[[], str]) -> Iterator[None]:
    """Ends the process with a line where the body takes longer, which cannot be interrupted."""

    def give_up():
        print(f"ganjax: {line()}", file=sys.stderr, flush=True)
        os._exit(2)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keeps back what a logger says of an error that is told in our own line."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


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
