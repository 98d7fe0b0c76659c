"""Many samples piece by piece: bounded memory, one compilation, every device at work."""

from collections.abc import Callable, Iterator

import numpy as np
from jax.sharding import NamedSharding

from ganjax.engine.phases import Phase
from ganjax.engine.state import Ema
from ganjax.parallel import distributed

# Bound the device's memory, whatever is asked for: images made at once, and pixels of them
# (64 images of 256x256).
PIECE = 256
PIECE_PIXELS = 1 << 22


def pieces(
    sampler: Callable,
    ema: Ema,
    z: np.ndarray,
    label: np.ndarray,
    *,
    phase: Phase,
    sharding: NamedSharding,
) -> Iterator[np.ndarray]:
    """Yields the images of N latents and labels, in order: uint8 (n, H, W, C).

    Args:
      sampler: `ganjax.engine.step.make_sampler`'s, compiled.
      ema: the averaged generator.
      z: (N, Z).
      label: int32 (N,).
      phase: the present one.
      sharding: of a batch, over the devices that share the work.
    """
    num, devices = len(z), sharding.mesh.size
    piece = min(num, PIECE, max(1, PIECE_PIXELS // phase.image_size**2))
    piece = -(-piece // devices) * devices  # Each device has as many.
    for first in range(0, num, piece):
        # The last one again and again fills the last piece: another shape would be another
        # compilation.
        rows = np.minimum(np.arange(first, first + piece), num - 1)
        inputs = distributed.put((z[rows], label[rows]), sharding)
        yield np.asarray(sampler(ema, *inputs, phase=phase))[: num - first]
