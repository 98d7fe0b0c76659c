"""Memory of a process in huge pages: on CPUs, where XLA maps a step's temporaries anew each time.

A step of `progan` at 32x32 maps 30,000 pages of 4 KiB, one of `ada:emoji64` 68,000, and the kernel
clears each by itself: a third of their time on an AMD EPYC (Turin). glibc asks for pages of 2 MiB
only where its tunables say so, and it reads those when a process starts.
"""

import os
import sys

VARIABLE = "GLIBC_TUNABLES"
TUNABLE = "glibc.malloc.hugetlb"


def tunables(given: str) -> str:
    """What `GLIBC_TUNABLES` should be where it is `given` ("" where it is not set).

    Whoever names the tunable, whatever its value, is obeyed.
    """
    names = [each.partition("=")[0] for each in given.split(":")]
    return given if TUNABLE in names else ":".join(filter(None, (given, f"{TUNABLE}=1")))


def restart() -> None:
    """Starts this process anew with the tunable, if it has none yet: for commands' first moment.

    The process keeps its number, files and arguments. Does nothing but on Linux. The tunable is
    of glibc 2.35 and later; others do not know it and do nothing either.
    """
    given = os.environ.get(VARIABLE, "")
    wanted = tunables(given)
    if sys.platform == "linux" and wanted != given and sys.executable:
        os.environ[VARIABLE] = wanted
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
