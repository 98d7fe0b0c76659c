"""Restarts a process with huge pages of memory, which make its train steps on CPUs faster.

XLA on CPU maps the temporaries of a train step again in every step, and the operating system clears
each page by itself. Fewer and larger pages save a good part of a step's time (docs/speed.md). glibc
asks for huge pages only if its tunables say so, and it reads them when a process starts.
"""

import contextlib
import os
import sys

VARIABLE = "GLIBC_TUNABLES"
TUNABLE = "glibc.malloc.hugetlb"
# Holds the id of a process that has restarted, so that it does so only once.
RESTARTED = "GANJAX_RESTARTED"
# Modules of notebooks and debuggers, which would lose a process that restarts.
HOSTS = ("IPython", "debugpy", "pydevd")


def tunables(given: str) -> str:
    """Returns the value that `GLIBC_TUNABLES` should have.

    A value that already sets the tunable, to whatever, is kept.

    Args:
      given: the variable's current value, "" if it is not set.
    """
    names = [entry.partition("=")[0] for entry in given.split(":")]
    return given if TUNABLE in names else ":".join(filter(None, (given, f"{TUNABLE}=1")))


def restart() -> None:
    """Restarts this process with the tunable if it is not set; commands call this first.

    The process keeps its id, open files and arguments. Nothing happens on systems other than Linux,
    in a notebook or a debugger, or if the program came from the standard input, which can be read
    only once. glibc knows the tunable from version 2.35 on; older versions ignore it.
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
