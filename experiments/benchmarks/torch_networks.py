"""What ganjax's peers in eager PyTorch share: networks, weights, noise and the frame of a step.

Every choice below that PyTorch leaves open is the one that ran fastest on CPU.
"""

import copy
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import jax
import numpy as np
import torch
from torch import nn

from ganjax.algorithms.base import Algorithm
from ganjax.config import RunConfig
from ganjax.keys import fold
from ganjax.state import GanState

# Of each update of D in turn and, last, of G's: its draws by name, "z" (N, Z) among them.
Noise = list[dict[str, Any]]


def generator(config: RunConfig) -> nn.Sequential:
    """`ganjax.models.dcgan.Generator`: z (N, Z) -> images (N, channels, S, S)."""
    layers, features = [nn.Unflatten(1, (config.latent_dim, 1, 1))], config.latent_dim
    for i, width in enumerate(config.generator.widths):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        layers += [
            nn.ConvTranspose2d(features, width, 4, stride, padding, bias=False),
            _batch_norm(width),
            nn.LeakyReLU(config.generator.slope, inplace=True),
        ]
        features = width
    last = nn.ConvTranspose2d(features, config.data.channels, 4, 2, 1, bias=False)
    return nn.Sequential(*layers, last, nn.Tanh())


def discriminator(
    features: int, widths: Sequence[int], batch_norm: Sequence[bool], slope: float
) -> nn.Sequential:
    """`ganjax.models.dcgan.Discriminator` without dropout: (N, features, S, S) -> (N,)."""
    layers = []
    for width, norm in zip(widths, batch_norm, strict=True):
        layers += [
            nn.Conv2d(features, width, 4, 2, 1, bias=not norm),
            *([_batch_norm(width)] if norm else []),
            nn.LeakyReLU(slope, inplace=True),
        ]
        features = width
    return nn.Sequential(*layers, nn.Conv2d(features, 1, 4), nn.Flatten(0))


def _batch_norm(features: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(features, eps=1e-5, momentum=0.1)  # Flax's momentum is 1 - 0.1.


class Peer:
    """Both players, their optimisers and the generator's moving average.

    A peer of an algorithm adds `_update_d(images, **noise)`, which returns metrics, and
    `_g_loss(fake)` of D's outputs, which returns the loss and metrics.

    Attributes:
      generator: trained, always in train mode.
      discriminator: likewise.
      ema: the moving average of the generator: parameters and BatchNorm averages.
    """

    def __init__(
        self,
        config: RunConfig,
        discriminator: nn.Sequential,
        *,
        d_stddev: float,
        n_critic: int = 1,
        channels_last: bool = False,
        dtype: torch.dtype = torch.float32,
    ):
        """Initialises as ganjax does: kernels N(0, stddev), BatchNorm scales N(1, stddev).

        Args:
          config: of an algorithm on DCGAN's networks.
          discriminator: images -> (N,).
          d_stddev: of its initialisation; the generator's is in config.
          n_critic: updates of D in a step.
          channels_last: whether images and kernels lie in memory with channels innermost.
          dtype: of the parameters and the computation.

        Raises:
          ValueError: a field has a value that is not written down here.
        """
        require(config, {"order": "alternating", "generator.upsample": "transpose"})
        self.config, self.n_critic, self.dtype = config, n_critic, dtype
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.generator, self.discriminator = generator(config), discriminator
        _initialise(self.generator, config.generator.init_stddev)
        _initialise(self.discriminator, d_stddev)
        self.generator.to(dtype=dtype, memory_format=self.layout)
        self.discriminator.to(dtype=dtype, memory_format=self.layout)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False)
        self._g_params = list(self.generator.parameters())
        self._d_params = list(self.discriminator.parameters())
        self._g_tx = _adam(self._g_params, config.g_adam)
        self._d_tx = _adam(self._d_params, config.d_adam)

    @torch.no_grad()
    def load(self, state: GanState) -> None:
        """Copies the weights of both players and of the average.

        The optimisers' moments stay: a state that is to be trained on must be at step 0.
        """
        _load(self.generator, state.g.params, state.g.vars)
        _load(self.discriminator, state.d.params, state.d.vars)
        _load(self.ema, state.ema.params, state.ema.vars)

    def draw(self, n: int) -> Noise:
        """The noise of one step with n samples an update, in the form that `step` takes."""
        shape = (n, self.config.latent_dim)
        return [{"z": torch.randn(shape, dtype=self.dtype)} for _ in range(self.n_critic + 1)]

    @staticmethod
    def noise_of(algorithm: Algorithm, key: jax.Array, step: int, n: int) -> Noise:
        """What `ganjax.step` draws in a train step, in the form that `step` takes.

        Args:
          algorithm: ours.
          key: the run's root key.
          step: the state's step.
          n: samples of one update.
        """
        key, last = fold(key, "train", step), algorithm.n_critic - 1
        keys = [*(fold(key, "d", i) for i in range(algorithm.n_critic)), fold(key, "g", last)]
        return [{"z": to_numpy(algorithm.latent(fold(k, "latent"), n))} for k in keys]

    def step(self, images: np.ndarray, noise: Noise | None = None) -> dict[str, float]:
        """n_critic updates of D, one of G with a fresh z, one of its average.

        Args:
          images: uint8 (reals_per_step, N, H, W, C), the reals.
          noise: of arrays; drawn where it is None.

        Returns:
          The metrics of `ganjax.step.make_train_step` under the same names.
        """
        noise = self.draw(images.shape[1]) if noise is None else noise
        *of_d, of_g = [{name: torch.as_tensor(a) for name, a in one.items()} for one in noise]
        self._take_turn(self.discriminator)
        updates = [self._update_d(images[i % len(images)], **one) for i, one in enumerate(of_d)]
        metrics = {name: sum(now[name] for now in updates) / len(updates) for name in updates[0]}
        self._take_turn(self.generator)
        metrics |= self._update_g(**of_g)
        self._update_ema()
        return {name: value.item() for name, value in metrics.items()}

    def _update_d(self, images: np.ndarray, **noise) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def _g_loss(self, fake: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        raise NotImplementedError

    def _update_g(self, z):
        loss, metrics = self._g_loss(self.discriminator(self.generator(z)))
        norm = _descend(loss, self._g_params, self._g_tx)
        return metrics | {"g_loss": loss.detach(), "g_grad_norm": norm}

    def _descend_d(self, loss) -> dict[str, torch.Tensor]:
        norm = _descend(loss, self._d_params, self._d_tx)
        return {"d_loss": loss.detach(), "d_grad_norm": norm}

    def _reals(self, images) -> torch.Tensor:
        real = torch.as_tensor(images).permute(0, 3, 1, 2)
        return real.to(self.dtype, memory_format=self.layout).mul_(2 / 255).sub_(1)

    @torch.no_grad()
    def _fakes(self, z) -> torch.Tensor:
        return self.generator(z)

    def _take_turn(self, mover: nn.Sequential) -> None:
        # As in ganjax, a player's BatchNorm averages move in its own update alone, though
        # both normalise by the batch at all times.
        for network in (self.generator, self.discriminator):
            for norm in _modules(network, nn.BatchNorm2d):
                norm.track_running_stats = network is mover

    @torch.no_grad()
    def _update_ema(self) -> None:
        torch._foreach_lerp_(
            _averaged(self.ema), _averaged(self.generator), 1 - self.config.ema_decay
        )


def require(config: RunConfig, fields: dict[str, object]) -> None:
    """Raises ValueError unless these fields of config, by dotted names, have these values."""
    for name, value in fields.items():
        if (got := attrgetter(name)(config)) != value:
            raise ValueError(f"config.{name}={got!r}: PyTorch's peer has only {value!r}")


def to_numpy(array) -> np.ndarray:
    """A copy, since PyTorch wants memory that it may write to."""
    return np.array(array, order="C")


def _initialise(network: nn.Sequential, stddev: float) -> None:
    for module in network:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, stddev)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, stddev)


