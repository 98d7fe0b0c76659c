"""Where figures go: metrics.jsonl, TensorBoard and the terminal, behind clu's verbs.

(clu's own writers need TensorFlow.)
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

METRICS = "metrics.jsonl"


class Writer:
    """Writes the metrics and pictures of one run.

    Args:
      workdir: the run's folder.
      step: the step from which the run goes on: later lines, of a run that was killed after
        its last checkpoint, are removed, since they will be written again.
      total_steps: where the run ends.
      primary: whether this process writes at all (process 0 does).
    """

    def __init__(self, workdir: Path, step: int, total_steps: int, primary: bool = True):
        self.primary = primary
        self._total = total_steps
        self._bar = None
        if not primary:
            return
        path = workdir / METRICS
        _keep_until(path, step)
        self._lines = path.open("a", encoding="utf-8")
        # Events of later steps, like later lines, are void.
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)
        if sys.stderr.isatty():
            self._bar = tqdm(total=total_steps, initial=step, unit="step", dynamic_ncols=True)

    def advance(self) -> None:
        """Moves the progress bar by one step."""
        if self._bar is not None:
            self._bar.update()

    def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
        """One line of metrics.jsonl, and each scalar to TensorBoard and the terminal."""
        if not self.primary:
            return
        self._lines.write(json.dumps({"step": step} | scalars) + "\n")
        self._lines.flush()
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)
        shown = {name: f"{value:.4g}" for name, value in scalars.items()}
        if self._bar is not None and "d_loss" in scalars:
            keys = [k for k in shown if k.endswith("_loss") or k == "images_per_second"]
            self._bar.set_postfix({k: shown[k] for k in keys})
        elif self._bar is None:
            self.say(f"step {step}/{self._total} " + " ".join(f"{k} {v}" for k, v in shown.items()))

    def write_images(self, step: int, images: dict[str, np.ndarray]) -> None:
        """uint8 (H, W, C) pictures to TensorBoard."""
        if self.primary:
            for name, image in images.items():
                self._board.add_image(name, image, step, dataformats="HWC")

    def say(self, text: str) -> None:
        """A line for the user, above the progress bar."""
        if self.primary:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error) -> None:
        if self.primary:
            self._lines.close()
            self._board.close()
            if self._bar is not None:
                self._bar.close()


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; what is none (a kill may cut one short) is passed over."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def _keep_until(path: Path, step: int) -> None:
    """Rewrites metrics.jsonl without the lines after `step`."""
    if path.exists():
        kept = [row for row in read_metrics(path) if row["step"] <= step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        os.replace(temporary, path)
