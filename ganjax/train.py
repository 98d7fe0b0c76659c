"""The loop: build, restore, step, write, evaluate, save. It knows no algorithm."""

import contextlib
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from clu import parameter_overview
from orbax.checkpoint import v1 as ocp

from ganjax import checkpoint, images, workdir
from ganjax import config as configs
from ganjax import step as steps
from ganjax.data import pipeline, sources
from ganjax.errors import UserError
from ganjax.phases import Phase
from ganjax.sharding import check_batch, make_layout
from ganjax.signals import Signals
from ganjax.state import GanState
from ganjax.writer import Writer

# Enough for a stable mean: a held-out split of 20,000 need not be read at every evaluation.
EVAL_BATCHES = 16
GRID_IMAGES = 64


class NonFiniteError(UserError):
    """A loss or a gradient is infinite or NaN."""


class Interrupted(SystemExit):
    """SIGTERM or Ctrl-C came and the state was saved. The code is 128 + the signal's number."""


def train(raw: ml_collections.ConfigDict, folder: str | Path) -> GanState:
    """Runs a config to its end, from the latest checkpoint if the folder holds one.

    The folder gets config.json, metrics.jsonl, tensorboard/, samples/ and checkpoints/.

    Args:
      raw: what `get_config` of a config file returned.
      folder: the run's; made if it does not exist.

    Returns:
      The state at total_steps.

    Raises:
      ConfigError, DataError, CheckpointError: before anything is compiled.
      NonFiniteError: training diverged.
      Interrupted: SIGTERM or Ctrl-C.
    """
    config, module = configs.load(raw)
    algorithm = module.build(config)
    layout = make_layout()
    for phase in algorithm.phases:
        check_batch(phase.batch_size, layout)
    folder = Path(folder)
    splits = [_open(config, phase) for phase in algorithm.phases]
    primary = jax.process_index() == 0
    if primary:
        workdir.claim(folder, config)

    jit = partial(jax.jit, static_argnames="phase", out_shardings=layout.replicated)
    unroll = jax.default_backend() == "cpu"
    train_step = jit(
        steps.make_train_step(algorithm, unroll=unroll, sharding=layout.batch),
        donate_argnames="state",
    )
    eval_step = jit(steps.make_eval_step(algorithm, sharding=layout.batch))
    sampler = jit(steps.make_sampler(algorithm))
    all_finite = jax.jit(_all_finite, out_shardings=layout.replicated)
    key = jax.device_put(jax.random.key(config.seed), layout.replicated)
    fixed = jax.device_put(steps.sample_inputs(algorithm, key, GRID_IMAGES), layout.replicated)

    with (
        workdir.lock(folder) if primary else contextlib.nullcontext(),
        checkpoint.open_checkpoints(folder, config.keep_checkpoints) as checkpoints,
        Writer(folder, checkpoint.latest_step(checkpoints), config.total_steps, primary) as writer,
        Signals() as signals,
    ):
        state = checkpoint.restore_or_init(
            checkpoints, partial(steps.init_state, algorithm), key, layout.replicated
        )
        done = int(state.step)
        if done >= config.total_steps:
            writer.say(
                f"{folder} is finished at step {done}. To train on: "
                f"--config.total_steps={2 * done}; to begin anew: another --workdir"
            )
            return state
        _announce(writer, folder, config, state)
        report = _Report(writer, folder, config, checkpoints)
        # What a step leaves to be written waits here until the next one is under way.
        behind: list[Callable[[], None]] = []
        for phase, (reals, held_out) in zip(algorithm.phases, splits, strict=True):
            if done >= phase.stop:
                continue
            batches = pipeline.train_batches(
                reals,
                phase,
                seed=config.seed,
                reals=algorithm.reals_per_step,
                start=done,
                sharding=layout.batches,
                on_device=config.data.on_device,
            )
            seen = phase.batch_size * algorithm.n_critic
            for batch in batches:
                with jax.transfer_guard("disallow"):  # Implicit ones would stall the device.
                    state, metrics = train_step(state, batch, key, phase=phase)
                done += 1
                _settle(behind)
                behind.append(partial(report.metrics, done, seen, metrics))
                finished = done == config.total_steps
                if done % config.sample_every == 0 or finished:
                    pictures = sampler(state.ema, *fixed, phase=phase)
                    behind.append(partial(report.samples, done, pictures))
                if done % config.eval_every == 0 or finished:
                    held = pipeline.eval_batches(
                        held_out, phase.batch_size, limit=EVAL_BATCHES, sharding=layout.batches
                    )
                    values = [
                        eval_step(state, each, np.int32(i), key, phase=phase)
                        for i, each in enumerate(held)
                    ]
                    behind.append(partial(report.evaluation, done, values))
                if done % config.checkpoint_every == 0 or finished or signals.received:
                    # A state that is not finite is never saved.
                    behind.append(partial(report.state, done, all_finite(state)))
                    _settle(behind)
                    checkpoint.save(checkpoints, done, state)
                if signals.received and not finished:
                    checkpoints.wait()
                    writer.say(
                        f"stopped by {signals.received.name} at step {done} of "
                        f"{config.total_steps}: saved; the same command goes on from there"
                    )
                    raise Interrupted(128 + signals.received)
        checkpoints.wait()
        writer.say(f"finished at step {done}: samples in {folder / 'samples'}")
        return state


