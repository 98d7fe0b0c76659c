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
import re
import socket
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


class Refused(Exception):
    """They will not be joined, and why."""


def host(port: int, count: int, here: set[int]) -> None:
    """Process 0's part: waits until all others have come, and lets them go on.

    Args:
      port: of the coordinator.
      count: of the processes.
      here: gets the numbers of those that have come, for whoever gives up waiting.

    Raises:
      Refused: the port is taken, or who came do not go together.
    """
    with _listen(port) as listener, contextlib.ExitStack() as calls:
        others: dict[int, socket.socket] = {}
        while True:
            for number in [number for number, line in others.items() if _gone(line)]:
                del others[number]
                here.discard(number)
            if len(others) == count - 1:
                break
            line = calls.enter_context(listener.accept()[0])
            found = HELLO.fullmatch(_line(line, PATIENCE))
            if found is None:
                line.close()  # Nobody of ours.
                continue
            number, of = map(int, found.groups())
            reason = ""
            if of != count:
                reason = (
                    f"--num_processes={of} of process {number} is not --num_processes={count} of "
                    "process 0; start all with the same"
                )
            elif number == 0 or (number in others and not _gone(others[number])):
                reason = f"two processes have --process_id={number}; give each its own"
            if reason:
                _tell([*others.values(), line], reason)
                raise Refused(reason)
            others[number] = line
            here.add(number)
        _tell(others.values(), GO)
        # They hang up first: else the port would stay taken for a while.
        for line in others.values():
            _line(line, PATIENCE)


def call(address: str, port: int, number: int, count: int, trouble: list[str]) -> None:
    """The part of another process: finds process 0, and waits until all are there.

    Args:
      address: of process 0's host.
      port: of the coordinator.
      number: of this process.
      count: of the processes.
      trouble: gets why process 0 was not reached, for whoever gives up waiting.

    Raises:
      Refused: something else is at the port, or who came do not go together.
    """
    while True:
        try:
            with socket.create_connection((address, port), PATIENCE) as line:
                line.sendall(f"ganjax {number} of {count}\n".encode())
                answer = _line(line, None).decode(errors="replace")
        except OSError as error:
            trouble[:] = [str(error)]
            time.sleep(AGAIN)
            continue
        if not answer:  # Process 0 has ended before all were there; it may come again.
            trouble[:] = ["who was there hung up"]
            time.sleep(AGAIN)
            continue
        ours, _, reason = answer.rstrip("\n").partition("ganjax: ")
        if ours or not reason:
            raise Refused(
                f"no process 0 that waits for others is at port {port}, but something else, such "
                "as a run that has begun; take another port"
            )
        if reason != GO:
            raise Refused(reason)
        return


def _listen(port: int) -> socket.socket:
    """A listener of which there is only one at a port; raises Refused if there is one already."""
    try:
        return socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
        )
    except OSError:
        pass
    try:
        return socket.create_server(("", port), backlog=1024)  # There may be no IPv6.
    except OSError as error:
        raise Refused(
            f"port {port} is not free on this host, perhaps of another run ({error.strerror}); "
            "take another"
        ) from None


def _line(line: socket.socket, timeout: float | None) -> bytes:
    """What is said up to the end of the line; as far as it came, where that does not."""
    line.settimeout(timeout)
    said = b""
    try:
        while not said.endswith(b"\n") and len(said) < LINE:
            more = line.recv(LINE - len(said))
            if not more:
                break
            said += more
    except OSError:
        pass
    return said


def _gone(line: socket.socket) -> bool:
    """Whether who waited there has hung up."""
    line.setblocking(False)
    try:
        return not line.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _tell(lines: Iterable[socket.socket], words: str) -> None:
    for line in lines:
        with contextlib.suppress(OSError):  # One that hung up just now.
            line.settimeout(PATIENCE)
            line.sendall(f"ganjax: {words}\n".encode())
