"""The networks of R3GAN in PyTorch, without labels."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ganjax.models.r3gan import EXPANSION


class Mirrored(nn.Module):
    """A network whose layers have ganjax's names; weights are loaded later."""

    def __init__(self, config: Any, player: str):
        super().__init__()
        self.fields = getattr(config, player)
        self.layers = nn.ModuleDict(self.make(config))

    def make(self, config: Any) -> dict[str, nn.Module]:
        """Returns the layers that are not those of blocks, by name."""
        raise NotImplementedError

    def blocks(self, height: int, width: int) -> dict[str, nn.Module]:
        """Returns the layers of the blocks at one size, by name."""
        inner, found = EXPANSION * width, {}
        groups = inner // self.fields.group_width
        for i in range(self.fields.blocks):
            found |= {
                f"expand{i}_{height}": nn.Conv2d(width, inner, 1),
                f"grouped{i}_{height}": nn.Conv2d(inner, inner, 3, padding=1, groups=groups),
                f"project{i}_{height}": nn.Conv2d(inner, width, 1, bias=False),
            }
        return found

    def stage(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the blocks of one size."""
        height, slope = x.shape[2], self.fields.slope
        for i in range(self.fields.blocks):
            h = functional.leaky_relu(self.layers[f"expand{i}_{height}"](x), slope)
            h = functional.leaky_relu(self.layers[f"grouped{i}_{height}"](h), slope)
            x = x + self.layers[f"project{i}_{height}"](h)
        return x

    def rewidened(self, x: torch.Tensor, height: int) -> torch.Tensor:
        """Returns x with the channels of the next stage."""
        name = f"width_{height}"
        return self.layers[name](x) if name in self.layers else x

    def load(self, params) -> None:
        """Copies ganjax's parameters."""
        with torch.no_grad():
            for name, leaf in params.items():
                for part, values in leaf.items() if isinstance(leaf, dict) else ((None, leaf),):
                    _copy(self, name, part, np.array(values))


def _copy(network: Mirrored, name: str, part: str | None, values: np.ndarray) -> None:
    if part is None:
        network.get_parameter(name).copy_(torch.from_numpy(values.transpose(2, 0, 1).copy()))
        return
    layer: Any = network.layers[name]
    if part == "bias":
        layer.bias.copy_(torch.from_numpy(values))
    else:
        axes = (3, 2, 0, 1) if values.ndim == 4 else (1, 0)
        layer.weight.copy_(torch.from_numpy(values.transpose(axes).copy()))


def resample(x: torch.Tensor, *, up: bool) -> torch.Tensor:
    """Doubles or halves images (N, C, H, W) through the filter of [1, 3, 3, 1] / 8."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 8
    kernel = torch.outer(line, line).expand(x.shape[1], 1, 4, 4)
    if up:
        return functional.conv_transpose2d(x, 4 * kernel, stride=2, padding=1, groups=x.shape[1])
    return functional.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class Generator(Mirrored):
    """The peer of `ganjax.models.r3gan.Generator`, without labels."""

    def make(self, config):
        widths = self.fields.widths
        base = config.image_size >> (len(widths) - 1)
        self.basis = nn.Parameter(torch.randn(widths[0], base, base))
        latent = nn.Linear(config.latent_dim, widths[0], bias=False)
        layers: dict[str, nn.Module] = {"latent": latent}
        for i, width in enumerate(widths):
            if i and width != widths[i - 1]:
                layers[f"width_{base << i}"] = nn.Conv2d(widths[i - 1], width, 1, bias=False)
            layers |= self.blocks(base << i, width)
        last = nn.Conv2d(widths[-1], config.data.channels, 1, bias=False)
        return layers | {f"image_{config.image_size}": last}

    def forward(self, z, label):
        x = self.layers["latent"](z)[:, :, None, None] * self.basis
        for i in range(len(self.fields.widths)):
            if i:
                x = resample(self.rewidened(x, 2 * x.shape[2]), up=True)
            x = self.stage(x)
        return self.layers[f"image_{x.shape[2]}"](x)


class Discriminator(Mirrored):
    """The peer of `ganjax.models.r3gan.Discriminator`, without labels."""

    def make(self, config):
        widths, size = self.fields.widths, config.image_size
        base = size >> (len(widths) - 1)
        self.pixels = nn.Parameter(torch.randn(widths[0], base, base))
        layers = {f"image_{size}": nn.Conv2d(config.data.channels, widths[-1], 1, bias=False)}
        for i in range(len(widths) - 1, -1, -1):
            layers |= self.blocks(base << i, widths[i])
            if i and widths[i] != widths[i - 1]:
                layers[f"width_{base << i}"] = nn.Conv2d(widths[i], widths[i - 1], 1, bias=False)
        return layers | {"score": nn.Linear(widths[0], 1, bias=False)}

    def forward(self, x, label):
        x = self.layers[f"image_{x.shape[2]}"](x)
        for i in range(len(self.fields.widths) - 1, -1, -1):
            x = self.stage(x)
            if i:
                height = x.shape[2]
                x = self.rewidened(resample(x, up=False), height)
        return self.layers["score"]((x * self.pixels).sum((2, 3))).reshape(-1)
