"""The convolutional and dense networks of ganjax in PyTorch, and the copying of weights into them.

Where PyTorch leaves a choice, the networks make the one that ran fastest on CPU.
"""

from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks import torch_growing, torch_mirrored

# The last activations, by their names in `ganjax.models.layers.OUTPUTS`.
OUTPUTS = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class Network(nn.Module):
    """A sequence of layers that takes an input x (N, F, ...) and labels (N,).

    The vectors of the labels are concatenated to the features of x, as in `ganjax.models.layers`.
    """

    def __init__(self, layers: list[nn.Module], config: Any, player: str):
        """Initialises the network as PyTorch does, since weights are loaded later.

        Args:
          layers: the layers in order. The first takes the features of x and of the label together.
          config: the config; the player's conditioning is "none", "one_hot" or "embedding".
          player: "generator" or "discriminator".
        """
        super().__init__()
        self.kind = getattr(config.conditioning, player)
        self.num_classes = config.data.num_classes
        if self.kind == "embedding":
            self.embedding = nn.Embedding(self.num_classes, config.conditioning.embedding_dim)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        if self.kind == "none":
            return self.layers(x)
        if self.kind == "one_hot":
            y = functional.one_hot(label.long(), self.num_classes).to(x.dtype)
        else:
            y = self.embedding(label)
        y = y.reshape(*y.shape, *(1,) * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
        return self.layers(torch.cat([x, y], 1))


def generator(config: Any) -> nn.Module:
    """Makes the generator of a config.

    It maps z (N, Z) and labels (N,) to images (N, C, S, S), or (N, S * S * C) if it is dense.
    """
    if config.generator.network == "progan":
        return torch_growing.Generator(config, "generator")
    if config.generator.network == "r3gan":
        return torch_mirrored.Generator(config, "generator")
    features = config.latent_dim + _label_features(config, "generator")
    layers = {"dcgan": _conv_generator, "mlp": _dense_generator}[config.generator.network]
    return Network(layers(config, features), config, "generator")


def discriminator(config: Any) -> nn.Module:
    """Makes the discriminator of a config.

    It maps images in the form of `generator` and labels (N,) to scores (N,).
    """
    if config.discriminator.network == "progan":
        return torch_growing.Discriminator(config, "discriminator")
    if config.discriminator.network == "r3gan":
        return torch_mirrored.Discriminator(config, "discriminator")
    features = config.data.channels
    if config.discriminator.network == "mlp":
        features *= config.image_size**2
    features += _label_features(config, "discriminator")
    return Network(_discriminator(config, features), config, "discriminator")


def _label_features(config: Any, player: str) -> int:
    """Returns the length of a label's vector, 0 for an unconditional player."""
    sizes = {
        "none": 0,
        "one_hot": config.data.num_classes,
        "embedding": config.conditioning.embedding_dim,
    }
    return sizes[getattr(config.conditioning, player)]


def _conv_generator(config: Any, features: int) -> list[nn.Module]:
    """Returns the layers of `ganjax.models.dcgan.Generator`."""
    fields, layers = config.generator, [nn.Unflatten(1, (features, 1, 1))]
    for i, width in enumerate(fields.widths):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        if i == 0 and fields.first_norm == "unit":
            norm = UnitNorm(_batch_norm(nn.BatchNorm1d, 16 * width, config))
        else:
            norm = _batch_norm(nn.BatchNorm2d, width, config)
        layers += [
            nn.ConvTranspose2d(features, width, 4, stride, padding, bias=False),
            norm,
            nn.LeakyReLU(fields.slope, inplace=True),
        ]
        features = width
    last = nn.ConvTranspose2d(features, config.data.channels, 4, 2, 1, bias=fields.output_bias)
    return [*layers, last, OUTPUTS[fields.output]()]


def _dense_generator(config: Any, features: int) -> list[nn.Module]:
    """Returns the layers of `ganjax.models.mlp.Generator`, whose images stay flat here."""
    layers = []
    for i, width in enumerate(config.generator.widths):
        layers += [
            nn.Linear(features, width, bias=i == 0),
            *([_batch_norm(nn.BatchNorm1d, width, config)] if i else []),
            nn.LeakyReLU(config.generator.slope, inplace=True),
        ]
        features = width
    last = nn.Linear(features, config.image_size**2 * config.data.channels)
    return [*layers, last, OUTPUTS[config.generator.output]()]


def _discriminator(config: Any, features: int) -> list[nn.Module]:
    """Returns the layers of the `Discriminator` of `ganjax.models.dcgan` or of its `mlp`."""
    fields = config.discriminator
    dense, layers = fields.network == "mlp", []
    for i, width in enumerate(fields.widths):
        norm = fields.batch_norm == "all" or (fields.batch_norm == "all_but_first" and i > 0)
        rate = fields.dropout if i or fields.dropout_after == "all" else 0.0
        if dense:
            layers.append(nn.Linear(features, width, bias=not norm))
        else:
            layers.append(nn.Conv2d(features, width, 4, 2, 1, bias=not norm))
        if norm:
            layers.append(_batch_norm(nn.BatchNorm1d if dense else nn.BatchNorm2d, width, config))
        layers.append(nn.LeakyReLU(fields.slope, inplace=True))
        layers += _dropout(rate)
        features = width
    last = nn.Linear(features, 1) if dense else nn.Conv2d(features, 1, 4)
    return [*layers, *_dropout(fields.final_dropout), last, nn.Flatten(0)]


def _batch_norm(kind: type, features: int, config: Any) -> Any:
    fields = config.batch_norm
    norm = kind(features, eps=fields.epsilon, momentum=1 - fields.momentum)
    if not fields.scale:
        norm.weight = None
    return norm


def scale_by_one(network: nn.Module) -> None:
    """Gives every norm that has no scale a constant scale of 1.

    Without it the backward pass on CUDA fails with "tensor does not have a device" (PyTorch 2.11).
    """
    for norm in batch_norms(network):
        if norm.weight is None:
            del norm.weight
            assert norm.running_var is not None
            norm.register_buffer("weight", torch.ones_like(norm.running_var), persistent=False)


class UnitNorm(nn.Module):
    """A norm of each unit of images (N, C, H, W), with the units in ganjax's order (H, W, C)."""

    def __init__(self, norm: nn.BatchNorm1d):
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 2, 3, 1)
        return self.norm(x.flatten(1)).reshape(x.shape).permute(0, 3, 1, 2)


