"""EfficientNet-Lite0 in PyTorch, the peer of `ganjax.metrics.efflite0`."""

import torch
from torch import nn
from torch.nn import functional as F

from ganjax.metrics import weights
from ganjax.metrics.efflite0 import FILE, STAGES
from ganjax.metrics.layers import EPSILON


class Same(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding."""

    def forward(self, x):
        padding = []
        for size, window, stride in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            total = max((-(-size // stride) - 1) * stride + window - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding) if any(padding) else x)


class Block(nn.Module):
    """An inverted residual block: expansion, depthwise convolution, projection."""

    def __init__(self, inputs, outputs, window, stride, expansion):
        super().__init__()
        width = inputs * expansion
        norm = lambda channels: nn.BatchNorm2d(channels, eps=EPSILON)  # noqa: E731
        if expansion > 1:
            self._expand_conv = Same(inputs, width, 1, bias=False)
            self._bn0 = norm(width)
        self._depthwise_conv = Same(width, width, window, stride, groups=width, bias=False)
        self._bn1 = norm(width)
        self._project_conv = Same(width, outputs, 1, bias=False)
        self._bn2 = norm(outputs)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x):
        y = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class EffLite0(nn.Module):
    """The network, which maps prepared images (N, 3, H, W) to features (N, 1280)."""

    def __init__(self):
        super().__init__()
        self._conv_stem = Same(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=EPSILON)
        blocks, inputs = [], 32
        for count, window, stride, expansion, outputs in STAGES:
            for i in range(count):
                blocks.append(Block(inputs, outputs, window, stride if i == 0 else 1, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = Same(inputs, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=EPSILON)
        self._fc = nn.Linear(1280, 1000)
        tensors = weights.load(FILE)
        self.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
        self.eval()

    def forward(self, x):
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
