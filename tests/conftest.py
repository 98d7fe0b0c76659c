"""Set-up of all tests: eight devices, errors for implicit promotion and for keys used twice."""

import contextlib
import ctypes
import gc
import importlib
import inspect
import os
import pkgutil
import runpy
import sys
import tarfile
import threading
from functools import partial, wraps
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

import jax
import numpy as np
import pytest
from beartype import beartype
from initial import initial, with_few_programs
from jax._src.interpreters import mlir
from jaxtyping import jaxtyped
from ml_collections import ConfigDict
from PIL import Image

from ganjax.ops import lowering
from ganjax.parallel.sharding import make_layout
from ganjax.runtime import compiling

ROOT = Path(__file__).parent.parent
# The least seconds of a compilation whose program is stored, for this process and others.
LEAST_COMPILATION = 0.1
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
# has interned.
PROGRAMS_OF_A_CONTEXT = 200
contexts = threading.local()


def _ir_context(make=mlir.make_ir_context):
    """Takes the place of a function that makes a context for each program."""
    contexts.uses = getattr(contexts, "uses", 0) + 1
    if contexts.uses % PROGRAMS_OF_A_CONTEXT == 1:
        contexts.last = make()
    return contexts.last


mlir.make_ir_context = _ir_context

# The annotated shapes and types of public functions in these folders are checked at every call.
# jaxtyping's import hook would do it too, but decorates nested functions anew at every call.
for folder in ("objectives", "augment", "ops", "metrics", "pictures"):
    for info in pkgutil.iter_modules([ROOT / "ganjax" / folder], f"ganjax.{folder}."):
        module = importlib.import_module(info.name)
        for name, function in list(vars(module).items()):
            own = inspect.isfunction(function) and function.__module__ == info.name
            if own and not name.startswith("_"):
                setattr(module, name, jaxtyped(function, typechecker=beartype))


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
    if checkpoint := sys.modules.get("ganjax.training.checkpoint"):
        checkpoint.init_program = wraps(checkpoint.init_program)(_init_program)


def _init_program(init, sharding):
    """Takes the place of `checkpoint.init_program`, and compiles nothing for a single run."""
    return lambda key: jax.device_put(initial(init, key), sharding)


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
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_COMPILATION)
    yield
    if before is not None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = before


@pytest.fixture(autouse=True)
def _programs_are_forgotten():
    """Frees the compiled programs, which many tests share, before they fill a worker's memory."""
    yield
    if _resident() > MOST_RESIDENT:
        jax.clear_caches()
        contexts.__dict__.clear()
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)


@pytest.fixture
def as_in_commands(monkeypatch):
    """Initialises runs by the program of commands, whose roundings are others."""
    checkpoint = sys.modules["ganjax.training.checkpoint"]
    monkeypatch.setattr(checkpoint, "init_program", inspect.unwrap(checkpoint.init_program))


def _resident():
    """Returns the bytes of memory that this process holds, or more than any if none says it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return sys.maxsize


@pytest.fixture(scope="module")
def native_convolutions():
    """Traces convolutions as XLA's own, which compile sooner where their lowering is not tested."""
    with lowering.native_convolutions():
        yield


@contextlib.contextmanager
def on_one_device():
    """Lets runs take one device: their programs compile sooner, and a save writes no shards."""
    with pytest.MonkeyPatch.context() as patch:
        one = partial(make_layout, jax.devices()[:1])
        patch.setattr("ganjax.training.setup.make_layout", one)
        yield


@pytest.fixture
def one_device():
    """As `on_one_device`, for a test."""
    with on_one_device():
        yield


def extract(archive, folder):
    """Unpacks a tar file as data; Python has that filter from 3.11.4 on."""
    archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def write_images(folder, count, size=64):
    """Writes `count` PNG files of grey noise, size x size, to a new folder, and returns it."""
    folder.mkdir(parents=True)
    noise = np.random.RandomState(0).randint(0, 256, (count, size, size), np.uint8)
    for i, image in enumerate(noise):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    return folder


def shipped(name: str, preset: str = ""):
    """Returns the config of `configs/<name>.py:<preset>`."""
    return runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"](preset)


# Every shipped config: the file's name, and the preset's, "" for the default.
SHIPPED = [
    (path.stem, preset)
    for path in sorted((ROOT / "configs").glob("*.py"))
    for preset in runpy.run_path(str(path))["get_config"].presets
]


def shrink_tagging(config):
    """Shrinks a config of a GAN over word vectors, to arrays that `write_arrays` has written."""
    config.data.update(source="arrays:nowhere", feature_dim=6, vector_dim=5)
    config.generator.update(latent_width=4, feature_width=4)
    config.discriminator.update(vector_width=4, feature_width=4, joint_maxout=(4, 2))
    config.sample_grid = (1, 2)
    return config


