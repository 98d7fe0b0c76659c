"""Huge pages for the memory of a process: XLA's CPU maps a step's temporaries again in each step.

The kernel clears each page by itself, and there are tens of thousands of 4 KiB in a step, so that
huge pages save a good part of its time (docs/speed.md). glibc asks for pages of 2 MiB only if its
tunables say so, and it reads those when a process starts.
"""

import contextlib
import os
import sys

VARIABLE = "GLIBC_TUNABLES"
TUNABLE = "glibc.malloc.hugetlb"
# Holds the number of a process that has restarted: it does so once, even if the tunable is lost.
RESTARTED = "GANJAX_RESTARTED"
# Notebooks and debuggers, which would lose a process that restarts.
HOSTS = ("IPython", "debugpy", "pydevd")


def tunables(given: str) -> str:
    """Returns the value that `GLIBC_TUNABLES` should have.

    A value that names the tunable already is kept, whatever it says.

    Args:
      given: its present value, "" if it is not set.
    """
    names = [entry.partition("=")[0] for entry in given.split(":")]
    return given if TUNABLE in names else ":".join(filter(None, (given, f"{TUNABLE}=1")))


def restart() -> None:
    """Restarts this process with the tunable if it has none; commands call it first.

    The process keeps its number, files and arguments. Nothing happens on systems other than Linux,
    in a notebook or a debugger, or if the program came from the standard input, which can be read
    only once. glibc knows the tunable from 2.35 on; other versions ignore it.
    """
    given, process = os.environ.get(VARIABLE, ""), str(os.getpid())
    wanted, arguments = tunables(given), sys.orig_argv[1:]
    hosted = sys.gettrace() is not None or any(name in sys.modules for name in HOSTS)
    has_program = bool(arguments) and "-" not in arguments
    restarted = os.environ.get(RESTARTED) == process
    if sys.platform != "linux" or wanted == given or hosted or restarted or not has_program:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    environment = os.environ | {VARIABLE: wanted, RESTARTED: process}
    with contextlib.suppress(OSError):
        os.execve(sys.executable, [sys.executable, *arguments], environment)