def _open(config: configs.RunConfig, phase: Phase) -> list[sources.Source]:
    """The training and the held-out images of a phase."""
    data = config.data
    size, channels = phase.image_size, data.channels
    splits = [
        sources.open_source(data.source, split, image_size=size, channels=channels, fit=data.fit)
        for split in sources.SPLITS
    ]
    for split in splits:
        pipeline.check(split, on_device=data.on_device)
    return splits


def _all_finite(state: GanState) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]).all()


def _announce(writer: Writer, folder: Path, config: configs.RunConfig, state: GanState) -> None:
    for name, player in (("generator", state.g), ("discriminator", state.d)):
        overview = parameter_overview.get_parameter_overview(player.params, include_stats=False)
        writer.say(f"{name}\n{overview}")
    writer.say(
        f"{config.algorithm} on {config.data.source}, steps {int(state.step)} to "
        f"{config.total_steps}, {jax.device_count()} x {jax.devices()[0].device_kind}, "
        f"{folder}; compiling"
    )


def _settle(behind: list[Callable[[], None]]) -> None:
    """Does what waits, in order."""
    for action in behind:
        action()
    behind.clear()


class _Report:
    """What the loop tells of finished steps."""

    def __init__(
        self,
        writer: Writer,
        folder: Path,
        config: configs.RunConfig,
        checkpoints: ocp.training.Checkpointer,
    ):
        self._checkpoints = checkpoints
        self._writer = writer
        self._folder = folder
        self._config = config
        self._begun = time.perf_counter()
        # (time, reals since then) of the rate: all that a run does but the first compilation.
        self._window = None

    def metrics(self, step: int, seen: int, metrics: dict[str, jax.Array]) -> None:
        """Checks a step's metrics and writes them if it is their turn.

        Args:
          step: of the metrics.
          seen: the reals that the discriminator was trained on in the step.
          metrics: scalars on the device.

        Raises:
          NonFiniteError: one of them is not finite.
        """
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._check(step, values)
        now = time.perf_counter()
        self._writer.advance()
        if self._window is None:
            self._writer.say(f"first step after {now - self._begun:.1f} s")
            self._window = (now, 0)
        else:
            since, count = self._window
            self._window = (since, count + seen)
        if step % self._config.log_every == 0 or step == self._config.total_steps:
            since, count = self._window
            if count:
                values["images_per_second"] = count / (now - since)
                self._window = (now, 0)
            self._writer.write_scalars(step, values)

    def samples(self, step: int, pictures: jax.Array) -> None:
        """Writes a grid of samples."""
        picture = images.grid(np.asarray(jax.device_get(pictures)))
        if self._writer.primary:
            images.save_png(self._folder / "samples" / f"step_{step:08d}.png", picture)
        self._writer.write_images(step, {"samples": picture})

    def evaluation(self, step: int, values: list[dict[str, jax.Array]]) -> None:
        """Writes the means over the held-out batches."""
        rows = jax.device_get(values)
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        self._check(step, means)
        self._writer.write_scalars(step, means)

    def state(self, step: int, finite: jax.Array) -> None:
        """Refuses a state with a value that is not finite.

        Raises:
          NonFiniteError: there is one.
        """
        if not jax.device_get(finite):
            self._diverged(step, "a parameter or average is not finite")

    def _check(self, step: int, values: dict[str, float]) -> None:
        bad = [f"{name}={value}" for name, value in values.items() if not math.isfinite(value)]
        if bad:
            self._diverged(step, ", ".join(bad))

    def _diverged(self, step: int, what: str):
        self._checkpoints.wait()
        saved = checkpoint.latest_step(self._checkpoints)
        last = f"the last good checkpoint is step {saved}" if saved else "no checkpoint yet"
        raise NonFiniteError(
            f"step {step}: {what}; {last} ({self._folder / checkpoint.FOLDER}; it can be sampled). "
            "The same config diverges again: try lower learning rates, a larger batch or another "
            "seed, in another --workdir"
        )
