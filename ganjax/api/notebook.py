"""The display of a run in a notebook: a line of its progress, and its latest pictures."""

import base64
import html
import io
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ganjax.errors import in_python
from ganjax.pictures import images as arrays
from ganjax.training.display import Display

# The least seconds between two updates of what is shown, each of which is sent to the browser.
INTERVAL = 0.5
# The width of a picture on the page, in pixels.
WIDTH = 400


def is_open() -> bool:
    """Returns whether this process is a notebook's kernel, which can show pictures."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class Notebook(Display):
    """A line of progress and the latest pictures, which are replaced where they stand.

    Messages are printed above, with arguments in place of flags.
    """

    def __init__(self):
        self._handle: Any = None
        self._step = self._total_steps = 0
        self._shown_at = -INTERVAL
        self._scalars: dict[str, str] = {}
        self._pictures: dict[str, str] = {}

    def begin(self, step: int, total_steps: int) -> None:
        self._first = self._step = self._timed_from = step
        self._total_steps = total_steps

    def advance(self) -> None:
        self._step += 1
        if self._step == self._first + 1:  # The first step, which compiles, says nothing of others.
            self._begin_clock()
        self._show()

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._scalars |= {name: f"{value:.4g}" for name, value in scalars.items()}
        self._show()

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, picture in images.items():
            file = io.BytesIO()
            arrays.to_pillow(picture).save(file, format="png")
            source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
            self._pictures[name] = (
                '<div style="display: inline-block; margin: 4px">'
                f'<div>{html.escape(name)} at step {step}</div><img src="{source}" '
                f'style="width: {WIDTH}px; image-rendering: pixelated"></div>'
            )
        if step == 0:  # Its program was compiled since the first step.
            self._begin_clock()
        self._show(at_once=True)

    def say(self, text: str) -> None:
        print(in_python(text), flush=True)

    def close(self) -> None:
        self._show(at_once=True)

    def _begin_clock(self) -> None:
        """Lets the time that is left follow from the steps after this one."""
        self._timed_from, self._began = self._step, time.perf_counter()

    def _show(self, at_once: bool = False) -> None:
        """Shows the present state, if it was not shown just before."""
        now = time.perf_counter()
        if not at_once and now - self._shown_at < INTERVAL:
            return
        from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

        self._shown_at, page = now, HTML(self._page())
        if self._handle is None:
            self._handle = display(page, display_id=True)
        else:
            self._handle.update(page)

    def _page(self) -> str:
        """Returns what is shown, as HTML."""
        left, done = "", self._step - self._timed_from
        if done > 0:
            seconds = (time.perf_counter() - self._began) / done * (self._total_steps - self._step)
            left = f", {seconds:.0f} s left"
        scalars = ", ".join(f"{html.escape(name)} {value}" for name, value in self._scalars.items())
        return (
            f'<progress value="{self._step}" max="{self._total_steps}" style="width: {WIDTH}px">'
            f"</progress><div>step {self._step} of {self._total_steps}{left}</div>"
            f"<div>{scalars}</div>{''.join(self._pictures.values())}"
        )
