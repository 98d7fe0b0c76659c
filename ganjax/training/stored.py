"""What the folder of a checkpoint holds besides the arrays, and why one cannot be read.

Orbax keeps a file of metadata in each checkpoint, whose `custom_metadata` is ours: the format, the
step, the metrics since the last line, the figures of the evaluation and the checksums of the arrays
(`ganjax.training.checksums`). It has a checksum of its own, the seal.
"""

import json
import re
import zlib
from pathlib import Path
from typing import Any

from ganjax.errors import UserError
from ganjax.runtime import regular, storage
from ganjax.training.migrations import KEY

# Orbax's file, and the entry of it that is ours.
METADATA, OURS = "_CHECKPOINT_METADATA", "custom_metadata"
# The checkpoint's folder of arrays, and that of figures in checkpoints of older versions.
STATE, METRICS = "state", "metrics"
# Our entries besides the format. Older versions have at most the first.
WINDOW, STEP, FIGURES, CHECKSUMS, SEAL = "window", "step", "figures", "checksums", "seal"


class CheckpointError(UserError):
    """The error for a checkpoint that does not exist or cannot be read."""


class DamagedError(CheckpointError):
    """The error for a checkpoint whose files are not as they were written."""


class RemovedError(CheckpointError):
    """The error for a checkpoint that its run has removed while it was read."""


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Returns our entries with their seal."""
    return content | {SEAL: _seal(content)}


def read(path: Path) -> dict[str, Any]:
    """Returns our entries in the metadata of the checkpoint in the folder `path`.

    Raises:
      DamagedError: the metadata is missing or has changed.
    """
    try:
        metadata = json.loads(regular.read_text(path / METADATA))
        ours = metadata[OURS] or {}
        # Whatever is neither sealed nor what older versions wrote has changed.
        intact = ours.get(SEAL) == _seal(ours) if SEAL in ours else set(ours) <= {KEY, WINDOW}
    except FileNotFoundError:
        raise DamagedError(f"{path} cannot be read: {METADATA} is missing") from None
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {METADATA}: {error.strerror}") from None
    except (*storage.NOT_JSON, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise DamagedError(f"{path} cannot be read: {METADATA} is damaged")
    return ours


def figures(path: Path) -> dict[str, float]:
    """Returns the figures of the evaluation at a checkpoint, {} if it has none or is damaged."""
    try:
        ours = read(path)
        # Older versions have a file for them.
        found = (
            ours[FIGURES] if SEAL in ours else json.loads(regular.read_bytes(metrics_file(path)))
        )
    except (CheckpointError, OSError, *storage.NOT_JSON):
        return {}
    return found if isinstance(found, dict) else {}


def metrics_file(path: Path) -> Path:
    """Returns the file of figures in the checkpoint of an older version."""
    return path / METRICS / METRICS


def cause(path: Path, error: BaseException) -> str:
    """Returns why the arrays of a checkpoint cannot be read.

    Args:
      path: the folder of the checkpoint.
      error: Orbax's error, which says of any cause that a handler is incompatible.
    """
    for name in (STATE, f"{STATE}/_METADATA", f"{STATE}/manifest.ocdbt"):
        if not (path / name).exists():
            return f"{name} is missing"
    for file in sorted(path.rglob("*")):
        try:
            if file.is_file():
                with file.open("rb"):
                    pass
        except OSError as unreadable:
            return f"{file.relative_to(path)}: {unreadable.strerror}"
    for file in (path / STATE / "_METADATA", *(path / STATE).glob("array_metadatas/*")):
        try:
            json.loads(regular.read_text(file))
        except storage.NOT_JSON:
            return f"{file.relative_to(path)} is damaged"
    while error.__cause__ is not None:
        error = error.__cause__
    # TensorStore names the file that it was reading last.
    if read := re.findall(r'local file "[^"]*/(state/[^"]+)"', str(error)):
        return f"{read[-1]} is damaged or missing"
    # Or, of a part that cannot be unpacked, the array.
    if array := re.search(r'in "([^"/]+)/[^"]*" in OCDBT', str(error)):
        return f"{STATE}: the array {array[1]} is damaged"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"


def _seal(content: dict[str, Any]) -> int:
    rest = {name: each for name, each in content.items() if name != SEAL}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())
