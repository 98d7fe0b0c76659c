"""Signals to a run that Python code, not a command, has started."""

import signal
import threading

import pytest

from ganjax.runtime.signals import Signals


@pytest.fixture
def of_python():
    """Leaves Ctrl-C to Python, as in a notebook."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("of_python")
def test_the_first_ctrl_c_is_recorded_and_the_second_raises(capsys):
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert "SIGINT: saving after this step" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("of_python")
def test_another_thread_trains_without_signals():
    failures = []

    def enter():
        try:
            with Signals():
                assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failures
