"""What a run shows while it is trained."""

import fcntl
import os
import pty
import struct
import sys
import termios

import numpy as np
import pytest

from ganjax.training.display import Display, Terminal
from ganjax.training.writer import Writer


class Recorder(Display):
    def __init__(self):
        self.calls = []

    def __getattribute__(self, name):
        if name in vars(Display) and not name.startswith("_"):
            return lambda *arguments: self.calls.append((name, *arguments))
        return super().__getattribute__(name)


@pytest.mark.parametrize("primary", [True, False])
def test_a_display_of_ones_own_takes_the_place_of_the_terminal(tmp_path, capsys, primary):
    recorder, picture = Recorder(), np.zeros((4, 4, 1), np.uint8)
    with Writer(tmp_path, 3, 9, primary, lambda step: step / 2, recorder) as writer:
        writer.advance()
        writer.write_scalars(4, {"d_loss": 0.5})
        writer.write_images(4, {"samples": picture})
        writer.say("hello")
    expected = [
        ("begin", 3, 9),
        ("advance",),
        ("scalars", 4, {"epoch": 2.0, "d_loss": 0.5}),
        ("images", 4, {"samples": picture}),
        ("say", "hello"),
        ("close",),
    ]
    assert recorder.calls == (expected if primary else [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("rows", [0, 24])
def test_a_terminal_without_rows_gets_lines_in_place_of_a_bar(monkeypatch, capsys, rows):
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
    with os.fdopen(side, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        display = Terminal()
        display.begin(3, 9)
        display.scalars(4, {"d_loss": 0.5})
        display.close()
        assert capsys.readouterr().out == ("" if rows else "step 4/9 d_loss 0.5\n")
        if rows:
            assert b"3/9 [" in os.read(main, 4096)
    os.close(main)
