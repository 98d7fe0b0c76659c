"""How a user sees a run's progress while it is trained: on a terminal, or not at all."""

import os
import sys
from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

# As tqdm's own without the steps per second, to leave room for the bar on 80 columns.
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
# The metrics after the bar, by what they are called there.
ON_BAR = {"d": "d_loss", "g": "g_loss", "images/s": "images_per_second"}


class Display:
    """The interface of all displays, which itself shows nothing."""

    def begin(self, step: int, total_steps: int) -> None:
        """Begins to show a run that goes on from `step` and ends at `total_steps`."""

    def advance(self) -> None:
        """Shows that one more step is finished."""

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Shows a line of metrics.

        Args:
          step: the step at which they were measured.
          scalars: the values by name.
        """

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Shows pictures.

        Args:
          step: the step at which they were made.
          images: the pictures by name, uint8 (H, W, C).
        """

    def say(self, text: str) -> None:
        """Shows a message for the user."""

    def close(self) -> None:
        """Ends what is shown, which stays as it is."""


class Terminal(Display):
    """Lines on the standard output and, on a terminal, a progress bar in place of metrics."""

    def begin(self, step: int, total_steps: int) -> None:
        self._total_steps, self._bar = total_steps, None
        if _shows_bars():
            self._bar = tqdm(total=total_steps, initial=step, unit="step", dynamic_ncols=True)
            self._bar.bar_format = BAR

    def advance(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        shown = {name: f"{value:.4g}" for name, value in scalars.items()}
        if self._bar is not None and "d_loss" in scalars:
            parts = [f"{text} {shown[name]}" for text, name in ON_BAR.items() if name in shown]
            self._bar.set_postfix_str(", ".join(parts))
        elif self._bar is None:
            line = " ".join(f"{name} {value}" for name, value in shown.items())
            self.say(f"step {step}/{self._total_steps} {line}")

    def say(self, text: str) -> None:
        """Prints a line above the progress bar."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _shows_bars() -> bool:
    """Returns whether the standard error is a terminal that shows a progress bar."""
    if not sys.stderr.isatty():
        return False
    try:  # On one that says it has no rows, as some containers' do, tqdm would show nothing.
        return os.get_terminal_size(sys.stderr.fileno()).lines > 0
    except (OSError, ValueError):  # It does not say.
        return True
