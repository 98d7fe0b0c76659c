"""Stricter than production: eight devices, no silent promotion, no key used twice."""

import os
import runpy
from pathlib import Path

# Half of a test's time is LLVM's optimisation of code that runs once.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
).strip()

import jax
import pytest
from ml_collections import ConfigDict

ROOT = Path(__file__).parent.parent

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_collection_modifyitems(items):
    """Real training and real processes come last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory):
    """A session compiles a program once, with its subprocesses; nothing of the user's is read."""
    folder = str(tmp_path_factory.mktemp("xla"))
    before = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    jax.config.update("jax_compilation_cache_dir", folder)
    yield
    if before is not None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = before


def shipped(name: str, preset: str = ""):
    """The config that `configs/<name>.py:<preset>` gives."""
    return runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"](preset)


def shrink(config):
    """Any shipped config, as small as it runs: same code, seconds instead of hours."""
    config.total_steps = 4
    config.batch_size = 8
    config.n_critic = min(config.n_critic, 2)
    config.log_every = 1
    config.sample_every = config.eval_every = config.checkpoint_every = 2
    for group in config.values():
        if isinstance(group, ConfigDict) and "widths" in group:
            group.widths = (4,) * len(group.widths)
        if isinstance(group, ConfigDict) and group.get("network") == "maxout":
            for name in group:
                if name.endswith("_maxout"):
                    group[name] = (4, 2)
                elif name.endswith("_width"):
                    group[name] = 4
    if config.get("augment", {}).get("measure_leaks"):
        config.augment.measure_leaks = False  # Of 1,200 images; test_ada.py has it in a run.
    config.evaluation.log_likelihood = min(config.evaluation.log_likelihood, 20)
    return config


@pytest.fixture
def tiny():
    """The default WGAN-GP, shrunk to 16x16, with two updates of the critic a step."""
    config = shrink(shipped("wgan_gp"))
    config.n_critic = 2
    config.image_size, config.data.fit = 16, "resize"
    config.generator.widths = config.discriminator.widths = (4, 4)
    return config
