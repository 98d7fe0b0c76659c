"""Options of XLA's compiler, the cache of its programs, and the memory that compilations leave."""

import ctypes
import functools
import os
import re
from typing import Any

COMPILED = "/jax/core/compile/backend_compile_duration"
# The pass in which XLA on CPU drops every `lax.optimization_barrier`, before it fuses and orders
# operations.
_DROPS_BARRIERS = "cse_barrier_expander"
_DISABLED = "xla_disable_hlo_passes"


def options(platform: str) -> dict[str, str]:
    """Returns the `compiler_options` of `jax.jit` for a train step.

    On CPUs they keep barriers. So an array that several operations read is computed only once, the
    players' updates do not overlap, and the backward pass does compute blocks again where it should
    (config.remat). Results are the same to rounding, and temporaries smaller (docs/memory.md).
    Passes that XLA_FLAGS disables stay disabled.

    Args:
      platform: the platform of the devices that the program is for, such as "cpu".
    """
    if platform != "cpu":
        return {}
    already = re.findall(rf"--{_DISABLED}=(\S+)", os.environ.get("XLA_FLAGS", ""))
    return {_DISABLED: ",".join([*already[-1:], _DROPS_BARRIERS])}


def options_once(platform: str) -> dict[str, Any]:
    """Returns the `compiler_options` of `jax.jit` for a program that runs once, such as `init`.

    On CPUs LLVM then optimises nothing, which takes most of the time to compile the random numbers
    of many arrays. Results are the same to rounding.

    Args:
      platform: the platform of the devices that the program is for, such as "cpu".
    """
    return {"xla_backend_optimization_level": "0"} if platform == "cpu" else {}


def keep_programs(folder: str | None = None) -> None:
    """Turns on JAX's cache of compiled programs on disk, for commands that are repeated or resumed.

    Other than by JAX's default, programs that compile in less than a second are kept too, so that a
    second run starts sooner and in less memory (docs/memory.md). Programs record the name, file and
    line of each operation, but not the whole Python stack, which takes memory.

    Args:
      folder: the folder of the programs; by default the environment's JAX_COMPILATION_CACHE_DIR,
        or else a folder in the user's cache.
    """
    import jax
    import platformdirs

    if folder or "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = folder or platformdirs.user_cache_dir("ganjax")
        jax.config.update("jax_compilation_cache_dir", folder)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if "JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS" not in os.environ:
        jax.config.update("jax_include_full_tracebacks_in_locations", False)


@functools.cache
def trim_memory() -> None:
    """Makes every later compilation return the memory that it no longer needs to the system.

    Otherwise glibc keeps that memory, in addition to all that the compiled program needs
    (docs/memory.md). Without glibc this function does nothing, as do all calls but the first.
    """
    from jax import monitoring

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is None:
        return

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILED:
            trim(0)

    monitoring.register_event_duration_secs_listener(listen)