def _dropout(rate: float) -> list[nn.Module]:
    return [nn.Dropout(rate)] if rate else []


def batch_norms(network: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    """Returns the BatchNorm layers of a network, in order."""
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]


# For each layer of PyTorch: Flax's names of it and of its weight, and the weight's conversion.
FLAX = {
    nn.ConvTranspose2d: ("ConvTranspose", "kernel", lambda kernel: kernel.transpose(3, 2, 0, 1)),
    nn.Conv2d: ("Conv", "kernel", lambda kernel: kernel.transpose(3, 2, 0, 1)),
    nn.Linear: ("Dense", "kernel", np.transpose),
    nn.BatchNorm1d: ("BatchNorm", "scale", lambda scale: scale),
    nn.BatchNorm2d: ("BatchNorm", "scale", lambda scale: scale),
    nn.Embedding: ("Embed", "embedding", lambda embedding: embedding),
}


@torch.no_grad()
def load_variables(network: nn.Module, params, vars) -> None:
    """Copies the variables of a network of `ganjax.models` into its peer in PyTorch."""
    if isinstance(network, torch_growing.Growing | torch_mirrored.Mirrored):
        network.load(params)
        return
    seen = Counter()
    layer: Any  # Of a class in FLAX.
    for layer in network.modules():
        if type(layer) not in FLAX:
            continue
        kind, weight, convert = FLAX[type(layer)]
        # Flax numbers the layers of each kind.
        name, seen[kind] = f"{kind}_{seen[kind]}", seen[kind] + 1
        if weight in params.get(name, {}):
            _copy(layer.weight, convert(np.asarray(params[name][weight])))
        if getattr(layer, "bias", None) is not None:
            _copy(layer.bias, params[name]["bias"])
        if kind == "BatchNorm":
            _copy(layer.running_mean, vars["batch_stats"][name]["mean"])
            _copy(layer.running_var, vars["batch_stats"][name]["var"])


def to_numpy(array) -> np.ndarray:
    """Returns a copy of an array as NumPy's, since PyTorch needs memory that it may write to."""
    return np.array(array, order="C")


def _copy(target: torch.Tensor, array) -> None:
    target.copy_(torch.from_numpy(to_numpy(array)))
