"""ganjax's WGAN-GP train step in eager PyTorch: the peer that is timed, and a test's twin.

Every choice below that PyTorch leaves open is the one that ran fastest on CPU.
"""

import copy

import jax
import numpy as np
import torch
from torch import nn

from ganjax.algorithms.base import Algorithm
from ganjax.algorithms.wgan_gp import Config
from ganjax.keys import fold
from ganjax.penalties import uniform_alpha
from ganjax.state import GanState

Noise = dict[str, list[np.ndarray]]


def generator(config: Config) -> nn.Sequential:
    """`ganjax.models.dcgan.Generator`: z (N, Z) -> images (N, channels, S, S)."""
    layers, features = [nn.Unflatten(1, (config.latent_dim, 1, 1))], config.latent_dim
    for i, width in enumerate(config.generator.widths):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        layers += [
            nn.ConvTranspose2d(features, width, 4, stride, padding, bias=False),
            nn.BatchNorm2d(width, eps=1e-5, momentum=0.1),  # Flax's momentum is 1 - 0.1.
            nn.LeakyReLU(config.generator.slope, inplace=True),
        ]
        features = width
    last = nn.ConvTranspose2d(features, config.data.channels, 4, 2, 1, bias=False)
    return nn.Sequential(*layers, last, nn.Tanh())


def critic(config: Config) -> nn.Sequential:
    """`ganjax.models.dcgan.Discriminator` without BatchNorm: (N, channels, S, S) -> (N,)."""
    layers, features = [], config.data.channels
    for width in config.critic.widths:
        layers += [
            nn.Conv2d(features, width, 4, 2, 1),
            nn.LeakyReLU(config.critic.slope, inplace=True),
        ]
        features = width
    return nn.Sequential(*layers, nn.Conv2d(features, 1, 4), nn.Flatten(0))


class TorchWganGp:
    """Both players, their optimisers and the generator's moving average.

    Attributes:
      generator: trained, always in train mode.
      critic: likewise.
      ema: the moving average of the generator: parameters and BatchNorm averages.
    """

    def __init__(self, config: Config, channels_last: bool = False, dtype=torch.float32):
        """Initialises as ganjax does: kernels N(0, .02), BatchNorm scales N(1, .02).

        Args:
          config: as for `ganjax.algorithms.wgan_gp.build`, on CPU.
          channels_last: whether images and kernels lie in memory with channels innermost.
          dtype: of the parameters and the computation.

        Raises:
          ValueError: a field has a value that is not written down here.
        """
        penalty = config.penalty
        if (config.order, penalty.side, penalty.alpha) != ("alternating", "two", "uniform"):
            raise ValueError("TorchWganGp: order, penalty.side or penalty.alpha is not the paper's")
        if config.critic.dropout:
            raise ValueError(f"TorchWganGp: critic.dropout={config.critic.dropout}; set it to 0")
        self.config, self.dtype = config, dtype
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.generator, self.critic = generator(config), critic(config)
        for module in (*self.generator, *self.critic):
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)
        self.generator.to(dtype=dtype, memory_format=self.layout)
        self.critic.to(dtype=dtype, memory_format=self.layout)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False)
        self._g_params = list(self.generator.parameters())
        self._d_params = list(self.critic.parameters())
        self._norms = [m for m in self.generator if isinstance(m, nn.BatchNorm2d)]
        self._g_tx = _adam(self._g_params, config.g_adam)
        self._d_tx = _adam(self._d_params, config.d_adam)

    def draw(self, n: int) -> dict[str, list[torch.Tensor]]:
        """The noise of one step with n samples an update, in the form that `step` takes."""
        updates, latent_dim = self.config.n_critic, self.config.latent_dim
        return {
            "z": [torch.randn(n, latent_dim, dtype=self.dtype) for _ in range(updates + 1)],
            "alpha": [torch.rand(n, 1, 1, 1, dtype=self.dtype) for _ in range(updates)],
        }

    def step(self, images: np.ndarray, noise: Noise | None = None) -> dict[str, float]:
        """n_critic updates of the critic, one of the generator, one of its average.

        Args:
          images: uint8 (reals_per_step, N, H, W, C), the reals.
          noise: "z", n_critic + 1 arrays (N, Z), the last for the generator's update, and
            "alpha", n_critic arrays (N, 1, 1, 1); drawn where it is None.

        Returns:
          The metrics of `ganjax.step.make_train_step` under the same names.
        """
        noise = self.draw(images.shape[1]) if noise is None else noise
        *d_z, g_z = map(torch.as_tensor, noise["z"])
        alphas = map(torch.as_tensor, noise["alpha"])
        reals = [images[i % len(images)] for i in range(self.config.n_critic)]
        updates = [self._update_d(*args) for args in zip(reals, d_z, alphas, strict=True)]
        metrics = {name: sum(now[name] for now in updates) / len(updates) for name in updates[0]}
        metrics |= self._update_g(g_z)
        self._update_ema()
        return {name: value.item() for name, value in metrics.items()}

    def _update_d(self, images, z, alpha):
        real = torch.as_tensor(images).permute(0, 3, 1, 2)
        real = real.to(self.dtype, memory_format=self.layout).mul_(2 / 255).sub_(1)
        self._track(False)
        with torch.no_grad():
            fake = self.generator(z)
        # Two passes: one over both, concatenated, is no faster.
        loss = self.critic(fake).mean() - self.critic(real).mean()
        between = torch.lerp(real, fake, alpha).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        norms = (slope.square().sum((1, 2, 3)) + 1e-12).sqrt()
        penalty = (norms - self.config.penalty.target).square().mean()
        total = loss + self.config.penalty.weight * penalty
        norm = _descend(total, self._d_params, self._d_tx)
        metrics = {"c_wass_loss": loss, "c_gp": penalty, "d_loss": total, "d_grad_norm": norm}
        return {name: value.detach() for name, value in metrics.items()}

    def _update_g(self, z):
        self._track(True)
        loss = -self.critic(self.generator(z)).mean()
        norm = _descend(loss, self._g_params, self._g_tx)
        return {"g_loss": loss.detach(), "g_grad_norm": norm}

    def _track(self, track: bool) -> None:
        # As in ganjax, BatchNorm's averages move in the generator's own update alone.
        for norm in self._norms:
            norm.track_running_stats = track

    @torch.no_grad()
    def _update_ema(self) -> None:
        torch._foreach_lerp_(
            _averaged(self.ema), _averaged(self.generator), 1 - self.config.ema_decay
        )


