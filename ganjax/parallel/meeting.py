"""Lets the processes of a run meet at the coordinator's port before JAX joins them there.

JAX's coordinator accepts any process. One that belongs to another run, or that has the number of
another process, makes it end all processes with stack traces, even after days of training; and two
coordinators can listen at one port. Therefore process 0 first takes the port for itself alone,
learns the numbers of the others, and lets all of them go on together. A process that finds
something else at the port, such as JAX's coordinator, gives up. The protocol is one line of text
each way:

    ganjax 1 of 4       process 1 of 4 has connected and waits
    ganjax: go          all have connected; or
    ganjax: <reason>    this process is turned away, for this reason

Anyone who reaches the port can send such a line, so no line ends the start: who does not go
together with the others is turned away, and the others are waited for. But a stranger may take the
place of a process. If the processes share a token, each line ends in a proof that its sender has
it, which does not tell the token: a keyed hash of the line and, in process 0's answer, of the
random number that the other had sent.

    ganjax 1 of 4 <random number> <proof>
    ganjax: go <proof>
"""

import contextlib
import dataclasses
import errno
import hmac
import re
import secrets
import selectors
import socket
import struct
import time
from collections.abc import Callable, Container, Iterable

from ganjax.errors import printable

HELLO = re.compile(rb"ganjax (\d{1,9}) of (\d{1,9})(?: ([0-9a-f]{32}) ([0-9a-f]{64}))?\n")
ANSWER = re.compile(r"ganjax: (.+?)(?: ([0-9a-f]{64}))?\n", re.DOTALL)
TOKENS = "one of them has no --coordinator_token, or another one; give all the same"
GO = "go"
# The longest line, in bytes.
LINE_BYTES = 1024
# The seconds between two attempts to reach process 0.
RETRY_SECONDS = 0.2
# The seconds within which a process that has connected must send its line.
PATIENCE = 5.0
WAITS = "process 0 is there and waits for others"
# The most lines about those who were turned away.
MOST_TOLD = 10


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
      nonce: the random number that it has sent, "" without a token.
    """

    line: socket.socket
    until: float
    said: bytes = b""
    number: int | None = None
    nonce: str = ""


def host(
    port: int,
    count: int,
    arrived: set[int],
    token: str = "",
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Waits in process 0 until all other processes have connected, and lets them go on.

    Args:
      port: the coordinator's port.
      count: the number of processes.
      arrived: a set that this function keeps up to date: the numbers of the processes that have
        connected. The message of a timeout lists the missing ones.
      token: the token that the processes share, or "" for none.
      tell: is called with a line for each of the first processes that are turned away, which names
        its host and why: it has not the token, or does not go together with the others.

    Raises:
      Refused: the port is taken.
    """
    others: dict[int, _Caller] = {}
    told: set[str] = set()
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

        def turn_away(caller, reason):
            line = f"{_host_of(caller.line)} is turned away: {reason}"
            if line not in told and len(told) < MOST_TOLD:
                told.add(line)
                tell(line)
            _tell([caller], reason, token)
            drop(caller)

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
                number, of = int(hello[1]), int(hello[2])
                caller.nonce = (hello[3] or b"").decode()
                reason = _conflict(number, of, count, others)
                if not _is_proven(token, hello):
                    reason = TOKENS
                if reason:
                    turn_away(caller, reason)
                    continue
                caller.number, others[number] = number, caller
                arrived.add(number)
            for key in list(selector.get_map().values()):
                caller = key.data
                if caller and caller.number is None and caller.until < time.monotonic():
                    drop(caller)
        _tell(others.values(), GO, token)
        # The others hang up first, since otherwise the system would keep the port for a while.
        until = time.monotonic() + PATIENCE
        for caller in others.values():
            caller.line.settimeout(max(0.01, until - time.monotonic()))
            _receive(caller.line)


def call(
    address: str, port: int, number: int, count: int, status: list[str], token: str = ""
) -> None:
    """Connects another process to process 0 and waits until all have connected.

    Args:
      address: the host of process 0.
      port: the coordinator's port.
      number: the number of this process.
      count: the number of processes.
      status: a list that this function keeps up to date: one line that says what this process waits
        for, or nothing once all have connected. It is part of the message of a timeout.
      token: the token that the processes share, or "" for none.

    Raises:
      Refused: something else is at the port, or process 0 has turned this process away.
    """
    nonce = secrets.token_hex(16) if token else ""
    hello = f"ganjax {number} of {count}"
    if token:
        hello = f"{hello} {nonce} {_proof(token, hello, nonce)}"
    while True:
        try:
            with socket.create_connection((address, port), PATIENCE) as line:
                if line.getsockname() == line.getpeername():
                    # Where nobody listens the kernel may connect a socket to itself. It is reset,
                    # so that it does not keep the port from process 0.
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
                line.sendall(f"{hello}\n".encode())
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
        said = ANSWER.fullmatch(answer.decode(errors="replace"))
        if said is None:
            raise Refused(
                f"no process 0 that waits for others is at port {port}, but something else, such "
                "as a run that has begun, or that ended within the last minute; take another port"
            )
        reason, proof = said.groups()
        proven = not token or hmac.compare_digest(proof or "", _proof(token, reason, nonce))
        if reason != GO:
            # Without a proof they are anyone's words.
            raise Refused(printable(reason) if proven else TOKENS)
        if not proven:
            raise Refused(TOKENS)
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


def _host_of(line: socket.socket) -> str:
    """Returns the address of the other side of a connection."""
    try:
        return line.getpeername()[0].removeprefix("::ffff:")
    except OSError:  # It has hung up.
        return "a process"


def _conflict(number: int, of: int, count: int, others: Container[int]) -> str:
    """Returns the reason why a process does not go together with the others, or "" if it does."""
    if of != count:
        return (
            f"--num_processes={of} of process {number} is not --num_processes={count} of process "
            "0; start all with the same"
        )
    if number == 0 or number in others:
        return f"two processes have --process_id={number}; give each its own"
    if number >= count:
        return f"--process_id={number}: of {count} processes there are 0 to {count - 1}"
    return ""


def _tell(callers: Iterable[_Caller], words: str, token: str) -> None:
    for caller in callers:
        proof = f" {_proof(token, words, caller.nonce)}" if token and caller.nonce else ""
        with contextlib.suppress(OSError):  # It has hung up.
            caller.line.settimeout(PATIENCE)
            caller.line.sendall(f"ganjax: {words}{proof}\n".encode())


def _proof(token: str, words: str, nonce: str) -> str:
    """Returns what only someone with the token can add to words."""
    return hmac.new(token.encode(), f"{words}\n{nonce}".encode(), "sha256").hexdigest()


def _is_proven(token: str, hello: re.Match[bytes]) -> bool:
    """Returns whether a process has the token that process 0 has, or neither has one."""
    number, of, nonce, proof = ((each or b"").decode() for each in hello.groups())
    if not token or not proof:
        return not token and not proof
    return hmac.compare_digest(proof, _proof(token, f"ganjax {number} of {of}", nonce))
