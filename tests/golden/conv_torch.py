"""Makes conv_torch.npz: PyTorch's convolutions with their first and second derivatives.

    python tests/golden/conv_torch.py

The file was made with PyTorch 2.13.0 on CPU. Arrays are computed in float64 and stored as float32
in PyTorch's own layout (NCHW; kernels OIHW, or IOHW when transposed), so that
`tests/ops/test_conv.py` also tests the translation to ganjax's. Their names are "<case>/<name>":

  x, k, c      image, kernel, weights of the output (random)
  y            conv(x, k)
  sx, sk       gradients of s = sum(sin(y) * c)
  pxx, pxk     gradients of px = sum(sx ** 2), as a gradient penalty has them
  pkx, pkk     gradients of pk = sum(sk ** 2)
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import conv2d, conv_transpose2d

FUNCTIONS = {"conv": conv2d, "transpose": conv_transpose2d}

# (function, stride, padding as PyTorch counts it) -> (height and width, kernel).
CASES = {
    ("conv", 1, 0): ((4, 4), (4, 4)),  # dense: one output pixel
    ("conv", 1, 1): ((7, 5), (3, 3)),
    ("conv", 2, 0): ((7, 5), (5, 3)),
    ("conv", 2, 1): ((8, 6), (4, 4)),
    ("transpose", 1, 0): ((1, 1), (4, 4)),  # dense: one input pixel
    ("transpose", 1, 1): ((7, 5), (3, 3)),
    ("transpose", 2, 0): ((3, 2), (5, 3)),
    ("transpose", 2, 1): ((4, 3), (4, 4)),
}
NAMES = ("x", "k", "c", "y", "sx", "sk", "pxx", "pxk", "pkx", "pkk")
BATCH, INPUTS, OUTPUTS = 2, 3, 4


def derivatives(function, x, k, c, **geometry):
    """Returns the pairs (name, array) that this module's docstring lists."""
    x.requires_grad_()
    k.requires_grad_()
    y = function(x, k, **geometry)
    sx, sk = torch.autograd.grad((y.sin() * c).sum(), (x, k), create_graph=True)
    pxx, pxk = torch.autograd.grad((sx**2).sum(), (x, k), retain_graph=True)
    pkx, pkk = torch.autograd.grad((sk**2).sum(), (x, k))
    return zip(NAMES, (x, k, c, y, sx, sk, pxx, pxk, pkx, pkk), strict=True)


def main():
    arrays = {}
    for seed, ((name, stride, padding), (size, window)) in enumerate(CASES.items()):
        random = np.random.RandomState(seed)

        def normal(*shape, scale=1.0, random=random):
            # Rounded first, since the test must start from exactly these numbers.
            return torch.tensor((scale * random.randn(*shape)).astype(np.float32)).double()

        channels = (OUTPUTS, INPUTS) if name == "conv" else (INPUTS, OUTPUTS)
        x, k = normal(BATCH, INPUTS, *size), normal(*channels, *window, scale=0.3)
        geometry = {"stride": stride, "padding": padding}
        c = normal(*FUNCTIONS[name](x, k, **geometry).shape)
        for key, value in derivatives(FUNCTIONS[name], x, k, c, **geometry):
            arrays[f"{name}-s{stride}-p{padding}/{key}"] = value.detach().numpy().astype(np.float32)
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
