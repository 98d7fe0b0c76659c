"""What a notebook shows of a run while it is trained."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from ganjax.api import notebook
from ganjax.api.notebook import Notebook


@pytest.fixture
def pages(monkeypatch):
    """The pages that are shown, the first as new ones and later ones in their place."""
    shown = []

    class Handle:
        def update(self, page):
            shown.append(("update", page.data))

    def display(page, display_id):
        assert display_id is True
        shown.append(("display", page.data))
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    return shown


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(notebook.time, "perf_counter", lambda: now[0])
    return now


def test_the_time_that_is_left_follows_from_steps_after_the_first_picture(pages, clock):
    display = Notebook()
    display.begin(0, 20)
    display.advance()
    clock[0] += 60
    display.images(0, {"samples": np.zeros((6, 8, 1), np.uint8)})
    for _ in range(4):
        clock[0] += 2
        display.advance()
    display.close()
    assert "step 5 of 20, 30 s left" in pages[-1][1], "steps of 2 s"


def test_progress_and_the_latest_picture_are_replaced_where_they_stand(pages, clock):
    picture = np.random.RandomState(0).randint(0, 256, (6, 8, 1), np.uint8)
    display = Notebook()
    display.begin(10, 20)
    display.advance()
    for _ in range(4):
        clock[0] += 2
        display.advance()
    display.scalars(15, {"d_loss": 1.23456, "<name>": 2})
    display.images(15, {"samples": picture - 1})
    display.images(16, {"samples": picture})
    display.close()
    kinds, texts = zip(*pages, strict=True)
    assert kinds == ("display", *["update"] * (len(kinds) - 1))
    last = texts[-1]
    assert "step 15 of 20, 10 s left" in last, "five steps of 2 s; the first, which compiles, apart"
    assert "d_loss 1.235, &lt;name&gt; 2" in last
    assert "samples at step 16" in last
    (data,) = re.findall(r"base64,([^\"]+)", last)
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        np.testing.assert_array_equal(np.asarray(image), picture[..., 0])


def test_many_steps_a_second_send_few_pages(pages, clock):
    display = Notebook()
    display.begin(0, 1_000)
    for _ in range(1_000):
        clock[0] += 0.01
        display.advance()
    assert 10 < len(pages) <= 10 / notebook.INTERVAL + 1
    display.close()
    assert "step 1000 of 1000, 0 s left" in pages[-1][1]


def test_messages_are_printed(capsys):
    Notebook().say("hello; to begin anew: --new")
    assert capsys.readouterr().out == "hello; to begin anew: new=True\n"
    assert not notebook.is_open()
