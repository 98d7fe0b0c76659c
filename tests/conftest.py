"""Set-up of all tests: cores, XLA's options, caches and memory, and what is collected."""

import gc
import inspect
import os
import sys
from functools import wraps
from importlib.metadata import version
from pathlib import Path

# Each worker has one core: compiling takes one thread anyway, and the threads of several JAX
# processes on the same cores would spin while they wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    os.sched_setaffinity(0, {cores[worker % len(cores)]})

# Most of a test's time is the compilation of code that runs once, so it is not optimised.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
).strip()
if version("jaxlib").startswith("0.10."):  # XLA aborts if it does not know a flag.
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
    # LLVM gets a program whole, not in 32 parts for as many threads: a seventh less CPU time.
    os.environ["XLA_FLAGS"] += " --xla_cpu_parallel_codegen_split_count=1"

import pytest

ROOT = Path(__file__).parent.parent
# The least seconds of a compilation whose program is stored, for this process and others.
LEAST_COMPILATION = 0.1
# What has the longest tests, the longest first.
LONGEST = ("test_learning", "test_slurm", "test_sweep", "test_processes", "test_tagging")


def pytest_ignore_collect(collection_path, config):
    """Leaves out the files of which no test is to run, since to import them takes seconds.

    Those whose name ends so import PyTorch; what has no marker's name has no test of it.
    """
    marker = config.option.markexpr
    if collection_path.name.endswith("_twin.py") and ("not torch" in marker or marker == "slow"):
        return True
    if marker in ("slow", "torch") and collection_path.name.startswith("test_"):
        return f"mark.{marker}" not in collection_path.read_text() or None
    return None


def pytest_collectstart():
    """Sets JAX up before any file of tests is imported, where tests are collected."""
    import strict  # noqa: F401


def pytest_collection_modifyitems(items):
    """Sorts what takes longest first, so that no worker ends with it alone."""
    order = {stem: place for place, stem in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONGEST)))


def pytest_collection_finish():
    """Spares the garbage collector all that has been imported, which stays to the end anyway.

    Tracing makes many objects that live on, among which to look for cycles often takes long.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    import strict

    if checkpoint := sys.modules.get("ganjax.training.checkpoint"):
        checkpoint.init_program = wraps(checkpoint.init_program)(strict.init_program)
    if ahead := sys.modules.get("ganjax.training.ahead"):
        ahead._lowered = strict.in_a_context_of_its_own(ahead._lowered)


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory):
    """Gives a session and its subprocesses a cache of programs, apart from the user's caches.

    Sessions of one environment may share one, whose folder GANJAX_TESTS_PROGRAMS names.
    """
    folder = os.environ.get("GANJAX_TESTS_PROGRAMS") or str(tmp_path_factory.mktemp("xla"))
    before = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    # To store smaller programs takes as long as to compile them.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = str(LEAST_COMPILATION)
    # The cache of scans of folders of images.
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    import jax

    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_COMPILATION)
    yield
    if before is not None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = before


@pytest.fixture(autouse=True)
def _programs_are_forgotten():
    """Frees the compiled programs, which many tests share, before they fill a worker's memory."""
    yield
    import strict

    strict.forget_programs_if_many()


@pytest.fixture
def as_in_commands(monkeypatch):
    """Initialises runs by the program of commands, whose roundings are others."""
    checkpoint = sys.modules["ganjax.training.checkpoint"]
    monkeypatch.setattr(checkpoint, "init_program", inspect.unwrap(checkpoint.init_program))


@pytest.fixture(scope="module")
def native_convolutions():
    """Traces convolutions as XLA's own, which compile sooner where their lowering is not tested."""
    from ganjax.ops import lowering

    with lowering.native_convolutions():
        yield


@pytest.fixture
def one_device():
    """As `small.on_one_device`, for a test."""
    from small import on_one_device

    with on_one_device():
        yield


@pytest.fixture
def tiny():
    """The config of `small.tiny_config`, which a test may change."""
    from small import tiny_config

    return tiny_config()
