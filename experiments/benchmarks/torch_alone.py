"""A process of one contender in PyTorch alone: its peak memory."""

import torch  # noqa: F401

from experiments.benchmarks.clock import peak_mib

_TORCH = peak_mib()

from experiments.benchmarks import step  # noqa: E402
from experiments.benchmarks.ours import STEPS, load  # noqa: E402

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
    advance = step.alone(load(config, **fields), contender)
    for _ in range(STEPS):
        advance()
    return {"peak_mib": peak_mib() - _NOT_ITS_OWN}
