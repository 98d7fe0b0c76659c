"""JAX for tests: eight devices, errors for implicit promotion and for keys used twice.

What is imported before any file of tests, where tests are collected. A process that only hands
tests to others (pytest-xdist's first) needs neither this nor JAX, and starts without.
"""

import ctypes
import gc
import importlib
import inspect
import os
import pkgutil
import sys
import threading
from functools import cache, wraps
from pathlib import Path

import jax
from beartype import beartype
from conftest import ROOT
from initial import initial, with_few_programs
from jax._src.interpreters import mlir
from jaxtyping import jaxtyped

from ganjax.runtime import compiling

# The bytes at which a worker gives memory back: it may take 2 GiB in all.
MOST_RESIDENT = 1200 << 20

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
# As in a run: operations keep their line, but no stack.
jax.config.update("jax_include_full_tracebacks_in_locations", False)
# It takes milliseconds at every compilation, and tests/runtime/test_compiling.py tries it apart.
compiling.trim_memory = lambda: None

# A test's own draws need no program each.
jax.random.normal = with_few_programs(jax.random.normal)
jax.random.uniform = with_few_programs(jax.random.uniform)

# A new MLIR context takes 3 ms, so many programs of a thread share one; the next one frees what it
# has interned. What another thread compiles meanwhile has one of its own.
PROGRAMS_OF_A_CONTEXT = 200
contexts = threading.local()


def _ir_context(make=mlir.make_ir_context):
    """Takes the place of a function that makes a context for each program."""
    contexts.uses = getattr(contexts, "uses", 0) + 1
    if contexts.uses % PROGRAMS_OF_A_CONTEXT == 1:
        contexts.last = make()
    return contexts.last


mlir.make_ir_context = _ir_context


def in_a_context_of_its_own(lower):
    """Returns a function that lowers as `lower`, in a context that no other program shares."""

    @wraps(lower)
    def lowered(*args):
        contexts.__dict__.clear()
        try:
            return lower(*args)
        finally:
            contexts.__dict__.clear()

    return lowered


def checked(function):
    """Returns a function that checks its annotated shapes and types at every call.

    It is decorated when it is first called, since to decorate all takes half a second.
    """
    decorated = cache(lambda: jaxtyped(function, typechecker=beartype))
    return wraps(function)(lambda *args, **kwargs: decorated()(*args, **kwargs))


# The public functions of these folders are checked. jaxtyping's import hook would do it too, but
# decorates nested functions anew at every call.
for folder in ("objectives", "augment", "ops", "metrics", "pictures"):
    for info in pkgutil.iter_modules([ROOT / "ganjax" / folder], f"ganjax.{folder}."):
        module = importlib.import_module(info.name)
        for name, function in list(vars(module).items()):
            own = inspect.isfunction(function) and function.__module__ == info.name
            if own and not name.startswith("_"):
                setattr(module, name, checked(function))


def forget_programs_if_many():
    """Frees the compiled programs if they fill a worker's memory."""
    if _resident() > MOST_RESIDENT:
        jax.clear_caches()
        contexts.__dict__.clear()
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)


def init_program(init, sharding):
    """Takes the place of `checkpoint.init_program`, and compiles nothing for a single run."""
    return lambda key: jax.device_put(initial(init, key), sharding)


def _resident():
    """Returns the bytes of memory that this process holds, or more than any if none says it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return sys.maxsize
