"""Joins the processes of a run, by flags or by the environment variables of a launcher.

`ganjax.parallel.distributed` has the functions for processes that are joined.
"""

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from ganjax.errors import UserError
from ganjax.parallel import meeting

# For each value of --distributed, JAX's name of the environment that describes the processes. None
# is the first of TPU, Slurm, Open MPI and Kubernetes that JAX finds.
METHODS = {
    "auto": None,
    "tpu": None,
    "slurm": "slurm",
    "ompi": "ompi",
    "mpi4py": "mpi4py",
    "k8s": "k8s",
}
NONE = "none"
# The environment variable of the token; unlike a flag, it is not in the list of processes.
TOKEN = "GANJAX_COORDINATOR_TOKEN"
# For each launcher's variable that has the number of processes, the method that joins them.
COUNTS = {
    "SLURM_STEP_NUM_TASKS": "slurm",
    "OMPI_COMM_WORLD_SIZE": "ompi",
    "PMI_SIZE": "mpi4py",
    "TPU_WORKER_HOSTNAMES": "tpu",
}
# The seconds that a process waits for the others when it ends.
SHUTDOWN_SECONDS = 60
# The seconds without a sign of life after which a process counts as lost. Then the others end,
# unless a failing collective has ended them before.
HEARTBEAT_SECONDS = 30


class JoinError(UserError):
    """A `UserError` about processes that could not be joined."""


class Place(NamedTuple):
    """The place of a process in its run, as the flags give it.

    Attributes:
      coordinator: the host:port of process 0.
      num_processes: the number of processes.
      process_id: the number of this process, from 0.
    """

    coordinator: str
    num_processes: int
    process_id: int


