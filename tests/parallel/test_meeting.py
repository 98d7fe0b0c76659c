"""How processes meet: one that does not belong to a run gives up before it does harm."""

import re
import socket
import threading
import time
from concurrent.futures import Future

import pytest
from processes import free_port

from ganjax.parallel import meeting

SECONDS = 20


class Daemons:
    """Threads that do not keep the process of a failed test from ending."""

    def submit(self, function, *arguments):
        future = Future()

        def run():
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future


@pytest.fixture
def pool():
    return Daemons()


def wait_until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def called(pool, port, number, count, status=None):
    status = [] if status is None else status
    return pool.submit(meeting.call, "localhost", port, number, count, status)


def test_all_go_on_together_in_any_order(pool):
    port, arrived = free_port(), set()
    early = [called(pool, port, number, 4) for number in (3, 1)]
    hosted = pool.submit(meeting.host, port, 4, arrived)
    with pytest.raises(TimeoutError):
        hosted.result(timeout=1)
    assert arrived == {1, 3}
    assert not any(each.done() for each in early)
    late = called(pool, port, 2, 4)
    for each in (hosted, *early, late):
        each.result(timeout=SECONDS)
    # JAX's coordinator then finds the port free at once.
    meeting._listen(port).close()


def test_a_second_run_at_a_port_is_refused(pool):
    """The run that waits there goes on waiting."""
    port = free_port()
    first = pool.submit(meeting.host, port, 2, set())
    wait_until(lambda: listens(port))
    with pytest.raises(meeting.Refused, match=f"port {port} is not free on this host"):
        pool.submit(meeting.host, port, 2, set()).result(timeout=SECONDS)
    called(pool, port, 1, 2).result(timeout=SECONDS)
    first.result(timeout=SECONDS)


def listens(port):
    """Whether a process listens at a port; it sees a caller that hangs up at once."""
    try:
        socket.create_connection(("localhost", port), 1).close()
    except OSError:
        return False
    return True


