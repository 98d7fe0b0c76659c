"""An event file of TensorBoard, written at once by whoever adds to it.

tensorboardX's own writer leaves that to a thread. If the disk is full the thread dies, and the run
waits for it for ever.
"""

import importlib.util
import os
import shlex
import socket
import struct
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganjax.runtime import storage
from ganjax.runtime.imports import without

# It would import PyTorch where that is installed, which takes seconds and serves nothing here.
with without("torch"):
    from tensorboardX import summary
    from tensorboardX.proto import event_pb2, types_pb2
    from tensorboardX.record_writer import masked_crc32c

# Any: protobuf makes these classes when it is imported, where a type checker does not see them.
Event: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
SessionLog: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
DT_FLOAT: Any = types_pb2.DT_FLOAT  # pyright: ignore[reportAttributeAccessIssue]


class Board:
    """A writer of scalars and pictures for TensorBoard.

    Args:
      folder: the folder of event files, to which one is added.
      purge_step: the step from which on the events of earlier files are ignored.
      describe: returns what a metric means, which TensorBoard shows beside its curve.

    Raises:
      OSError: the file cannot be written; the error names it. All methods raise it too.
    """

    def __init__(
        self, folder: Path, purge_step: int, describe: Callable[[str], str] = lambda name: ""
    ):
        self._describe, self._described = describe, set[str]()
        self._end: Any = None
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads a folder's files in the order of their names, here that of time.
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        place = f"{seconds:010}.{nanoseconds:09}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / f"events.out.tfevents.{place}"
        # Without a buffer, nothing is left to be written when a full disk ends the run.
        self._file = self._path.open("xb", buffering=0)
        self._add(Event(file_version="brain.Event:2"))
        self._add(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds the value of a metric at a step."""
        scalar = summary.scalar(name, value)
        # TensorBoard reads the description of a metric's first event alone, and its fast reader
        # that of a tensor alone.
        if name not in self._described and (text := self._describe(name)):
            described = scalar.value[0]
            described.metadata.plugin_data.plugin_name = "scalars"
            described.metadata.summary_description = text
            described.ClearField("simple_value")
            described.tensor.dtype = DT_FLOAT
            described.tensor.float_val.append(value)
            described.tensor.tensor_shape.SetInParent()
        self._described.add(name)
        self._add(Event(step=step, summary=scalar))

    def add_image(self, name: str, image: np.ndarray, step: int) -> None:
        """Adds a picture, uint8 (H, W, C), of a step."""
        self._add(Event(step=step, summary=summary.image(name, image, dataformats="HWC")))

    def add_text(self, name: str, text: str) -> None:
        """Adds a text in Markdown, as of the run's beginning."""
        self._add(Event(summary=summary.text(name, text)))

    def add_hparams(self, fields: Mapping[str, str | float | bool], metrics: Sequence[str]) -> None:
        """Adds what TensorBoard's table of hyper-parameters has of a run.

        Args:
          fields: the run's hyper-parameters by name.
          metrics: the names of the metrics beside them.
        """
        experiment, start, self._end = summary.hparams(fields, dict.fromkeys(metrics, 0.0))
        self._add(Event(summary=experiment))
        self._add(Event(summary=start))

    def close(self, finished: bool = True) -> None:
        """Closes the file.

        Args:
          finished: whether the run has come to its end, which the table of hyper-parameters says.
        """
        try:
            if self._end and finished:
                self._add(Event(summary=self._end))
        finally:
            self._file.close()

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        record = length + _checksum(length) + content + _checksum(content)
        with storage.naming(self._path):
            while record:
                record = record[self._file.write(record) :]


def viewing(folder: Path) -> str:
    """Returns a line that says how a user sees a run's curves while it is trained."""
    line = f"curves and samples: tensorboard --logdir={shlex.quote(str(folder))}"
    installed = importlib.util.find_spec("tensorboard") is not None
    return line if installed else f"{line} (pip install 'ganjax[tensorboard]' brings it)"


def as_code(text: str) -> str:
    """Returns Markdown that shows a text as it is."""
    return textwrap.indent(text, " " * 4)


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))
