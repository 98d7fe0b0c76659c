"""The folders of checkpoints: which there are, and what is done with those that are damaged."""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from ganjax.config import ConfigError
from ganjax.runtime import regular, storage
from ganjax.training import stored

FOLDER = "checkpoints"
# The end of the name of what is damaged and a run has set aside.
ASIDE = ".damaged"
# What the names of half-written checkpoints have in them.
TEMPORARY = ".orbax-checkpoint-tmp"
# What a path may hold that Orbax or TensorStore takes for something else.
NOT_LITERAL = "*?[\\"
# How often, and at which interval in seconds, a reader looks whether a run removes what it reads.
LOOKS, PAUSE = 10, 0.05


def steps_in(folder: Path) -> set[int]:
    """Returns the steps of the checkpoints in a folder of them."""
    return {int(name) for name in _names_in(folder) if _is_step(name)}


def others_in(folder: Path) -> list[str]:
    """Returns the names in a folder of checkpoints that are no steps, but for those of Orbax."""
    return sorted(
        each for each in _names_in(folder) if not _is_step(each) and TEMPORARY not in each
    )


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_step(name: str) -> bool:
    """Returns whether Orbax gives a checkpoint such a name, which "020" is none of."""
    return name.isascii() and name.isdecimal() and name == str(int(name))


def set_aside(path: Path) -> Path:
    """Renames a damaged file or folder, so that it is neither read nor lost.

    Returns:
      The new path.
    """
    other, number = path.with_name(f"{path.name}{ASIDE}"), 1
    while other.exists():
        number += 1
        other = path.with_name(f"{path.name}{ASIDE}{number}")
    path.rename(other)
    return other


def is_removed(path: Path) -> bool:
    """Returns whether a checkpoint is gone, or goes while this function looks."""
    for _ in range(LOOKS):
        if not (path / stored.METADATA).exists() and not path.is_dir():
            return True
        time.sleep(PAUSE)
    return False


def set_figures_aside(path: Path) -> None:
    """Sets the figures in a checkpoint of an older version aside if Orbax cannot read them."""
    file = stored.metrics_file(path)
    try:
        json.loads(regular.read_bytes(file))
    except FileNotFoundError:
        return
    except (OSError, *storage.NOT_JSON):
        print(
            f"ganjax: {file} is damaged: step {path.name} counts as not evaluated", file=sys.stderr
        )
        set_aside(file.parent)


@contextlib.contextmanager
def path_for_orbax(folder: Path) -> Iterator[Path]:
    """Yields a path of a folder that Orbax and TensorStore take literally.

    Orbax looks for files by patterns, and TensorStore takes a backslash for what divides folders.

    Raises:
      ConfigError: several processes would need it.
    """
    if not any(each in str(folder) for each in NOT_LITERAL):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="ganjax-") as clean:
        if jax.process_count() > 1 or any(each in clean for each in NOT_LITERAL):
            raise ConfigError(
                f"--workdir={folder.parent}: Orbax does not take a path with any of "
                f"{' '.join(NOT_LITERAL)} literally; name a folder without them"
            )
        link = Path(clean) / FOLDER
        link.symlink_to(folder, target_is_directory=True)
        yield link
