"""`python -m ganjax.sample --workdir=runs/<name>`: a grid of the averaged generator's samples."""

from pathlib import Path

import jax
import numpy as np
from absl import flags

from ganjax import checkpoint, cli, images, workdir
from ganjax import step as steps
from ganjax.config import ConfigError
from ganjax.phases import phase_of
from ganjax.sharding import make_layout

# Bounds memory; a larger number is made piece by piece.
PIECE = 256


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_string("workdir", None, "The run's folder.")
    flags.DEFINE_integer("num", 64, "How many samples.", lower_bound=1)
    flags.DEFINE_string("out", "samples.png", "Where the picture goes.")
    flags.DEFINE_integer(
        "seed",
        None,
        "Of the latents; by default the run's, which gives its own pictures' latents.",
        lower_bound=0,
        upper_bound=2**32 - 1,
    )


def sample(folder: Path, num: int, seed: int | None = None) -> np.ndarray:
    """Samples the latest checkpoint of a run.

    Args:
      folder: the run's.
      num: how many samples.
      seed: of the latents; None takes the run's.

    Returns:
      uint8 (num, H, W, C).

    Raises:
      ConfigError, CheckpointError: there is no run, or it has no checkpoint yet.
    """
    config, module = workdir.read(folder)
    algorithm = module.build(config)
    layout = make_layout(jax.local_devices()[:1])
    if not checkpoint.exist(folder):
        raise ConfigError(
            f"--workdir={folder}: the run has no checkpoint yet; one comes every "
            f"{config.checkpoint_every} steps"
        )
    with checkpoint.open_checkpoints(folder) as checkpoints:
        state = checkpoint.restore_or_init(
            checkpoints,
            lambda key: steps.init_state(algorithm, key),
            jax.random.key(config.seed),
            layout.replicated,
        )
    phase = phase_of(algorithm.phases, int(state.step))
    sampler = jax.jit(steps.make_sampler(algorithm), static_argnames="phase")
    key = jax.random.key(config.seed if seed is None else seed)
    z, label = steps.sample_inputs(algorithm, key, num)
    pieces = [slice(i, i + PIECE) for i in range(0, num, PIECE)]
    return np.concatenate([sampler(state.ema, z[i], label[i], phase=phase) for i in pieces])


def main(argv: list[str]) -> None:
    """Writes the picture that the flags describe."""
    del argv
    values = flags.FLAGS
    out = Path(values.out)
    if out.suffix != ".png":
        raise ConfigError(f"--out={values.out}: the picture is a PNG; end its name in .png")
    if not out.parent.is_dir() or out.is_dir():
        raise ConfigError(f"--out={out}: no file can be made there; is {out.parent} a folder?")
    images.save_png(out, images.grid(sample(Path(values.workdir), values.num, values.seed)))
    print(out)


if __name__ == "__main__":
    cli.run(main, define_flags, required="workdir")