def write_arrays(folder, count=24, images=True, dims=(6, 5)):
    """Writes arrays with tags to a new folder, as config.data.source=arrays:<folder> takes them.

    The feature of an image begins with a sum of the vectors of its tags, of which each has two
    among seven; `dims` are the lengths of a feature and of a vector.
    """
    folder.mkdir(parents=True)
    random = np.random.RandomState(0)
    words = ["red", "green", "blue", "round", "square", "big", "small"]
    vectors = random.randn(len(words), dims[1]).astype(np.float32)
    lines = [f"{len(words)} {dims[1]}"]
    lines += [" ".join([word, *map(str, vectors[i])]) for i, word in enumerate(words)]
    (folder / "vectors.txt").write_text("\n".join(lines))
    chosen = [random.permutation(len(words))[:2] for _ in range(count)]
    features = np.ones((count, dims[0]), np.float32)
    features[:, : dims[1]] = [vectors[rows].sum(0) for rows in chosen]
    np.save(folder / "features.npy", features)
    tags = [" ".join([words[j] for j in rows] + [f"rare{i}"]) for i, rows in enumerate(chosen)]
    lines = [f"{i:03}.png,{each}" for i, each in enumerate(tags)] if images else tags
    (folder / "tags.csv").write_text("\n".join(["image,tags" if images else "tags", *lines]))
    if images:
        for i in range(count):
            image = random.randint(0, 256, (12, 10 + i % 3, 3), np.uint8)
            Image.fromarray(image).save(folder / f"{i:03}.png")
    return folder


def shrink(config):
    """Shrinks any shipped config to the smallest that runs the same code, and returns it."""
    config.total_steps = 4
    config.batch_size = 8
    config.n_critic = min(config.n_critic, 2)
    config.log_every = 1
    config.sample_every = config.eval_every = config.checkpoint_every = 2
    config.steps_per_dispatch = 1  # Programs of several steps have tests of their own.
    if config.algorithm == "tagging":
        return shrink_tagging(config)
    less, stages = 0, int(np.log2(config.image_size // 4))  # Less: how many are left out.
    if config.data.fit != "pad" and config.generator.network in ("dcgan", "resnet"):
        less = int(np.log2(config.image_size // 16))
        config.image_size = 16
    for group in config.values():
        if isinstance(group, ConfigDict) and "widths" in group:
            group.widths = (4,) * ((len(group.widths) or stages) - less)
        if isinstance(group, ConfigDict) and group.get("network") == "r3gan":
            config.image_size, config.data.fit = 8, "resize"
            group.update(widths=(8, 8), blocks=1, group_width=8)
            group.bfloat16_stages = min(1, group.bfloat16_stages)
        if isinstance(group, ConfigDict) and group.get("network") == "maxout":
            for name in group:
                if name.endswith("_maxout"):
                    group[name] = (4, 2)
                elif name.endswith("_width"):
                    group[name] = 4
    # Feature networks have tests of their own, and every config would compile one.
    config.evaluation.metrics, config.evaluation.num_samples = (), 20
    if config.evaluation.best.startswith("kid"):
        config.evaluation.best = "none"
    if config.data.fit == "bounding_box":
        config.data.fit = "resize"  # The boxes of TFDS's mock data are random numbers.
    if config.get("augment", {}).get("measure_leaks"):
        config.augment.measure_leaks = False  # It takes long, and test_ada_run.py tests it.
    if "growth" in config:  # From 4x4 to 8x8, with two steps each.
        config.image_size = 8
        config.generator.widths = config.discriminator.widths = (4, 4)
        config.growth.batch_sizes, config.growth.learning_rates = (8,), (1e-3,)
        config.growth.fade_reals, config.growth.stabilise_reals = 16, 16
    config.evaluation.log_likelihood = min(config.evaluation.log_likelihood, 20)
    return config


def tiny_config():
    """Returns WGAN-GP, shrunk to 16x16, with two updates of the critic in a step.

    Rates are constant, so that no metric but those of the losses is there.
    """
    # Imported late, as all of ganjax by this file.
    from ganjax.algorithms.optimisers import AdamFields
    from ganjax.config import defaults

    config = shrink(shipped("wgan_gp"))
    config.n_critic = 2
    for player in ("g_optimiser", "d_optimiser"):
        config[player] = defaults(AdamFields, b2=0.9)
    config.image_size, config.data.fit = 16, "resize"
    config.generator.widths = config.discriminator.widths = (4, 4)
    return config


@pytest.fixture
def tiny():
    """The config of `tiny_config`, which a test may change."""
    return tiny_config()
