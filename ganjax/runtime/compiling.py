"""What is arranged about XLA's compiler: what it is asked for, that programs are kept, and that its
memory is given back."""

import ctypes
import os
import re

COMPILED = "/jax/core/compile/backend_compile_duration"
# The pass in which XLA's CPU drops every `lax.optimization_barrier`, before it fuses operations and
# orders them.
_DROPS_BARRIERS = "cse_barrier_expander"
_DISABLED = "xla_disable_hlo_passes"


def options(platform: str) -> dict[str, str]:
    """`compiler_options` of `jax.jit` for a train step.

    On CPUs barriers are kept: then what several operations read is computed once, G's turn begins
    when D's have ended, and blocks that are to be computed anew in the backward pass (config.remat)
    are. The numbers are the same to rounding, the temporaries of `dcgan:celeb_a` at batch 32 (jax
    0.10.2) 101 MiB instead of 180. Passes that XLA_FLAGS disables stay so.

    Args:
      platform: of the devices that the program is for, such as "cpu".
    """
    if platform != "cpu":
        return {}
    theirs = re.findall(rf"--{_DISABLED}=(\S+)", os.environ.get("XLA_FLAGS", ""))
    return {_DISABLED: ",".join([*theirs[-1:], _DROPS_BARRIERS])}


def keep_programs(folder: str | None = None) -> None:
    """A resumed or repeated command need not compile again.

    Programs that compile in less than a second, which JAX does not keep by itself, are kept too: a
    second run of `wgan_gp` starts in 6.5 s instead of 8, on two cores, and takes 80 MiB less.
    They record the name, file and line of each operation, but not Python's whole stack, which takes
    8 MiB more when `wgan_gp` starts.

    Args:
      folder: where; by default where JAX_COMPILATION_CACHE_DIR says, else in the user's cache.
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


def trim_memory() -> None:
    """From now on, what a compilation leaves free is given back before its program runs.

    glibc keeps it else, a hundred MiB of a train step that is only read from the cache, beneath
    all that the step needs. Takes 20 ms at most. Does nothing without glibc.
    """
    from jax import monitoring

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is None:
        return

    def listen(event: str, seconds: float, **_) -> None:
        if event == COMPILED:
            trim(0)

    monitoring.register_event_duration_secs_listener(listen)
