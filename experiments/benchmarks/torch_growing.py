"""The networks of ProGAN in PyTorch, at their last resolution."""

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ganjax.models import progan


class Equalised(nn.Module):
    """A convolution whose kernel (O, I, h, w) is scaled by gain / sqrt(I h w) in each pass."""

    def __init__(self, inputs: int, outputs: int, window: int, gain: float = math.sqrt(2)):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, window, window))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(inputs * window**2)
        self.padding = window // 2 if window % 2 else 0

    def forward(self, x):
        return functional.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)

    @torch.no_grad()
    def load(self, layer) -> None:
        """Copies the kernel, (h, w, I, O) or dense (I, O), and the bias of ganjax's layer."""
        kernel = np.array(layer["kernel"])
        kernel = kernel.reshape(*(1, 1, *kernel.shape)[-4:]).transpose(3, 2, 0, 1)
        self.weight.copy_(torch.from_numpy(kernel.copy()))
        self.bias.copy_(torch.from_numpy(np.array(layer["bias"])))


class Transposed(Equalised):
    """A transposed convolution that maps z (N, I, 1, 1) to (N, O, 4, 4), a matrix product."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(outputs, inputs, 4)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = math.sqrt(2) / math.sqrt(inputs * 16)

    def forward(self, x):
        return functional.conv_transpose2d(x, self.weight * self.scale, self.bias)


def pixel_norm(x):
    return x * (x.square().mean(1, keepdim=True) + progan.EPSILON).rsqrt()


def minibatch_stddev(x):
    groups = x.reshape(-1, progan.GROUP_SIZE, *x.shape[1:])
    stddev = (groups.var(1, correction=0) + progan.EPSILON).sqrt().mean((1, 2, 3))
    channel = stddev.repeat_interleave(progan.GROUP_SIZE).reshape(-1, 1, 1, 1)
    return torch.cat([x, channel.expand(-1, 1, *x.shape[2:])], 1)


class Growing(nn.Module):
    """A network whose layers have ganjax's names."""

    def __init__(self, config: Any, player: str):
        super().__init__()
        fields = getattr(config, player)
        self.slope, self.widths = fields.slope, fields.widths
        self.layers = nn.ModuleDict(self.make(config))

    def make(self, config: Any) -> dict[str, nn.Module]:
        """Returns the layers by their names."""
        raise NotImplementedError

    def activate(self, x):
        return functional.leaky_relu(x, self.slope)

    def load(self, params) -> None:
        layer: Any  # With a function `load`, as all of this module.
        for name, layer in self.layers.items():
            layer.load(params[name])


class Generator(Growing):
    """The peer of `ganjax.models.progan.Generator` at the highest resolution."""

    def make(self, config):
        first = self.widths[0]
        layers = {
            "dense_4": Transposed(config.latent_dim, first),
            "conv_4": Equalised(first, first, 3),
        }
        for i, width in enumerate(self.widths[1:]):
            size = 8 << i
            layers[f"conv0_{size}"] = Equalised(self.widths[i], width, 3)
            layers[f"conv1_{size}"] = Equalised(width, width, 3)
        to_rgb = Equalised(self.widths[-1], config.data.channels, 1, 1.0)
        return layers | {f"to_rgb_{progan.image_size(self.widths)}": to_rgb}

    def forward(self, z, label):
        x = pixel_norm(z)[:, :, None, None]
        for name, layer in self.layers.items():
            if name.startswith("to_rgb"):
                return layer(x)
            if name.startswith("conv0"):
                x = functional.interpolate(x, scale_factor=2)
            x = pixel_norm(self.activate(layer(x)))


class Discriminator(Growing):
    """The peer of `ganjax.models.progan.Discriminator` at the highest resolution."""

    def make(self, config):
        size, last = progan.image_size(self.widths), self.widths[-1]
        layers = {f"from_rgb_{size}": Equalised(config.data.channels, last, 1)}
        for i in range(len(self.widths) - 1, 0, -1):
            layers[f"conv0_{size}"] = Equalised(self.widths[i], self.widths[i], 3)
            layers[f"conv1_{size}"] = Equalised(self.widths[i], self.widths[i - 1], 3)
            size //= 2
        first = self.widths[0]
        return layers | {
            "conv_4": Equalised(first + 1, first, 3),
            "dense_4": Equalised(first, first, 4),
            "dense": Equalised(first, 1, 1, 1.0),
        }

    def forward(self, x, label):
        for name, layer in self.layers.items():
            if name == "dense":
                return layer(x).reshape(-1)
            if name == "conv_4":
                x = minibatch_stddev(x)
            x = self.activate(layer(x))
            if name.startswith("conv1"):
                x = functional.avg_pool2d(x, 2)
