"""Sampling of many images, in batches of one shape, in bounded memory and on all devices."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jax.sharding import NamedSharding

from ganjax.engine.phases import Phase
from ganjax.engine.state import Ema, Player
from ganjax.parallel import distributed

# The most images and the most pixels of a batch (64 images of 256x256), so that the memory for
# sampling does not grow with the number of samples.
BATCH = 256
BATCH_PIXELS = 1 << 22


@dataclass(frozen=True)
class Rows:
    """Rows of an array that are made when they are asked for, where an array would be too large.

    Attributes:
      num: the number of rows, N.
      make: returns rows, given their indices, of which each is at most one more than that before.
    """

    num: int
    make: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self.make(indices)


def sample_batches(
    sampler: Callable,
    ema: Ema | Player,
    z: np.ndarray | Rows,
    label: np.ndarray | Rows,
    *,
    phase: Phase,
    sharding: NamedSharding,
) -> Iterator[np.ndarray]:
    """Generates the images of N latents and labels, in order, a batch at a time.

    With the scorer of `ganjax.engine.step.make_scorer`, the discriminator and images in place of
    the sampler, the averaged generator and latents, it computes the images' scores.

    Args:
      sampler: the compiled sampler of `ganjax.engine.step.make_sampler`.
      ema: the averaged generator.
      z: the latents, (N, Z).
      label: the classes, int32 (N,).
      phase: the phase of the run in which the generator was trained.
      sharding: the sharding of a batch over the devices that share the work.

    Yields:
      Batches of images, uint8 (n, H, W, C), N images in all; or of float32 scores, (n,).
    """
    num, devices = len(z), sharding.mesh.size
    size = min(num, BATCH, max(1, BATCH_PIXELS // phase.size.pixels))
    size = -(-size // devices) * devices  # Every device gets the same number.
    for first in range(0, num, size):
        # The last batch is padded with its last latent, since another shape would be compiled anew.
        rows = np.minimum(np.arange(first, first + size), num - 1)
        inputs = distributed.device_put((z[rows], label[rows]), sharding)
        yield np.asarray(sampler(ema, *inputs, phase=phase))[: num - first]
