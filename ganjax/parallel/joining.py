"""How the processes of a run join: by flags, or as a launcher's environment says.

What they do together from then on: `ganjax.parallel.distributed`.
"""

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from ganjax.errors import UserError
from ganjax.parallel import meeting

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
# Seconds that a process that ends waits for the others.
SHUTDOWN = 60
# And without a sign of life after which a process counts as lost: the others end then, where no
# collective has told them before.
HEARTBEAT = 30


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
