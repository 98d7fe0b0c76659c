"""The random numbers of a train step, drawn by PyTorch or by ganjax, in one form for both."""

from typing import Any

import jax
import torch

from experiments.benchmarks.torch_networks import to_numpy
from ganjax.engine.algorithm import Algorithm
from ganjax.keys import fold
from ganjax.objectives.penalties import uniform_alpha

# The draws of each update by name: "z" (N, Z); "label" (N,) of the fakes if it is not that of the
# reals; "alpha" (N, 1, 1, 1) of a gradient penalty. Dropout masks are not among them.
Noise = list[dict[str, Any]]


def updates(config: Any) -> list[tuple[str, int]]:
    """Returns the updates of a train step of ganjax as (player, number); the last updates G."""
    if config.order == "simultaneous":
        return [("both", 0)]
    return [*(("d", i) for i in range(config.n_critic)), ("g", config.n_critic - 1)]


def _names(config: Any, player: str) -> list[str]:
    uniform = config.conditioning.fake_labels == "uniform"
    penalised = config.penalty.weight and player != "g"
    return ["z", *(["label"] if uniform else []), *(["alpha"] if penalised else [])]


def draw(config: Any, n: int, dtype: torch.dtype, device: str) -> Noise:
    """Draws the noise of a step by PyTorch, for n samples in each update."""
    draws = {
        "z": lambda: torch.randn(n, config.latent_dim, dtype=dtype, device=device),
        "label": lambda: torch.randint(config.data.num_classes, (n,), device=device),
        "alpha": lambda: torch.rand(n, 1, 1, 1, dtype=dtype, device=device),
    }
    return [
        {name: draws[name]() for name in _names(config, player)} for player, _ in updates(config)
    ]


def noise_of(config: Any, algorithm: Algorithm, key: jax.Array, step: int, n: int) -> Noise:
    """Draws the noise of a step as `ganjax.engine.step` does, as NumPy arrays.

    Args:
      config: the run's config.
      algorithm: the algorithm that the config describes.
      key: the run's root key.
      step: the number of finished train steps.
      n: the number of samples in each update.
    """
    draws = {
        "z": lambda at: algorithm.latent(fold(at, "latent"), n),
        "label": lambda at: jax.random.randint(
            fold(at, "generate", "label"), (n,), 0, config.data.num_classes
        ),
        "alpha": lambda at: uniform_alpha(fold(at, "penalty", "alpha"), (n, 1, 1, 1)),
    }
    noise = []
    for player, i in updates(config):
        at = fold(key, "train", step, player, i)
        noise.append({name: to_numpy(draws[name](at)) for name in _names(config, player)})
    return noise
