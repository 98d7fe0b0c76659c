"""JAX's devices, as the environment asks for them: what is wrong with it, in one line."""

import os
import traceback
from collections.abc import Mapping

from ganjax.errors import UserError

# JAX's variables: the platforms to use, and how many devices a CPU is to be.
PLATFORMS, CPU_DEVICES = "JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES"
# JAX's variable that makes every float one of 64 bits.
X64 = "JAX_ENABLE_X64"
# Each of a CPU's devices has threads of its own.
MOST_DEVICES = 4_096


def check(environ: Mapping[str, str] = os.environ) -> None:
    """Checks what the environment says to JAX, without importing that.

    JAX would take a wrong number of devices for an error of whatever imports it, or make threads
    without end.

    Raises:
      UserError: the number of devices that a CPU is to be is none from 1 to `MOST_DEVICES`, nor -1,
        JAX's default; or numbers are to have 64 bits.
    """
    if (wide := environ.get(X64, "")).lower() in ("y", "yes", "t", "true", "on", "1"):
        raise UserError(f"{X64}={wide}: networks have 32 bits, or fewer by a config; unset it")
    value = environ.get(CPU_DEVICES)
    if value is None:
        return
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number != -1 and not 1 <= number <= MOST_DEVICES:
        raise UserError(f"{CPU_DEVICES}={value}: set 1 to {MOST_DEVICES:,}, or unset it")


def reason(error: BaseException, environ: Mapping[str, str] = os.environ) -> str:
    """Returns a line that says why JAX has found no devices, "" if that is not what failed.

    Args:
      error: what JAX raised when its devices were first used.
      environ: the environment variables.
    """
    why = str(error).strip().partition("\n")[0].partition(" (set JAX_PLATFORMS")[0]
    why = why.partition(" (you may need to")[0]
    if isinstance(error, AssertionError):
        # JAX asserts that a platform that was asked for is there.
        frames = traceback.extract_tb(error.__traceback__)
        if not frames or not frames[-1].filename.endswith("xla_bridge.py"):
            return ""
        why = "this machine has no such devices"
    elif "Unable to initialize backend" not in why:
        return ""
    if wanted := environ.get(PLATFORMS):
        return f"{PLATFORMS}={wanted}: {why}; unset it, or set cpu"
    return f"JAX finds no devices: {why}; {PLATFORMS}=cpu leaves others out"
