"""ganjax.meeting: who does not belong to a run goes away before it has done harm."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_processes import free_port

from ganjax import meeting

SECONDS = 20


@pytest.fixture
def pool():
    pool = ThreadPoolExecutor(8)
    yield pool
    pool.shutdown(wait=False, cancel_futures=True)


def called(pool, port, number, count, trouble=None):
    trouble = [] if trouble is None else trouble
    return pool.submit(meeting.call, "localhost", port, number, count, trouble)


def test_all_go_on_together_in_any_order(pool):
    port, here = free_port(), set()
    early = [called(pool, port, number, 4) for number in (3, 1)]
    hosted = pool.submit(meeting.host, port, 4, here)
    with pytest.raises(TimeoutError):
        hosted.result(timeout=1)
    assert here == {1, 3}
    assert not any(each.done() for each in early)
    late = called(pool, port, 2, 4)
    for each in (hosted, *early, late):
        each.result(timeout=SECONDS)
    # And JAX's coordinator finds the port free at once.
    meeting._listen(port).close()


def test_a_port_is_of_one_run(pool):
    """The one that waits there stays as it is."""
    port = free_port()
    first = pool.submit(meeting.host, port, 2, set())
    while True:  # Until it listens.
        with pytest.raises(meeting.Refused) as caught:
            meeting.host(port, 2, set()) if listens(port) else refused()
        if str(caught.value) != "not yet":
            break
    assert f"port {port} is not free on this host" in str(caught.value)
    called(pool, port, 1, 2).result(timeout=SECONDS)
    first.result(timeout=SECONDS)


def refused():
    raise meeting.Refused("not yet")


def listens(port):
    """Whether somebody does; tells them that it was nobody."""
    try:
        socket.create_connection(("localhost", port), 1).close()
    except OSError:
        return False
    return True


def test_nobody_joins_what_is_no_meeting(pool):
    """Such as a coordinator of JAX, which speaks another language."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            line, _ = server.accept()
            line.sendall(b"\x00\x00\x12\x04\x00\x00\n")
            line.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(meeting.Refused, match=f"something else.*port|port {port}"):
            meeting.call("localhost", port, 1, 2, [])
        thread.join()


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ((1, 3), "two processes have --process_id=1; give each its own"),
        ((0, 3), "two processes have --process_id=0; give each its own"),
        ((2, 4), "--num_processes=4 of process 2 is not --num_processes=3 of process 0"),
    ],
)
def test_who_do_not_go_together_all_hear_why(second, reason, pool):
    port, here = free_port(), set()
    hosted, one = pool.submit(meeting.host, port, 3, here), called(pool, port, 1, 3)
    while here != {1}:
        pass
    for each in (called(pool, port, *second), hosted, one):
        with pytest.raises(meeting.Refused, match=reason):
            each.result(timeout=SECONDS)


def test_who_hung_up_may_come_again(pool):
    port, here = free_port(), set()
    hosted = pool.submit(meeting.host, port, 3, here)
    while not listens(port):
        pass
    with socket.create_connection(("localhost", port)) as line:
        line.sendall(b"ganjax 1 of 3\n")
        while here != {1}:
            pass
    both = [called(pool, port, number, 3) for number in (1, 2)]
    for each in (hosted, *both):
        each.result(timeout=SECONDS)


def test_what_is_missing_can_be_said(pool):
    trouble, port = [], free_port()
    waiting = called(pool, port, 1, 2, trouble)
    while not trouble:
        pass
    assert "refused" in trouble[0].lower()
    meeting.host(port, 2, set())
    waiting.result(timeout=SECONDS)