def test_a_process_that_finds_something_else_at_the_port_is_refused(pool):
    """That may be a coordinator of JAX, which speaks another protocol."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            line, _ = server.accept()
            line.sendall(b"\x00\x00\x12\x04\x00\x00\n")
            line.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(meeting.Refused, match="but something else"):
            meeting.call("localhost", port, 1, 2, [])
        thread.join()


@pytest.mark.parametrize("token", ["", "secret"])
@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ((1, 3), "two processes have --process_id=1; give each its own"),
        ((0, 3), "two processes have --process_id=0; give each its own"),
        ((2, 4), "--num_processes=4 of process 2 is not --num_processes=3 of process 0"),
        ((7, 3), "--process_id=7: of 3 processes there are 0 to 2"),
    ],
)
def test_who_does_not_go_together_with_the_others_is_turned_away_alone(second, reason, token, pool):
    port, arrived, told = free_port(), set(), []
    hosted = pool.submit(meeting.host, port, 3, arrived, token, told.append)
    one = pool.submit(meeting.call, "localhost", port, 1, 3, [], token)
    wait_until(lambda: arrived == {1})
    for _ in range(2):
        with pytest.raises(meeting.Refused, match=reason):
            meeting.call("localhost", port, second[0], second[1], [], token)
    assert re.fullmatch(rf"(127.0.0.1|::1) is turned away: {reason}.*", *told)
    two = pool.submit(meeting.call, "localhost", port, 2, 3, [], token)
    for each in (hosted, one, two):
        each.result(timeout=SECONDS)


def test_who_is_turned_away_by_the_hundred_is_told_ten_times(pool):
    port, told = free_port(), []
    hosted = pool.submit(meeting.host, port, 2, set(), "", told.append)
    wait_until(lambda: listens(port))
    for count in range(3, 103):
        with pytest.raises(meeting.Refused):
            meeting.call("localhost", port, 1, count, [])
    called(pool, port, 1, 2).result(timeout=SECONDS)
    hosted.result(timeout=SECONDS)
    assert len(told) == meeting.MOST_TOLD


def test_a_process_that_hung_up_may_come_again(pool):
    port, arrived = free_port(), set()
    hosted = pool.submit(meeting.host, port, 3, arrived)
    wait_until(lambda: listens(port))
    with socket.create_connection(("localhost", port)) as line:
        line.sendall(b"ganjax 1 of 3\n")
        wait_until(lambda: arrived == {1})
    wait_until(lambda: not arrived)
    both = [called(pool, port, number, 3) for number in (1, 2)]
    for each in (hosted, *both):
        each.result(timeout=SECONDS)


def test_a_waiting_process_can_say_what_it_waits_for(pool):
    status, port = [], free_port()
    waiting = called(pool, port, 1, 3, status)
    wait_until(lambda: status)
    assert "refused" in status[0].lower()
    hosted = pool.submit(meeting.host, port, 3, set())
    wait_until(lambda: status == [meeting.WAITS])
    for each in (called(pool, port, 2, 3), hosted, waiting):
        each.result(timeout=SECONDS)
    assert not status


def test_slow_and_silent_callers_keep_nobody_waiting(pool):
    port, arrived = free_port(), set()
    hosted = pool.submit(meeting.host, port, 2, arrived)
    wait_until(lambda: listens(port))
    silent, slow = (socket.create_connection(("localhost", port)) for _ in range(2))
    with silent, slow:
        slow.sendall(b"ganjax 1")
        start = time.monotonic()
        called(pool, port, 1, 2).result(timeout=SECONDS)
        hosted.result(timeout=SECONDS)
        assert time.monotonic() - start < meeting.PATIENCE


def test_a_line_may_come_in_parts(pool):
    port, arrived = free_port(), set()
    hosted = pool.submit(meeting.host, port, 2, arrived)
    wait_until(lambda: listens(port))
    with socket.create_connection(("localhost", port)) as line:
        for part in (b"ganjax", b" 1 of", b" 2\n"):
            line.sendall(part)
            time.sleep(0.05)
        assert line.recv(100) == b"ganjax: go\n"
    hosted.result(timeout=SECONDS)


def test_processes_meet_without_ipv6(pool, monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    port = free_port()
    hosted = pool.submit(meeting.host, port, 2, set())
    called(pool, port, 1, 2).result(timeout=SECONDS)
    hosted.result(timeout=SECONDS)


def test_a_socket_that_is_connected_to_itself_is_not_process_0(pool, monkeypatch):
    """The kernel connects it so if the port is its own source port; the port must stay free."""
    port, once = free_port(), []
    connect = socket.create_connection

    def to_itself(address, timeout):
        if once:
            return connect(address, timeout)
        once.append(True)
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.bind(("127.0.0.1", port))
        line.connect(("127.0.0.1", port))
        return line

    monkeypatch.setattr(socket, "create_connection", to_itself)
    one = called(pool, port, 1, 2)
    wait_until(lambda: once)
    time.sleep(2 * meeting.RETRY_SECONDS)
    hosted = pool.submit(meeting.host, port, 2, set())
    for each in (one, hosted):
        each.result(timeout=SECONDS)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"ganjax 0 of 2\n", b"ganjax: two processes have --process_id=0"),
        (b"ganjax 2 of 2\n", b"ganjax: --process_id=2: of 2 processes there are 0 to 1"),
        (b"ganjax 1 of 0\n", b"ganjax: --num_processes=0 of process 1 is not"),
        (b"ganjax 99999999999 of 2\n", b""),
        (b"ganjax -1 of 2\n", b""),
        (b"GET / HTTP/1.1\r\n\r\n", b""),
    ],
)
def test_a_line_that_no_process_sends_ends_no_start(line, answer, pool):
    port, arrived = free_port(), set()
    hosted = pool.submit(meeting.host, port, 2, arrived)
    wait_until(lambda: listens(port))
    with socket.create_connection(("localhost", port)) as stranger:
        stranger.sendall(line)
        stranger.settimeout(SECONDS)
        said = b""
        while part := stranger.recv(1000):  # Until it is hung up on.
            said += part
    assert said.startswith(answer)
    assert bool(said) == bool(answer)
    assert not arrived
    called(pool, port, 1, 2).result(timeout=SECONDS)
    hosted.result(timeout=SECONDS)


def test_a_token_lets_only_those_meet_who_have_it(pool):
    port, arrived = free_port(), set()
    hosted = pool.submit(meeting.host, port, 3, arrived, "secret")
    wait_until(lambda: listens(port))
    for token in ("", "other"):  # Without the token nobody ends the start, whatever he says.
        with pytest.raises(meeting.Refused, match="give all the same"):
            meeting.call("localhost", port, 1, 9, [], token)
    with socket.create_connection(("localhost", port)) as stranger:
        stranger.sendall(f"ganjax 1 of 9 {'0' * 32} {'0' * 64}\n".encode())
        stranger.settimeout(SECONDS)
        assert stranger.recv(1000).startswith(b"ganjax: one of them has no --coordinator_token")
    assert not arrived
    members = [pool.submit(meeting.call, "localhost", port, i, 3, [], "secret") for i in (1, 2)]
    for each in (hosted, *members):
        each.result(timeout=SECONDS)


def test_a_token_that_process_0_does_not_have_is_told(pool):
    port = free_port()
    hosted = pool.submit(meeting.host, port, 2, set())
    wait_until(lambda: listens(port))
    with pytest.raises(meeting.Refused, match="give all the same"):
        meeting.call("localhost", port, 1, 2, [], "secret")
    called(pool, port, 1, 2).result(timeout=SECONDS)
    hosted.result(timeout=SECONDS)


@pytest.mark.parametrize(
    ("token", "answer", "said"),
    [
        ("", b"ganjax: \x1b[2Jrun\x07 this\n", r"\x1b[2Jrun\x07 this"),
        ("secret", b"ganjax: go\n", "give all the same"),
        ("secret", b"ganjax: go " + b"0" * 64 + b"\n", "give all the same"),
        ("secret", b"ganjax: run this\n", "give all the same"),
    ],
)
def test_a_stranger_in_the_place_of_process_0_is_not_believed(token, answer, said):
    heard = []
    with socket.create_server(("localhost", 0)) as server:

        def reply():
            line, _ = server.accept()
            heard.append(line.recv(1000))
            line.sendall(answer)
            line.close()

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(meeting.Refused) as refused:
            meeting.call("localhost", server.getsockname()[1], 1, 2, [], token)
        thread.join()
    assert said in str(refused.value)
    assert str(refused.value).isprintable()
    assert b"secret" not in heard[0]
