"""ganjax's side of a comparison: the compiled train step of a shipped config, on random images.

The module imports no peer, so that a process that runs it alone has only ganjax's memory.
"""

import time
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.clock import peak_mib, seconds
from experiments.tools.configs import named
from ganjax.configs import override
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.schedules import Schedule
from ganjax.engine.step import init_state, make_train_step
from ganjax.runtime import compiling
from ganjax.training import domain, schema

# The number of steps after which a process' memory has reached its peak.
STEPS = 5
# The number of steps that are timed without a peer; it is large because the first few vary.
TIMED = 40


def load(config: str, **fields) -> schema.Loaded:
    """Loads a shipped config with other values for some fields, and without schedules.

    A peer's numbers do not change over a run, and a step takes as long with those with which
    schedules start.

    Args:
      config: the name of a file of configs/, with :<preset> after it for a preset.
      **fields: values by dotted name; a group of fields is replaced as a whole.

    Raises:
      UserError: there is no such file, preset or field, or the fields do not go together.
    """
    raw = named(config).to_dict()
    override(raw, dict(_starts(raw)) | fields, f"config={config}")
    return schema.load(raw)


def _starts(group: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yields the dotted names of a config's schedules with the numbers at their start."""
    for name, value in group.items():
        if isinstance(value, dict):
            if Schedule.model_fields.keys() == value.keys():
                yield prefix + name, value["start"]
            else:
                yield from _starts(value, f"{prefix}{name}.")


def train_step(algorithm: Algorithm, sharding=None, unroll: bool = False, **options):
    """Makes the train step of an algorithm, jitted as in a run.

    Args:
      algorithm: the algorithm.
      sharding: the argument of `ganjax.engine.step.make_train_step`.
      unroll: the argument of `ganjax.engine.step.make_train_step`.
      **options: further options of `jax.jit`.
    """
    step = make_train_step(algorithm, sharding=sharding, unroll=unroll)
    options["compiler_options"] = compiling.options(jax.default_backend())
    return jax.jit(step, static_argnames="phase", donate_argnames="state", **options)


def random_batch(loaded: schema.Loaded, algorithm: Algorithm) -> dict[str, np.ndarray]:
    """Draws the reals of a step of the first phase, arrays (real_batches, N, ...) by name.

    Of images they are "image", uint8 (..., H, W, C), and "label", int32.
    """
    phase, random = algorithm.phases[0], np.random.RandomState(0)
    data: Any = loaded.config.data  # Its fields are those of the algorithm.

    def draw(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if dtype == np.uint8:
            return random.randint(0, 256, shape, np.uint8)
        if dtype == np.int32:
            return random.randint(0, data.num_classes, shape, np.int32)
        return random.standard_normal(shape).astype(dtype)

    return {
        name: draw((algorithm.real_batches, phase.batch_size, *leaf.shape), leaf.dtype)
        for name, leaf in domain.of(loaded).shapes(phase).items()
    }


class Start:
    """The state, batch and key from which the steps of ganjax or of a peer start.

    Args:
      loaded: the config.
      dtype: the dtype of the parameters.

    Attributes:
      config: the checked config.
      algorithm: the algorithm that the config describes.
      key: the root key of the config's seed.
      state: the state at step 0.
      batch: random reals, see `random_batch`.
    """

    def __init__(self, loaded: schema.Loaded, dtype: str = "float32"):
        self.config: Any = loaded.config  # Its fields are those of the algorithm.
        self.algorithm = loaded.module.build(loaded.config)
        self.key = jax.random.key(loaded.config.seed)
        self.state = jax.tree.map(
            lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
            jax.jit(partial(init_state, self.algorithm))(self.key),
        )
        self.batch = random_batch(loaded, self.algorithm)


class Ours(Start):
    """The train step of ganjax, which the constructor compiles.

    Args:
      loaded: the config.
      dtype: the dtype of the parameters.
      unroll: the argument of `ganjax.engine.step.make_train_step`.

    Attributes:
      compiled: the compiled step.
      compile_seconds: the seconds of tracing, lowering and compiling the step.
    """

    def __init__(self, loaded: schema.Loaded, dtype: str = "float32", unroll: bool = False):
        super().__init__(loaded, dtype)
        self._on_device = jax.device_put(self.batch)
        start = time.perf_counter()
        step, phase = train_step(self.algorithm, unroll=unroll), self.algorithm.phases[0]
        self.compiled = step.lower(self.state, self._on_device, self.key, phase=phase).compile()
        self.compile_seconds = time.perf_counter() - start

    def step(self) -> dict[str, float]:
        """Takes one step, waits for it and returns its metrics."""
        metrics = self.advance(1)
        return {name: value.item() for name, value in metrics.items()}

    def advance(self, count: int) -> dict[str, jax.Array]:
        """Takes `count` steps in a row, waits for the last one and returns its metrics."""
        for _ in range(count):
            self.state, metrics = self.compiled(self.state, self._on_device, self.key)
        jax.block_until_ready(self.state)
        return metrics


def alone(config: str, fields: dict, cache: str, steps: int = STEPS) -> dict[str, float]:
    """Measures ganjax in a process that runs nothing else; called as a job.

    As `ganjax.main` does, the process uses the compilation cache and returns the memory that
    compilations leave free to the system.

    Args:
      config: the name of a config, see `load`.
      fields: values for some of its fields.
      cache: the folder of the compilation cache.
      steps: the number of steps that are timed.

    Returns:
      A dict of `compile_seconds`, including tracing and lowering; `peak_mib`, including imports and
      the compiler; `step_seconds`, the median of the steps; and `batch_size`.
    """
    compiling.keep_programs(cache)
    compiling.trim_memory()
    ours = Ours(load(config, **fields))
    ours.step()
    times = [seconds(ours.step) for _ in range(steps)]
    return {
        "compile_seconds": ours.compile_seconds,
        "peak_mib": peak_mib(),
        "step_seconds": median(times),
        "batch_size": ours.config.batch_size,
    }
