"""The base of ganjax's peers in PyTorch: both players, both orders of updates, and G's average."""

import copy
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn
from torch._functorch import config as functorch

from experiments.benchmarks.torch_networks import (
    batch_norms,
    discriminator,
    generator,
    load_variables,
    scale_by_one,
)
from experiments.benchmarks.torch_noise import Noise, draw
from ganjax.engine.state import GanState
from ganjax.errors import UserError
from ganjax.training.schema import RunConfig

Metrics = dict[str, torch.Tensor]

# The entry in `Peer.IMPLEMENTS` that stands for any value.
ANY = None


class Player(NamedTuple):
    """A network with its parameters and its optimiser; the `name` is "g" or "d"."""

    name: str
    network: nn.Module
    params: list[nn.Parameter]
    tx: torch.optim.Optimizer

    def differentiate(self, loss: torch.Tensor, retain_graph: bool = False) -> Metrics:
        """Computes the gradient of a loss with respect to the parameters.

        Returns:
          The loss and the gradient's norm.
        """
        self.tx.zero_grad(set_to_none=True)
        # `inputs` leaves out the gradients of all other leaves: WGAN-GP's points between real and
        # fake and, in G's update, the kernels of D.
        loss.backward(inputs=self.params, retain_graph=retain_graph)
        norm = torch.nn.utils.get_total_norm(
            [param.grad for param in self.params if param.grad is not None]
        )
        return {f"{self.name}_loss": loss.detach(), f"{self.name}_grad_norm": norm}


