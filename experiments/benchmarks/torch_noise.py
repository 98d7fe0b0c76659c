"""The noise of a train step: drawn by PyTorch, or what ganjax draws, in one form for both."""

from typing import Any

import jax
import torch

from experiments.benchmarks.torch_networks import to_numpy
from ganjax.engine.algorithm import Algorithm
from ganjax.keys import fold
from ganjax.objectives.penalties import uniform_alpha
from ganjax.training.schema import RunConfig

# Of each turn its draws by name: "z" (N, Z); "label" (N,), the fakes', where those are not the
# reals'; "alpha" (N, 1, 1, 1) where D has a gradient penalty. Dropout masks are no part of it.
Noise = list[dict[str, Any]]


def turns(config: RunConfig) -> list[tuple[str, int]]:
    """(player, update) of a step as in `ganjax.engine.step`: the last is or includes G's."""
    if config.order == "simultaneous":
        return [("both", 0)]
    return [*(("d", i) for i in range(config.n_critic)), ("g", config.n_critic - 1)]


def _names(config: RunConfig, player: str) -> list[str]:
    uniform = config.conditioning.fake_labels == "uniform"
    penalised = config.penalty.weight and player != "g"
    return ["z", *(["label"] if uniform else []), *(["alpha"] if penalised else [])]


def draw(config: RunConfig, n: int, dtype: torch.dtype, device: str) -> Noise:
    """PyTorch's own for n samples a turn."""
    draws = {
        "z": lambda: torch.randn(n, config.latent_dim, dtype=dtype, device=device),
        "label": lambda: torch.randint(config.data.num_classes, (n,), device=device),
        "alpha": lambda: torch.rand(n, 1, 1, 1, dtype=dtype, device=device),
    }
    return [{name: draws[name]() for name in _names(config, player)} for player, _ in turns(config)]


def noise_of(config: RunConfig, algorithm: Algorithm, key: jax.Array, step: int, n: int) -> Noise:
    """What `ganjax.engine.step` draws in a train step, as numpy's arrays.

    Args:
      config: of the algorithm.
      algorithm: ours.
      key: the run's root key.
      step: the state's step.
      n: samples of one turn.
    """
    draws = {
        "z": lambda at: algorithm.latent(fold(at, "latent"), n),
        "label": lambda at: jax.random.randint(
            fold(at, "generate", "label"), (n,), 0, config.data.num_classes
        ),
        "alpha": lambda at: uniform_alpha(fold(at, "penalty", "alpha"), (n, 1, 1, 1)),
    }
    noise = []
    for player, i in turns(config):
        at = fold(key, "train", step, player, i)
        noise.append({name: to_numpy(draws[name](at)) for name in _names(config, player)})
    return noise
