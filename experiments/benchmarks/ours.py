"""ganjax's side of a comparison: the train step of a shipped config, compiled, on random images.

No peer is imported here, so that a process of this alone shows ganjax's own memory.
"""

import time
from functools import partial
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.clock import peak_mib, seconds
from experiments.tools.configs import named
from experiments.tools.design import override
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.step import init_state, make_train_step
from ganjax.runtime import compiling
from ganjax.training import schema

# Steps after which a process' memory has been at its peak.
STEPS = 5
# Steps that are timed where there is no peer: the first few of a process vary twofold.
TIMED = 40


def load(config: str, **fields) -> schema.Loaded:
    """A shipped config with some fields of one's own.

    Args:
      config: a file of configs/[:preset].
      **fields: by dotted names; a group of fields is replaced as a whole.

    Raises:
      UserError: there is no such file, preset or field, or the fields do not go together.
    """
    raw = named(config).to_dict()
    override(raw, fields, f"--config={config}")
    return schema.load(raw)


def train_step(algorithm: Algorithm, sharding=None, unroll: bool = False, **options):
    """The train step as a run compiles it.

    Args:
      algorithm: whose.
      sharding: as in `ganjax.engine.step.make_train_step`.
      unroll: likewise.
      **options: of `jax.jit`.
    """
    step = make_train_step(algorithm, sharding=sharding, unroll=unroll)
    options["compiler_options"] = compiling.options(jax.default_backend())
    return jax.jit(step, static_argnames="phase", donate_argnames="state", **options)


def random_batch(config: schema.RunConfig, reals_per_step: int) -> dict[str, np.ndarray]:
    """Random "image" uint8 (reals_per_step, N, H, W, C) and "label" int32 (reals_per_step, N)."""
    size, random = config.image_size, np.random.RandomState(0)
    shape = (reals_per_step, config.batch_size, size, size)
    return {
        "image": random.randint(0, 256, (*shape, config.data.channels), np.uint8),
        "label": random.randint(0, config.data.num_classes, shape[:2], np.int32),
    }


class Start:
    """What a run of steps begins with, ganjax's or a peer's.

    Args:
      loaded: the config.
      dtype: of the parameters.

    Attributes:
      config: the run's.
      algorithm: that it names.
      key: of its seed.
      state: at step 0.
      batch: random images, as `random_batch` makes them.
    """

    def __init__(self, loaded: schema.Loaded, dtype: str = "float32"):
        self.config = loaded.config
        self.algorithm = loaded.module.build(loaded.config)
        self.key = jax.random.key(loaded.config.seed)
        self.state = jax.tree.map(
            lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
            jax.jit(partial(init_state, self.algorithm))(self.key),
        )
        self.batch = random_batch(self.config, self.algorithm.reals_per_step)


class Ours(Start):
    """ganjax's train step, compiled ahead so that compiling is timed alone.

    Args:
      loaded: the config.
      dtype: of the parameters.
      unroll: as in `ganjax.engine.step.make_train_step`.

    Attributes:
      compiled: the step's program.
      compile_seconds: until it was compiled.
    """

    def __init__(self, loaded: schema.Loaded, dtype: str = "float32", unroll: bool = False):
        super().__init__(loaded, dtype)
        self._on_device = jax.device_put(self.batch)
        start = time.perf_counter()
        step, phase = train_step(self.algorithm, unroll=unroll), self.algorithm.phases[0]
        self.compiled = step.lower(self.state, self._on_device, self.key, phase=phase).compile()
        self.compile_seconds = time.perf_counter() - start

    def step(self) -> dict[str, float]:
        """One step, waited for; its metrics."""
        metrics = self.advance(1)
        return {name: value.item() for name, value in metrics.items()}

    def advance(self, count: int) -> dict[str, jax.Array]:
        """Steps in a row, of which only the last is waited for; its metrics."""
        for _ in range(count):
            self.state, metrics = self.compiled(self.state, self._on_device, self.key)
        jax.block_until_ready(self.state)
        return metrics


def alone(config: str, fields: dict, cache: str, steps: int = STEPS) -> dict[str, float]:
    """A process of ganjax alone: seconds until the step is compiled, and its peak memory.

    Args:
      config: as in `load`.
      fields: likewise.
      cache: the folder of the persistent compilation cache, used as `ganjax.main` uses it, which
        gives back what compiling leaves free, too.
      steps: that are timed.

    Returns:
      `compile_seconds`, tracing and lowering included; `peak_mib`, imports and compiler included;
      `step_seconds`, of the middle one of the steps, for what has no peer; `batch_size`.
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
