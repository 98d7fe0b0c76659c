"""Measures the peak memory of a process that runs one contender of PyTorch alone."""

import torch  # noqa: F401

from experiments.benchmarks.clock import peak_mib

_TORCH = peak_mib()

from experiments.benchmarks import step  # noqa: E402
from experiments.benchmarks.ours import STEPS, load  # noqa: E402

# The memory of JAX and ganjax, of which the peer needs only the config.
_NOT_ITS_OWN = peak_mib() - _TORCH


def alone(config: str, fields: dict, contender: str) -> dict[str, float]:
    """Measures `peak_mib` over a few steps with PyTorch's own weights; called as a job.

    PyTorch's imports count. The imports of JAX and ganjax, which only read the config, do not.

    Args:
      config: the name of a config, as `experiments.benchmarks.ours.load` takes it.
      fields: values for some of its fields.
      contender: a name of `experiments.benchmarks.step.contenders`.
    """
    advance = step.alone(load(config, **fields), contender)
    for _ in range(STEPS):
        advance()
    return {"peak_mib": peak_mib() - _NOT_ITS_OWN}
