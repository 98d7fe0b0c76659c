"""What the programs of experiments take as arguments, by types of argparse.

What is wrong is said before anything is computed.
"""

import argparse
import os
from pathlib import Path

from ganjax import shared_flags
from ganjax.runtime import storage
from ganjax.runtime.limits import LARGEST


def count(text: str, least: int = 1, most: int = LARGEST) -> int:
    """Parses a whole number within limits."""
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from {least} to {most:,}")
    return int(text)


def seed(text: str) -> int:
    """Parses the seed of random numbers."""
    return count(text, least=0)


def positive(text: str) -> float:
    """Parses a number above 0, such as of seconds, of which a year is the most."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= 365 * 86_400:
        raise argparse.ArgumentTypeError(
            f"{text!r}: give a number above 0, and at most a year's seconds"
        )
    return found


def jobs(text: str) -> int:
    """Parses how many processes run at once: at most four for each core."""
    return count(text, most=4 * (os.cpu_count() or 1))


def file(text: str) -> Path:
    """Parses the path of a file that is to be written, whose folder is made if it is missing."""
    path = shared_flags.path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; name a file")
    folder(str(path.parent))
    return path


def folder(text: str) -> Path:
    """Parses the path of a folder for files, which is made if it is missing."""
    path = shared_flags.path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
        storage.check_takes_files(path)
    except OSError as error:
        reason = f"{path} takes no files ({error.strerror}); name another"
        raise argparse.ArgumentTypeError(reason) from None
    return path
