"""What a command arranges about XLA's compiler: programs are kept, and its memory given back."""

import ctypes
import os

COMPILED = "/jax/core/compile/backend_compile_duration"


def keep_programs() -> None:
    """A resumed or repeated run need not compile again."""
    import jax
    import platformdirs

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", platformdirs.user_cache_dir("ganjax"))


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
