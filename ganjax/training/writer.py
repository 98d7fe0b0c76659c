"""The writer of a run's metrics and pictures: to metrics.jsonl, TensorBoard, display and loggers.

Its methods have the names of clu's metric writers, which need TensorFlow.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ganjax.runtime import storage
from ganjax.training.board import Board
from ganjax.training.display import Display, Terminal
from ganjax.training.loggers import LOGGERS, Background, Hparams

METRICS = "metrics.jsonl"


class Writer:
    """A writer of the metrics and pictures of one run.

    Args:
      workdir: the run's folder.
      step: the step from which the run goes on. Lines of later steps, which a kill after the last
        checkpoint leaves, are removed, since they will be written again.
      total_steps: the step at which the run ends.
      primary: whether this process writes at all. Among several processes only process 0 does.
      epoch_at: converts a number of steps to epochs; None leaves epochs out.
      display: what shows the run's progress; by default the terminal.
      describe: returns what a metric means.
      loggers: the names of loggers that are told, too.
    """

    def __init__(
        self,
        workdir: Path,
        step: int,
        total_steps: int,
        primary: bool = True,
        epoch_at: Callable[[int], float] | None = None,
        display: Display | None = None,
        describe: Callable[[str], str] = lambda name: "",
        loggers: Iterable[str] = (),
    ):
        self.primary = primary
        self._epoch_at = epoch_at
        self._display = (display or Terminal()) if primary else Display()
        self._loggers: list[Background] = []
        if not primary:
            return
        self._loggers += [Background(name, LOGGERS[name](), self.say) for name in loggers]
        self._workdir = workdir
        self._path = workdir / METRICS
        _keep_until(self._path, step)
        self._lines = io.BufferedWriter(storage.open_appending(self._path))
        # TensorBoard ignores the events of later steps too. A run from step 0 draws its picture
        # of that step again.
        purge_step = step + 1 if step else 0
        self._board = Board(workdir / "tensorboard", purge_step, describe)
        self._display.begin(step, total_steps)

    def write_hparams(self, hparams: Hparams, metrics: Sequence[str]) -> None:
        """Writes the run's hyper-parameters to TensorBoard and the loggers, which begin with that.

        Args:
          hparams: the hyper-parameters by name.
          metrics: the names of the metrics that TensorBoard shows beside them.
        """
        if self.primary:
            self._board.add_hparams(hparams, metrics)
        for logger in self._loggers:
            logger.begin(self._workdir, hparams)

    def write_texts(self, texts: Mapping[str, str]) -> None:
        """Writes texts in Markdown to TensorBoard.

        Args:
          texts: the texts by name.
        """
        for name, text in texts.items() if self.primary else ():
            self._board.add_text(name, text)

    def advance(self) -> None:
        """Shows that one more step is finished."""
        self._display.advance()

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Writes a line of metrics.jsonl, and each scalar to TensorBoard, display and loggers.

        The line begins with the step and the epochs that have passed.

        Args:
          step: the step at which the scalars were measured.
          scalars: the values by name.
        """
        if not self.primary:
            return
        place: dict[str, float] = {} if self._epoch_at is None else {"epoch": self._epoch_at(step)}
        with storage.naming(self._path):
            self._lines.write((json.dumps({"step": step} | place | scalars) + "\n").encode())
            self._lines.flush()
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)
        self._display.scalars(step, place | scalars)
        for logger in self._loggers:
            logger.scalars(step, place | scalars)

    def write_images(self, step: int, images: dict[str, np.ndarray]) -> None:
        """Writes pictures to TensorBoard, display and loggers.

        Args:
          step: the step at which the pictures were made.
          images: the pictures by name, uint8 (H, W, C).
        """
        if self.primary:
            for name, image in images.items():
                self._board.add_image(name, image, step)
            self._display.images(step, images)
        for logger in self._loggers:
            logger.images(step, images)

    def say(self, text: str) -> None:
        """Shows a line to the user."""
        self._display.say(text)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error) -> None:
        if self.primary:
            for logger in self._loggers:
                logger.close(failed=kind is not None and issubclass(kind, Exception))
            with contextlib.suppress(OSError):  # As below.
                self._board.close(finished=kind is None)
            self._display.close()
            with contextlib.suppress(OSError):  # Which was raised when the line was written.
                self._lines.close()


def read_metrics(path: Path) -> list[dict]:
    """Returns the rows of a metrics.jsonl. Damaged lines, which a kill may leave, are left out.

    Args:
      path: the file.

    Returns:
      A dict for each line, with "step" and the metrics by name.
    """
    return [row for row in storage.json_lines(path) if type(row.get("step")) is int]


def _keep_until(path: Path, step: int) -> None:
    """Rewrites a metrics.jsonl without the lines of steps after `step`."""
    if path.exists():
        kept = [row for row in read_metrics(path) if row["step"] <= step]
        storage.write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