def _adam(params, config) -> torch.optim.Adam:
    betas = (config.b1, config.b2)
    return torch.optim.Adam(params, config.learning_rate, betas, config.eps, fused=True)


def _descend(loss, params, tx) -> torch.Tensor:
    """One step of tx on params alone; returns the gradient's norm."""
    tx.zero_grad(set_to_none=True)
    # `inputs` spares the gradients of all other leaves: WGAN-GP's points between real and
    # fake and, in the generator's update, the discriminator's kernels.
    loss.backward(inputs=params)
    tx.step()
    return torch.nn.utils.get_total_norm([param.grad for param in params])


def _averaged(network: nn.Module) -> list[torch.Tensor]:
    # Not num_batches_tracked, a count.
    return [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]


def _modules(network: nn.Sequential, kind: type) -> list[nn.Module]:
    return [module for module in network if isinstance(module, kind)]


def _load(network: nn.Sequential, params, vars) -> None:
    """Copies the variables of `ganjax.models.dcgan`'s twin of network."""
    for i, conv in enumerate(_modules(network, nn.ConvTranspose2d)):
        # PyTorch's kernel is that of the convolution whose gradient this is: turned by half.
        kernel = np.asarray(params[f"ConvTranspose_{i}"]["kernel"])[::-1, ::-1]
        _copy(conv.weight, kernel.transpose(2, 3, 0, 1))
    for i, conv in enumerate(_modules(network, nn.Conv2d)):
        _copy(conv.weight, np.transpose(params[f"Conv_{i}"]["kernel"], (3, 2, 0, 1)))
        if conv.bias is not None:
            _copy(conv.bias, params[f"Conv_{i}"]["bias"])
    for i, norm in enumerate(_modules(network, nn.BatchNorm2d)):
        _copy(norm.weight, params[f"BatchNorm_{i}"]["scale"])
        _copy(norm.bias, params[f"BatchNorm_{i}"]["bias"])
        _copy(norm.running_mean, vars["batch_stats"][f"BatchNorm_{i}"]["mean"])
        _copy(norm.running_var, vars["batch_stats"][f"BatchNorm_{i}"]["var"])


def _copy(to: torch.Tensor, array) -> None:
    to.copy_(torch.from_numpy(to_numpy(array)))
