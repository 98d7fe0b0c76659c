"""The git checkout that code comes from: its revision, and what differs from it."""

import difflib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

# The most bytes of a difference that are read, and of a file that is not committed yet.
MOST_BYTES = 1 << 20
CUT = b"\n(cut here: only so much of the difference is kept)\n"
# Seconds after which git is not waited for.
PATIENCE = 20
# Folders of installed packages, whose code belongs to no checkout that they may lie in.
INSTALLED = {"site-packages", "dist-packages"}


class Checkout(NamedTuple):
    """A git checkout.

    Attributes:
      root: its folder.
      revision: the first twelve digits of the commit, and "+" if files differ from it.
      diff: how they differ, as a patch; it includes imported modules that git does not know yet.
    """

    root: Path
    revision: str
    diff: bytes


def find(folder: Path) -> Checkout | None:
    """Returns the checkout that holds a folder, or None without one, a commit in it, or git."""
    if INSTALLED & set(folder.parts):
        return None
    try:
        root, commit = _git(folder, "rev-parse", "--show-toplevel", "HEAD").decode().split("\n")[:2]
        # Neither programs that the repository names are run, nor is its index written.
        plain = ("-c", "core.fsmonitor=false", "diff", "--no-ext-diff", "--no-textconv", "HEAD")
        diff = _git(Path(root), *plain) + _new_modules(Path(root))
    except (OSError, ValueError):
        return None
    if len(diff) > MOST_BYTES:
        diff = diff[:MOST_BYTES] + CUT
    return Checkout(Path(root), commit[:12] + ("+" if diff else ""), diff)


def _new_modules(root: Path) -> bytes:
    """Returns, as a patch, the imported modules in a checkout that git neither has nor ignores."""
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    inside = [
        file.removeprefix(f"{root}{os.sep}")
        for file in sorted(files)
        if file.startswith(f"{root}{os.sep}") and not INSTALLED & set(Path(file).parts)
    ]
    if not inside:
        return b""
    options = ("ls-files", "-z", "--others", "--exclude-standard", "--")
    found = _git(root, *options, *inside).decode(errors="surrogateescape")
    patch = []
    for name in filter(None, found.split("\0")):
        text = (root / name).read_bytes()[:MOST_BYTES].decode(errors="replace")
        patch += difflib.unified_diff([], text.splitlines(True), "/dev/null", f"b/{name}")
        if patch and not patch[-1].endswith("\n"):
            patch.append("\n\\ No newline at end of file\n")
    return "".join(patch).encode(errors="surrogateescape")


def _git(folder: Path, *arguments: str) -> bytes:
    """Returns what git prints, at most one byte more than is kept.

    Raises:
      OSError: git is missing, fails, or takes too long.
    """
    command = ["git", "-C", str(folder), *arguments]
    # A git hook's variables would name another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        assert process.stdout is not None
        patience = threading.Timer(PATIENCE, process.kill)
        patience.start()
        printed = process.stdout.read(MOST_BYTES + 1)
        if len(printed) > MOST_BYTES:
            process.kill()
        patience.cancel()
    if process.returncode and len(printed) <= MOST_BYTES:
        raise OSError(f"git {arguments[0]} failed")
    return printed
