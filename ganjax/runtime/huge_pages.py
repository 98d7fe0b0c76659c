"""Memory of a process in huge pages: on CPUs, where XLA maps a step's temporaries anew each time.

A step of `progan` at 32x32 maps 30,000 pages of 4 KiB, one of `ada:emoji64` 68,000, and the kernel
clears each by itself: 39 and 16 % of their time on two cores of an AMD EPYC (Turin). glibc asks for
pages of 2 MiB only where its tunables say so, and it reads those when a process starts.
"""

import contextlib
import os
import sys

VARIABLE = "GLIBC_TUNABLES"
TUNABLE = "glibc.malloc.hugetlb"
# The process that has begun anew: where the tunable is taken away on the way, it does so once.
RESTARTED = "GANJAX_RESTARTED"
# Whoever holds the process in hand would lose it.
HOSTS = ("IPython", "debugpy", "pydevd")


def tunables(given: str) -> str:
    """What `GLIBC_TUNABLES` should be where it is `given` ("" where it is not set).

    Whoever names the tunable, whatever its value, is obeyed.
    """
    names = [each.partition("=")[0] for each in given.split(":")]
    return given if TUNABLE in names else ":".join(filter(None, (given, f"{TUNABLE}=1")))


def restart() -> None:
    """Starts this process anew with the tunable, if it has none yet: for commands' first moment.

    The process keeps its number, files and arguments. Does nothing but on Linux, nor in a notebook
    or a debugger, nor where the program came by the standard input, which is read only once. The
    tunable is of glibc 2.35 and later; others do not know it and do nothing either.
    """
    given, process = os.environ.get(VARIABLE, ""), str(os.getpid())
    wanted, arguments = tunables(given), sys.orig_argv[1:]
    hosted = sys.gettrace() is not None or any(name in sys.modules for name in HOSTS)
    by_name = bool(arguments) and "-" not in arguments
    again = os.environ.get(RESTARTED) == process
    if sys.platform != "linux" or wanted == given or hosted or again or not by_name:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    environment = os.environ | {VARIABLE: wanted, RESTARTED: process}
    with contextlib.suppress(OSError):
        os.execve(sys.executable, [sys.executable, *arguments], environment)
