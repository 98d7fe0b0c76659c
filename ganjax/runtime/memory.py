"""How much memory there is, so that what cannot fit is refused before it is allocated.

Linux grants memory that it does not have and kills the process that uses it, so that waiting for a
MemoryError is no check.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from ganjax.errors import UserError

# The limits of a container, of either version of control groups.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def total() -> int:
    """Returns the bytes of memory that the processes of this machine or container can have.

    Where the system does not say it, that is more than any program needs.
    """
    found = [sys.maxsize]
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Not POSIX, or no such figure.
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in LIMITS:
        try:
            found.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # There is no such file, or it says "max".
            continue
    return min(each for each in found if each > 0)


def of_device(device: Any, devices: int = 1) -> int:
    """Returns the bytes of memory that a program can have on one of JAX's devices.

    Args:
      device: the device.
      devices: how many devices of its kind this process uses, which on CPUs share the memory.
    """
    stats = device.memory_stats()
    if stats and stats.get("bytes_limit"):
        return stats["bytes_limit"]
    return total() // devices if device.platform == "cpu" else sys.maxsize


def check(what: str, count: int, mend: str) -> None:
    """Refuses what the memory cannot hold, before it is allocated.

    Args:
      what: what is asked for, in the plural.
      count: its bytes.
      mend: what to do instead.

    Raises:
      UserError: there is less memory.
    """
    if count > total():
        raise UserError(
            f"{what} take {described(count)}, and the memory holds {described(total())}: {mend}"
        )


def described(count: float) -> str:
    """Returns a number of bytes in words, such as "1.5 GiB"."""
    if count < 1 << 30:
        return f"{count / (1 << 20):.3g} MiB"
    return f"{count / (1 << 30):,.1f} GiB"
