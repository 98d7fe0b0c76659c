"""Feeds the readers of files with files that are nearly right.

    python -m experiments.faults.fuzz image --seconds=120
    python -m experiments.faults.fuzz all --seconds=60 --plain

A file is read, or refused by a `UserError`, within five seconds and bounded memory; anything else
is printed, and its file kept. atheris, which follows the lines that a file reaches, is used where
it is installed (pip install atheris), and otherwise, or with --plain, a mutator that does not look.
"""

import argparse
import importlib
import importlib.util
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from experiments.tools import arguments

# The most seconds of the processor that reading a file may take, and of waiting besides.
SECONDS, PATIENCE = 5, 30
# The modules besides ganjax and Pillow whose lines atheris follows.
FOLLOWED = ("zipfile", "pickletools", "json.decoder", "numpy.lib._format_impl", "tokenize", "ast")


class Slow(Exception):
    """The error for a file that is not read in time."""


class Harness:
    """A reader that is fed, and what it may do.

    Args:
      name: the name of the reader.
      folder: an empty folder for its file.
    """

    def __init__(self, name: str, folder: Path):
        from experiments.faults.readers import READERS

        self._reader = READERS[name]
        self._path = folder / self._reader.file
        self.contents = list(self._reader.seeds(folder))
        self._peak = 0

    @property
    def seeds(self) -> list[bytes]:
        """What is mutated: the number of a form, a byte, and bytes for that form."""
        return [
            bytes([form]) + content
            for form in range(len(self._reader.forms))
            for content in self.contents
        ]

    def feed(self, data: bytes) -> str:
        """Reads a file made of `data`, and returns what was wrong with that, or "".

        Raises:
          Exception: the reader's, where it is no `UserError`.
        """
        from ganjax.errors import UserError

        forms = self._reader.forms
        content = forms[data[0] % len(forms)](data[1:]) if data else b""
        if self._reader.sized:
            size = len(self.contents[0])
            content = content[:size].ljust(size, b"\0")
        self._path.write_bytes(content)
        self._peak = self._peak or _peak()
        # Of the processor, since others may be using it too.
        begun = time.process_time()
        try:
            self._reader.read(self._path)
        except UserError as error:
            if not str(error):
                return "an error without a message"
        seconds = time.process_time() - begun
        if seconds > SECONDS:
            return f"it took {seconds:.1f} s"
        grown = _peak() - self._peak
        if grown > self._reader.mib << 20:
            self._peak += grown
            return f"it took {grown >> 20} MiB"
        return ""


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def plainly(
    harness: Harness, drawn: random.Random, seconds: float = float("inf"), most: int = 10**9
) -> Iterator[tuple[bytes, str]]:
    """Feeds mutated seeds, and yields each whose reading failed, with the reason.

    Args:
      harness: the reader.
      drawn: random numbers.
      seconds: when to end.
      most: how many files to feed at most.
    """
    from experiments.faults.mutations import mutated

    def slow(*_):
        raise Slow(f"more than {PATIENCE} s")

    signal.signal(signal.SIGALRM, slow)
    deadline, seeds = time.monotonic() + seconds, harness.seeds
    for _ in range(most):
        if time.monotonic() > deadline:
            return
        data = mutated(seeds, drawn)
        signal.alarm(PATIENCE)
        try:
            reason = harness.feed(data)
        except (Exception, Slow) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        finally:
            signal.alarm(0)
        if reason:
            yield data, reason


def _with_atheris(name: str, seconds: float, out: Path) -> None:
    """Fuzzes a reader by atheris, which ends this process."""
    import atheris

    with atheris.instrument_imports(include=["ganjax", "PIL"], enable_loader_override=False):
        harness = Harness(name, _folder(name))
    for function in _functions(map(importlib.import_module, FOLLOWED)):
        atheris.instrument_func(function)
    corpus = Path(tempfile.mkdtemp(prefix="ganjax_corpus_"))
    for i, seed in enumerate(harness.seeds):
        (corpus / str(i)).write_bytes(seed)

    def test(data):
        if reason := harness.feed(data):
            raise AssertionError(reason)

    options = [f"-timeout={PATIENCE}", "-rss_limit_mb=3000", f"-max_total_time={int(seconds)}"]
    options += ["-max_len=20000", f"-artifact_prefix={out}/"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], test)
    atheris.Fuzz()


def _functions(holders: Iterable[Any]) -> Iterator[FunctionType]:
    """Yields the functions of modules, and of their classes."""
    for holder in holders:
        for each in list(vars(holder).values()):
            if isinstance(each, FunctionType):
                yield each
            elif isinstance(each, type) and each.__module__ == getattr(holder, "__name__", None):
                yield from _functions([each])


def _folder(name: str) -> Path:
    at = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="ganjax_fuzz_", dir=at)) / "file"
    folder.mkdir()
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reader", help="its name in readers.py, or all")
    parser.add_argument("--seconds", type=arguments.positive, default=60.0, help="for each reader")
    parser.add_argument("--seed", type=arguments.seed, default=0)
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument(
        "--out", type=arguments.folder, default="runs/fuzz", help="a folder for files"
    )
    args = parser.parse_args()
    if not args.plain and args.reader != "all" and importlib.util.find_spec("atheris"):
        _with_atheris(args.reader, args.seconds, args.out)
    from experiments.faults.readers import READERS

    failed = 0
    for name in READERS if args.reader == "all" else [args.reader]:
        found = {}
        drawn = random.Random(args.seed)
        for data, reason in plainly(Harness(name, _folder(name)), drawn, args.seconds):
            if reason not in found:
                found[reason] = args.out / f"{name.strip('.').replace(' ', '_')}_{len(found)}"
                found[reason].write_bytes(data)
                print(f"{name}: {reason} ({found[reason]})", flush=True)
        print(f"{name}: {len(found)} kinds of failures", flush=True)
        failed += len(found)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