class Peer:
    """A peer, which consists of both players and of the generator's moving average.

    A subclass defines `_d_loss(real, fake)` and `_g_loss(fake)`, which take D's scores and return
    a loss and metrics, and may define a penalty.

    Attributes:
      IMPLEMENTS: for each field of `ganjax.algorithms.gan.Config`, by its dotted name, the values
        that are implemented; a subclass has fewer.
      generator: the generator, always in train mode.
      discriminator: the discriminator, always in train mode.
      steps: the number of finished train steps.
      ema: the moving average of the generator's parameters and BatchNorm averages.
    """

    IMPLEMENTS: ClassVar[dict[str, Any]] = {
        "precision": ANY,  # Half precision is PyTorch's autocast around the step.
        "remat": ANY,  # It changes no value.
        "accumulate": (1,),
        "latent_dim": ANY,
        "latent": ("normal",),
        "conditioning.generator": ("none", "one_hot", "embedding"),
        "conditioning.discriminator": ("none", "one_hot", "embedding"),
        "conditioning.embedding_dim": ANY,
        "conditioning.embedding_stddev": ANY,  # It gets ganjax's initial weights.
        "conditioning.fake_labels": ("reals", "uniform"),
        "generator.widths": ANY,
        "generator.slope": ANY,
        "generator.upsample": ("transpose",),
        "generator.batch_norm": (True,),
        "generator.spectral_norm": (False,),
        "generator.init_stddev": ANY,
        "generator.output": ("tanh", "sigmoid"),
        "generator.first_norm": ("channel", "unit"),
        "generator.output_bias": ANY,
        "discriminator.widths": ANY,
        "discriminator.slope": ANY,
        "discriminator.dropout": ANY,
        "discriminator.dropout_after": ("all", "all_but_first"),
        "discriminator.final_dropout": ANY,
        "discriminator.batch_norm": ("all", "all_but_first", "none"),
        "discriminator.spectral_norm": (False,),
        "discriminator.use_bias": (True,),
        "discriminator.init_stddev": ANY,
        "batch_norm.scale": ANY,
        "batch_norm.momentum": ANY,
        "batch_norm.epsilon": ANY,
        "augment.policy": ("none",),
        "san": (False,),
        "d_halves": ("sum", "mean"),
        "d_batches": ("separate",),
        "targets.smoothing": (0.0,),
        "targets.noise": (0.0,),
        "targets.flip": (0.0,),
        "penalty.weight": (0.0,),
        "penalty.target": ANY,
        "penalty.side": ("two",),
        "penalty.points": ("uniform",),
        "penalty.r1": (0.0,),
        "penalty.r2": (0.0,),
        "penalty.difference": ANY,  # Of R1 and R2.
        "penalty.interval": (1,),
        "weight_clip": (0.0,),
        "order": ("alternating",),
        "n_critic": ANY,
        "critic_reals": ("fresh", "shared"),
        "ema.decay": ANY,
        "ema.half_life": (0,),
        "ema.warm_up": ANY,
        **{
            f"{player}_optimiser.{field}": values
            for player in "gd"
            for field, values in {
                "name": ("adam",),
                "learning_rate": ANY,
                "b1": ANY,
                "b2": ANY,
                "eps": ANY,
                "decay": ("none",),
            }.items()
        },
    }

    def __init__(
        self,
        config: Any,
        *,
        channels_last: bool = False,
        compiled: bool = False,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ):
        """Makes the networks and optimisers that a config describes.

        Args:
          config: a config of `ganjax.algorithms.gan`.
          channels_last: whether channels are innermost in the memory of images and kernels.
          compiled: whether both networks are compiled by `torch.compile`.
          dtype: the dtype of the parameters and of the computation.
          device: the device of the networks and of the computation, "cpu" or "cuda".

        Raises:
          UserError: a field has a value that is not implemented.
        """
        require(config, self.IMPLEMENTS)
        self.config, self.dtype, self.device = config, dtype, device
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.generator, self.discriminator = generator(config), discriminator(config)
        for network in (self.generator, self.discriminator):
            # PyTorch's own types do not know the call.
            network.to(  # pyright: ignore[reportCallIssue]
                device=device, dtype=dtype, memory_format=self.layout
            )
            if device == "cuda":
                scale_by_one(network)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.steps = 0
        if compiled:
            # The graph of D(fake) is differentiated twice.
            functorch.donated_buffer = False
            self.generator.compile(dynamic=False)
            self.discriminator.compile(dynamic=False)
        self.g = _player("g", self.generator, config.g_optimiser)
        self.d = _player("d", self.discriminator, config.d_optimiser)

    def load(self, state: GanState) -> None:
        """Copies the weights of both players and of the average.

        The optimisers' moments are not copied: to train on, the state must be at step 0.
        """
        load_variables(self.generator, state.g.params, state.g.vars)
        load_variables(self.discriminator, state.d.params, state.d.vars)
        load_variables(self.ema, state.ema.params, state.ema.vars)

    def step(self, batch: dict[str, np.ndarray], noise: Noise | None = None) -> dict[str, float]:
        """Takes a train step, both players in the config's order and then the average, and waits.

        Args:
          batch: "image" and "label", see `put`.
          noise: the random draws of the step; PyTorch makes them if this is None.

        Returns:
          The metrics of `ganjax.engine.step.make_train_step`, with the same names.
        """
        metrics = self.advance(self.put(batch), noise)
        return {name: value.item() for name, value in metrics.items()}

    def put(self, batch: dict[str, np.ndarray]) -> list[dict[str, torch.Tensor]]:
        """Puts the batches of a step on the device.

        Args:
          batch: "image" uint8 (real_batches, N, H, W, C), "label" (real_batches, N).
        """
        return [
            {name: torch.as_tensor(a[i], device=self.device) for name, a in batch.items()}
            for i in range(len(batch["label"]))
        ]

    def advance(
        self, batches: list[dict[str, torch.Tensor]], noise: Noise | None = None
    ) -> Metrics:
        """Takes a train step on the result of `put` without waiting for it."""
        if noise is None:
            noise = draw(self.config, batches[0]["label"].shape[0], self.dtype, self.device)
        noise = [
            {name: torch.as_tensor(a, device=self.device) for name, a in draws.items()}
            for draws in noise
        ]
        order = {"alternating": self._alternating, "simultaneous": self._simultaneous}
        metrics = order[self.config.order](batches, noise)
        self._update_ema()
        return metrics

    def _alternating(self, batches, noise: Noise) -> Metrics:
        """Updates D n_critic times, then G with fresh latents and the new D."""
        *d_noise, g_noise = noise
        self._move_averages_of(self.discriminator)
        updates = [
            self._update_d(batches[i % len(batches)], draws) for i, draws in enumerate(d_noise)
        ]
        metrics: dict[str, Any] = {
            name: sum(each[name] for each in updates) / len(updates) for name in updates[0]
        }
        self._move_averages_of(self.generator)
        return metrics | self._update_g(batches[(len(d_noise) - 1) % len(batches)], g_noise)

    def _simultaneous(self, batches, noise: Noise) -> Metrics:
        """Updates both players from one forward pass of G and of D at the old parameters.

        Tutorials run D(fake) twice, once on detached fakes. Differentiating one pass twice is
        faster.
        """
        (batch,), (draws,) = batches, noise
        self._move_averages_of(self.generator, self.discriminator)
        label = draws.get("label", batch["label"])
        fake = self.generator(draws["z"], label)
        real_score = self.discriminator(self._reals(batch), batch["label"])
        fake_score = self.discriminator(fake, label)
        d_loss, metrics = self._d_loss(real_score, fake_score)
        g_loss, g_metrics = self._g_loss(fake_score)
        metrics |= g_metrics | self.d.differentiate(d_loss, retain_graph=True)
        metrics |= self.g.differentiate(g_loss)
        self.d.tx.step()
        self.g.tx.step()
        return metrics

    def _update_d(self, batch, noise) -> Metrics:
        label = noise.get("label", batch["label"])
        with torch.no_grad():
            fake = self.generator(noise["z"], label)
        real = self._reals(batch)
        # Two passes in this order, so that BatchNorm's statistics are those of reals alone and then
        # those of fakes alone. Without BatchNorm, one pass over both is no faster.
        loss, metrics = self._d_loss(
            self.discriminator(real, batch["label"]), self.discriminator(fake, label)
        )
        penalty, penalty_metrics = self._penalty(real, fake, batch["label"], noise)
        metrics |= penalty_metrics | self.d.differentiate(loss + penalty)
        self.d.tx.step()
        return metrics

    def _update_g(self, batch, noise) -> Metrics:
        label = noise.get("label", batch["label"])
        fake = self.generator(noise["z"], label)
        loss, metrics = self._g_loss(self.discriminator(fake, label))
        metrics |= self.g.differentiate(loss)
        self.g.tx.step()
        return metrics

    def _d_loss(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        raise NotImplementedError

    def _g_loss(self, fake: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        raise NotImplementedError

    def _penalty(self, real, fake, label, noise) -> tuple[torch.Tensor | float, Metrics]:
        """Returns the weighted penalty of an update of D in alternating order, and its metrics."""
        return 0.0, {}

    def _reals(self, batch) -> torch.Tensor:
        """Converts uint8 images (N, H, W, C) to the form of generated images."""
        real = batch["image"]
        if self.config.discriminator.network == "mlp":
            real = real.flatten(1).to(self.dtype)
        else:
            real = real.permute(0, 3, 1, 2).to(self.dtype, memory_format=self.layout)
        low, high = self.config.generator.value_range
        return real.mul_((high - low) / 255).add_(low)

    def _move_averages_of(self, *movers: nn.Module) -> None:
        # As in ganjax, only a player's own updates change its BatchNorm averages.
        for network in (self.generator, self.discriminator):
            for norm in batch_norms(network):
                norm.track_running_stats = network in movers

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = self.config.ema.decay
        if self.config.ema.warm_up:
            decay = min(decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            _averaged(self.ema), _averaged(self.generator), 1 - decay
        )
        self.steps += 1


def require(config: Any, implemented: dict[str, tuple | None]) -> None:
    """Checks that a peer implements all fields of a config.

    Args:
      config: the config; the fields that every config has are not checked.
      implemented: for each field, by its dotted name, the implemented values, or `ANY`.

    Raises:
      UserError: a field has another value, or is not among `implemented`.
    """
    for name, value in _leaves(config.model_dump(exclude=set(RunConfig.model_fields))):
        if name not in implemented:
            raise UserError(f"config.{name}={value!r}: PyTorch's peer does not know the field")
        values = implemented[name]
        if values is not ANY and value not in values:
            raise UserError(f"config.{name}={value!r}: PyTorch's peer has only {values}")


def _leaves(fields: dict[str, Any], prefix: str = ""):
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _player(name: str, network: nn.Module, config) -> Player:
    params, betas = list(network.parameters()), (config.b1, config.b2)
    # A CUDA graph needs the optimiser to count its steps on the device.
    capturable = params[0].is_cuda
    tx = torch.optim.Adam(
        params, config.learning_rate, betas, config.eps, fused=True, capturable=capturable
    )
    return Player(name, network, params, tx)


def _averaged(network: nn.Module) -> list[torch.Tensor]:
    # This leaves out num_batches_tracked, a count.
    return [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