def _adam(params, config) -> torch.optim.Adam:
    betas = (config.b1, config.b2)
    return torch.optim.Adam(params, config.learning_rate, betas, config.eps, fused=True)


def _descend(loss, params, tx) -> torch.Tensor:
    """One step of tx on params alone; returns the gradient's norm."""
    tx.zero_grad(set_to_none=True)
    # `inputs` spares the gradients of all other leaves: the points between real and fake
    # and, in the generator's update, the critic's kernels.
    loss.backward(inputs=params)
    tx.step()
    return torch.nn.utils.get_total_norm([param.grad for param in params])


def _averaged(network: nn.Module) -> list[torch.Tensor]:
    # Not num_batches_tracked, a count.
    return [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]


def noise_of(algorithm: Algorithm, key: jax.Array, step: int, n: int) -> Noise:
    """What `ganjax.step` draws in a train step of WGAN-GP, in the form `TorchWganGp` takes.

    Args:
      algorithm: of `ganjax.algorithms.wgan_gp.build`.
      key: the run's root key.
      step: the state's step.
      n: samples of one update.
    """
    key, last = fold(key, "train", step), algorithm.n_critic - 1
    d_keys = [fold(key, "d", i) for i in range(algorithm.n_critic)]
    z = [algorithm.latent(fold(k, "latent"), n) for k in (*d_keys, fold(key, "g", last))]
    alphas = [uniform_alpha(fold(k, "penalty", "alpha"), (n, 1, 1, 1)) for k in d_keys]
    # np.array copies: PyTorch wants memory that it may write to.
    return {"z": [np.array(a) for a in z], "alpha": [np.array(a) for a in alphas]}


@torch.no_grad()
def load_from_jax(model: TorchWganGp, state: GanState) -> None:
    """Copies the weights of both players and of the average into model.

    The optimisers' moments stay: a state that is to be trained on must be at step 0.
    """
    _load_generator(model.generator, state.g.params, state.g.vars)
    _load_generator(model.ema, state.ema.params, state.ema.vars)
    convs = [m for m in model.critic if isinstance(m, nn.Conv2d)]
    for i, conv in enumerate(convs):
        ours = state.d.params[f"Conv_{i}"]
        _copy(conv.weight, np.transpose(ours["kernel"], (3, 2, 0, 1)))
        _copy(conv.bias, ours["bias"])


def _load_generator(network: nn.Sequential, params, vars) -> None:
    convs = [m for m in network if isinstance(m, nn.ConvTranspose2d)]
    norms = [m for m in network if isinstance(m, nn.BatchNorm2d)]
    for i, conv in enumerate(convs):
        # PyTorch's kernel is that of the convolution whose gradient this is: turned by half.
        kernel = np.asarray(params[f"ConvTranspose_{i}"]["kernel"])[::-1, ::-1]
        _copy(conv.weight, kernel.transpose(2, 3, 0, 1))
    for i, norm in enumerate(norms):
        _copy(norm.weight, params[f"BatchNorm_{i}"]["scale"])
        _copy(norm.bias, params[f"BatchNorm_{i}"]["bias"])
        _copy(norm.running_mean, vars["batch_stats"][f"BatchNorm_{i}"]["mean"])
        _copy(norm.running_var, vars["batch_stats"][f"BatchNorm_{i}"]["var"])


def _copy(to: torch.Tensor, array) -> None:
    to.copy_(torch.from_numpy(np.array(array, order="C")))
