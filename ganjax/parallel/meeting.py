"""The processes of a run meet before JAX joins them, at the port where it will.

JAX's coordinator takes whoever comes: a process that was meant for another run, or that has
another's number, makes it end all of them with stack traces, those that had been training for days
too; and two coordinators can listen at one port. So process 0 first takes the port for itself
alone, hears who the others are, and lets all go on together. Whoever finds JAX's coordinator there,
or anything else, goes away. It is one line of text each way:

    ganjax 1 of 4       process 1 of 4 is here; then it waits
    ganjax: go          all are; or
    ganjax: <reason>    they will not be
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
# Bytes of a line.
LINE = 1024
# Seconds between two attempts to reach process 0.
AGAIN = 0.2
# Seconds in which whoever comes to process 0 has to say who it is.
PATIENCE = 5.0
WAITS = "process 0 is there and waits for others"


class Refused(Exception):
    """They will not be joined, and why."""


@dataclasses.dataclass
class _Caller:
    """Who has come to process 0.

    Attributes:
      line: to it.
      until: when it has to have said who it is.
      said: what it said so far.
      number: who it is; None before it has said so.
    """

    line: socket.socket
    until: float
    said: bytes = b""
    number: int | None = None


def host(port: int, count: int, here: set[int]) -> None:
    """Process 0's part: waits until all others have come, and lets them go on.

    Args:
      port: of the coordinator.
      count: of the processes.
      here: holds the numbers of those that are there, for whoever gives up waiting.

    Raises:
      Refused: the port is taken, or who came do not go together.
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
                here.discard(caller.number)
            selector.unregister(caller.line)
            caller.line.close()

        while len(others) < count - 1:
            for key, _ in selector.select(1.0):
                caller = key.data
                if caller is None:
                    answer()
                    continue
                said = _heard(caller.line)
                caller.said += said
                if said and b"\n" not in caller.said and len(caller.said) < LINE:
                    continue
                found = HELLO.fullmatch(caller.said)
                # Who waits has nothing more to say: it hung up. Else it is nobody of ours.
                if caller.number is not None or found is None:
                    drop(caller)
                    continue
                number, of = map(int, found.groups())
                reason = _wrong(number, of, count, others)
                if reason:
                    _tell([*others.values(), caller], reason)
                    raise Refused(reason)
                caller.number, others[number] = number, caller
                here.add(number)
            for key in list(selector.get_map().values()):
                caller = key.data
                if caller and caller.number is None and caller.until < time.monotonic():
                    drop(caller)
        _tell(others.values(), GO)
        # They hang up first: else the port would stay taken for a while.
        until = time.monotonic() + PATIENCE
        for caller in others.values():
            caller.line.settimeout(max(0.01, until - time.monotonic()))
            _heard(caller.line)


def call(address: str, port: int, number: int, count: int, trouble: list[str]) -> None:
    """The part of another process: finds process 0, and waits until all are there.

    Args:
      address: of process 0's host.
      port: of the coordinator.
      number: of this process.
      count: of the processes.
      trouble: holds what it waits for, for whoever gives up waiting.

    Raises:
      Refused: something else is at the port, or who came do not go together.
    """
    while True:
        try:
            with socket.create_connection((address, port), PATIENCE) as line:
                if line.getsockname() == line.getpeername():
                    # Where nobody listens the kernel may connect a socket to itself. Reset, so
                    # that it does not keep the port from process 0.
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
                line.sendall(f"ganjax {number} of {count}\n".encode())
                trouble[:] = [WAITS]
                line.settimeout(None)
                answer = b""
                while b"\n" not in answer and len(answer) < LINE and (more := _heard(line)):
                    answer += more
        except OSError as error:
            trouble[:] = [str(error)]
            time.sleep(AGAIN)
            continue
        if not answer:  # Process 0 has ended before all were there; it may come again.
            trouble[:] = ["process 0 was there, but has ended"]
            time.sleep(AGAIN)
            continue
        ours, _, reason = answer.decode(errors="replace").rstrip("\n").partition("ganjax: ")
        if ours or not reason:
            raise Refused(
                f"no process 0 that waits for others is at port {port}, but something else, such "
                "as a run that has begun, or that ended within the last minute; take another port"
            )
        if reason != GO:
            raise Refused(reason)
        trouble.clear()
        return


def _listen(port: int) -> socket.socket:
    """A listener of which there is only one at a port; raises Refused if there is one already."""
    six = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", port),
            family=socket.AF_INET6 if six else socket.AF_INET,
            dualstack_ipv6=six,
            backlog=1024,
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise Refused(f"port {port} cannot be listened at ({error.strerror})") from None
        raise Refused(
            f"port {port} is not free on this host: another run has it, or one that ended within "
            "the last minute; take another"
        ) from None


def _heard(line: socket.socket) -> bytes:
    """What has been said; nothing where they hung up."""
    try:
        return line.recv(LINE)
    except OSError:
        return b""


def _wrong(number: int, of: int, count: int, others: Iterable[int]) -> str:
    """Why a process does not go together with those that are there; "" where it does."""
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
        with contextlib.suppress(OSError):  # One that hung up just now.
            caller.line.settimeout(PATIENCE)
            caller.line.sendall(f"ganjax: {words}\n".encode())
