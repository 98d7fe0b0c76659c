"""A process of one contender in PyTorch alone: its peak memory."""

import torch

from experiments.benchmarks.clock import peak_mib, threads

_TORCH = peak_mib()

from experiments.benchmarks import step  # noqa: E402
from experiments.benchmarks.ours import STEPS, load, random_batch  # noqa: E402

# What JAX and ganjax add, of which the peer needs the config alone.
_NOT_ITS_OWN = peak_mib() - _TORCH


def alone(config: str, fields: dict, contender: str) -> dict[str, float]:
    """`peak_mib` of a few steps at PyTorch's own weights.

    Its imports are counted, those of JAX and ganjax, which only read the config, are not.

    Args:
      config: as in `experiments.benchmarks.ours.load`.
      fields: likewise.
      contender: a name of `experiments.benchmarks.step.contenders`.
    """
    loaded = load(config, **fields)
    torch.set_num_threads(threads())
    options = step.contenders(loaded.config)[contender]
    peer = step.kind(loaded.config)(loaded.config, **options)
    batch = random_batch(loaded.config, loaded.module.build(loaded.config).reals_per_step)
    for _ in range(STEPS):
        peer.step(batch)
    return {"peak_mib": peak_mib() - _NOT_ITS_OWN}
