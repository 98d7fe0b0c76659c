"""Lets the processes of a run meet at the coordinator's port before JAX joins them there.

JAX's coordinator accepts any process. One that belongs to another run, or that has the number of
another process, makes it end all processes with stack traces, even after days of training; and two
coordinators can listen at one port. Therefore process 0 first takes the port for itself alone,
learns the numbers of the others, and lets all of them go on together. A process that finds
something else at the port, such as JAX's coordinator, gives up. The protocol is one line of text
each way:

    ganjax 1 of 4       process 1 of 4 has connected and waits
    ganjax: go          all have connected; or
    ganjax: <reason>    the processes cannot be joined, for this reason
"""

import contextlib
import dataclasses
import errno
import re
import selectors
import socket
import struct
import time
from collections.abc import Iterable

HELLO = re.compile(rb"ganjax (\d+) of (\d+)\n")
GO = "go"
# The longest line, in bytes.
LINE_BYTES = 1024
# The seconds between two attempts to reach process 0.
RETRY_SECONDS = 0.2
# The seconds within which a process that has connected must send its line.
PATIENCE = 5.0
WAITS = "process 0 is there and waits for others"


class Refused(Exception):
    """An error of processes that cannot be joined, whose message has the reason."""


@dataclasses.dataclass
class _Caller:
    """A process that has connected to process 0.

    Attributes:
      line: the connection.
      until: the time (`time.monotonic`) by which it must have sent its line.
      said: the bytes that it has sent so far.
      number: the number of the process, None before it has sent it.
    """

    line: socket.socket
    until: float
    said: bytes = b""
    number: int | None = None


def host(port: int, count: int, arrived: set[int]) -> None:
    """Waits in process 0 until all other processes have connected, and lets them go on.

    Args:
      port: the coordinator's port.
      count: the number of processes.
      arrived: a set that this function keeps up to date: the numbers of the processes that have
        connected. The message of a timeout lists the missing ones.

    Raises:
      Refused: the port is taken, or the processes that connected do not go together.
    """
    others: dict[int, _Caller] = {}
    with contextlib.ExitStack() as opened, selectors.DefaultSelector() as selector:
        listener = opened.enter_context(_listen(port))
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)

        def answer():
            with contextlib.suppress(OSError):  # It hung up again.
                line = opened.enter_context(listener.accept()[0])
                line.setblocking(False)
                caller = _Caller(line, time.monotonic() + PATIENCE)
                selector.register(line, selectors.EVENT_READ, caller)

        def drop(caller):
            if others.pop(caller.number, None):
                arrived.discard(caller.number)
            selector.unregister(caller.line)
            caller.line.close()

        while len(others) < count - 1:
            for key, _ in selector.select(1.0):
                caller = key.data
                if caller is None:
                    answer()
                    continue
                said = _receive(caller.line)
                caller.said += said
                if said and b"\n" not in caller.said and len(caller.said) < LINE_BYTES:
                    continue
                hello = HELLO.fullmatch(caller.said)
                # A waiting process sends nothing more, so it hung up; without a valid line it is
                # none of this run.
                if caller.number is not None or hello is None:
                    drop(caller)
                    continue
                number, of = map(int, hello.groups())
                reason = _conflict(number, of, count, others)
                if reason:
                    _tell([*others.values(), caller], reason)
                    raise Refused(reason)
                caller.number, others[number] = number, caller
                arrived.add(number)
            for key in list(selector.get_map().values()):
                caller = key.data
                if caller and caller.number is None and caller.until < time.monotonic():
                    drop(caller)
        _tell(others.values(), GO)
        # The others hang up first, since otherwise the system would keep the port for a while.
        until = time.monotonic() + PATIENCE
        for caller in others.values():
            caller.line.settimeout(max(0.01, until - time.monotonic()))
            _receive(caller.line)


def call(address: str, port: int, number: int, count: int, status: list[str]) -> None:
    """Connects another process to process 0 and waits until all have connected.

    Args:
      address: the host of process 0.
      port: the coordinator's port.
      number: the number of this process.
      count: the number of processes.
      status: a list that this function keeps up to date: one line that says what this process waits
        for, or nothing once all have connected. It is part of the message of a timeout.

    Raises:
      Refused: something else is at the port, or the processes that connected do not go together.
    """
    while True:
        try:
            with socket.create_connection((address, port), PATIENCE) as line:
                if line.getsockname() == line.getpeername():
                    # Where nobody listens the kernel may connect a socket to itself. It is reset,
                    # so that it does not keep the port from process 0.
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
                line.sendall(f"ganjax {number} of {count}\n".encode())
                status[:] = [WAITS]
                line.settimeout(None)
                answer = b""
                while b"\n" not in answer and len(answer) < LINE_BYTES and (part := _receive(line)):
                    answer += part
        except OSError as error:
            status[:] = [str(error)]
            time.sleep(RETRY_SECONDS)
            continue
        if not answer:  # Process 0 ended before all had connected; it may start again.
            status[:] = ["process 0 was there, but has ended"]
            time.sleep(RETRY_SECONDS)
            continue
        before, _, reason = answer.decode(errors="replace").rstrip("\n").partition("ganjax: ")
        if before or not reason:
            raise Refused(
                f"no process 0 that waits for others is at port {port}, but something else, such "
                "as a run that has begun, or that ended within the last minute; take another port"
            )
        if reason != GO:
            raise Refused(reason)
        status.clear()
        return


def _listen(port: int) -> socket.socket:
    """Returns a socket that alone listens at a port.

    Raises:
      Refused: the port is taken or cannot be used.
    """
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", port),
            family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both,
            backlog=1024,
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise Refused(f"port {port} cannot be listened at ({error.strerror})") from None
        raise Refused(
            f"port {port} is not free on this host: another run has it, or one that ended within "
            "the last minute; take another"
        ) from None


def _receive(line: socket.socket) -> bytes:
    """Returns the bytes that the other side has sent, or none if it hung up."""
    try:
        return line.recv(LINE_BYTES)
    except OSError:
        return b""


def _conflict(number: int, of: int, count: int, others: Iterable[int]) -> str:
    """Returns the reason why a process does not go together with the others, or "" if it does."""
    if of != count:
        return (
            f"--num_processes={of} of process {number} is not --num_processes={count} of process "
            "0; start all with the same"
        )
    if number == 0 or number in others:
        return f"two processes have --process_id={number}; give each its own"
    return ""


def _tell(callers: Iterable[_Caller], words: str) -> None:
    for caller in callers:
        with contextlib.suppress(OSError):  # It has hung up.
            caller.line.settimeout(PATIENCE)
            caller.line.sendall(f"ganjax: {words}\n".encode())