def started_together(environ: Mapping[str, str]) -> tuple[str, int, str] | None:
    """Finds out whether a launcher has started this process as one of several.

    Args:
      environ: the environment variables.

    Returns:
      The name of the launcher's variable, the number of processes and the value of --distributed
      that joins them; or None for a process that was started alone.
    """
    for name, method in COUNTS.items():
        value = environ.get(name, "")
        count = len(value.split(",")) if method == "tpu" else int(value) if value.isdecimal() else 0
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
    token: str | None = None,
) -> None:
    """Joins this process to the others of its run; it must be called before JAX is used.

    If the others do not join within the timeout, the process ends with one line on the standard
    error and exit code 2.

    Args:
      method: a name in METHODS, by which the environment describes the processes; NONE, which runs
        alone whatever the environment describes; or None, which joins by the next three arguments
        and runs alone without them.
      coordinator: the host:port of process 0, the same for all processes.
      num_processes: the number of processes.
      process_id: the number of this process, from 0.
      timeout: the number of seconds to wait for the others.
      environ: the environment variables.
      token: with a coordinator, a secret that the processes share, by which they tell each other
        from strangers; None takes the environment's `TOKEN`, "" is without one.

    Raises:
      JoinError: the arguments do not go together, a launcher has started several processes but no
        argument joins them, or the environment does not describe the others.
    """
    explicit = {
        "--coordinator": coordinator,
        "--num_processes": num_processes,
        "--process_id": process_id,
    }
    given = [name for name, value in explicit.items() if value is not None]
    if token and coordinator is None:
        raise JoinError(
            "--coordinator_token goes with --coordinator: other ways to join have no such check"
        )
    token = environ.get(TOKEN, "") if token is None else token
    if method is not None and given:
        raise JoinError(f"{given[0]} and --distributed={method} exclude each other: set one")
    if method is None and not given:
        _refuse_alone(environ)
        return
    if method == NONE:
        return
    if method is None:
        place = _place(explicit)
        process = f"--coordinator={coordinator}: process {process_id} of {num_processes}"
    elif method in METHODS:
        place, process = None, f"--distributed={method}: this process"
    else:
        raise JoinError(f"--distributed={method}: there are {', '.join((*METHODS, NONE))}")
    # JAX's handler of SIGTERM would replace that of `ganjax.runtime.signals`.
    jax.config.update("jax_enable_preemption_service", False)
    status: list[str] = []
    arrived: set[int] = set()
    turned_away: list[str] = []

    def tell(line):
        turned_away.append(line)
        print(f"ganjax: {process}: {line}; waiting for the others", file=sys.stderr, flush=True)

    def timeout_message():
        reasons = status
        if place is not None and place.process_id == 0 and len(arrived) < place.num_processes - 1:
            missing = sorted(set(range(1, place.num_processes)) - arrived)
            reasons = [f"missing: {', '.join(map(str, missing))}", *turned_away[:1]]
        reason = f" ({'; '.join(reasons)})" if reasons else ""
        return (
            f"{process} was not joined by all others within --join_timeout={timeout} "
            f"seconds{reason}; start all, each with its own number, and let them reach the "
            "coordinator's port"
        )

    with _deadline(timeout, timeout_message), _quiet("jax"):
        try:
            if place is not None:
                _meet(place, arrived, status, token, tell)
                status[:] = ["all have met, but JAX did not join them"]
            jax.distributed.initialize(
                coordinator,
                num_processes,
                process_id,
                cluster_detection_method="deactivate" if method is None else METHODS[method],
                # At its own deadline JAX would abort the process with a stack trace.
                initialization_timeout=timeout + 60,
                shutdown_timeout_seconds=SHUTDOWN_SECONDS,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            )
        except meeting.Refused as error:
            raise JoinError(f"{process}: {error}") from None
        except (ValueError, RuntimeError, KeyError, OSError, ImportError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            unset = isinstance(error, KeyError) or "should be defined" in reason
            if method is not None and unset:
                reason = "its environment variables are not set, so nothing is known of the others"
            raise JoinError(
                f"{process} could not be joined to the others ({reason}); start all by that "
                "launcher, or name them by --coordinator, --num_processes and --process_id"
            ) from None


def _meet(
    place: Place,
    arrived: set[int],
    status: list[str],
    token: str,
    tell: Callable[[str], None],
) -> None:
    address, _, port = place.coordinator.rpartition(":")
    number, count = place.process_id, place.num_processes
    if number == 0:
        meeting.host(int(port), count, arrived, token, tell)
    else:
        meeting.call(address.strip("[]"), int(port), number, count, status, token)


def _refuse_alone(environ: Mapping[str, str]) -> None:
    started = started_together(environ)
    if started is not None:
        name, count, method = started
        raise JoinError(
            f"{name}={environ[name]}: this is one of {count} processes, which would be {count} "
            f"runs; add --distributed={method} to join them, or --distributed={NONE} if lone runs "
            "are meant"
        )


def _place(explicit: dict[str, Any]) -> Place:
    """Returns the place that the three flags give.

    Raises:
      JoinError: one of the flags is not set, or their values do not go together.
    """
    missing = [name for name, value in explicit.items() if value is None]
    if missing:
        raise JoinError(
            f"{missing[0]} is missing: {', '.join(explicit)} go together; set all three"
        )
    place = Place(*explicit.values())
    coordinator, count, number = place
    match = re.fullmatch(r".+:(\d+)", coordinator)
    if match is None:
        raise JoinError(f"--coordinator={coordinator}: write host:port, such as 10.0.0.1:7777")
    if not 1 <= int(match[1]) <= 65_535:
        raise JoinError(f"--coordinator={coordinator}: ports are from 1 to 65535")
    if count < 1:
        raise JoinError(f"--num_processes={count}: set 1 or more")
    if not 0 <= number < count:
        raise JoinError(
            f"--process_id={number}: of --num_processes={count} there are 0 to {count - 1}"
        )
    return place


@contextlib.contextmanager
def _deadline(seconds: float, message: Callable[[], str]) -> Iterator[None]:
    """Ends the process with a message if the body, which cannot be interrupted, is too slow."""

    def give_up():
        print(f"ganjax: {message()}", file=sys.stderr, flush=True)
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
    """Silences a logger whose errors are reported in another way."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
