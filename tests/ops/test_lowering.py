"""Which module computes a map on CPUs, by the convolution's shape."""

import pytest

from ganjax.ops import blocks, canonical, lowering, native, patches, pixelwise, strips, winograd
from ganjax.ops.geometry import Geometry

MAPS = ("conv", "input_grad", "kernel_grad")


def chosen_modules(geometry, batch, channels):
    """The modules of the three maps, by the functions that are chosen."""
    chosen = [lowering.choose(name, geometry, batch, channels) for name in MAPS]
    modules = (blocks, canonical, native, patches, pixelwise, strips, winograd)
    return tuple(
        next(module for module in modules if getattr(module, name, None) is function)
        for name, function in zip(MAPS, chosen, strict=True)
    )


@pytest.mark.parametrize(
    ("layer", "batch", "chosen"),
    [
        # (size, inputs, outputs) of 4x4 windows of stride 2 -> conv, input_grad, kernel_grad.
        ((64, 3, 64), 32, (patches, patches, patches)),
        ((32, 64, 128), 32, (winograd,) * 3),
        ((32, 16, 32), 32, (winograd, blocks, winograd)),
        ((16, 16, 32), 64, (winograd, patches, winograd)),
        ((16, 8, 32), 64, (patches, patches, patches)),
        ((8, 256, 512), 32, (winograd,) * 3),
        ((32, 64, 128), 128, (winograd,) * 3),
        ((256, 3, 64), 64, (native, patches, patches)),
    ],
)
def test_strided_maps_are_computed_by_the_fastest_module(layer, batch, chosen):
    size, *channels = layer
    geometry = Geometry((2, 2), ((1, 1), (1, 1)), (size, size), (4, 4))
    assert chosen_modules(geometry, batch, tuple(channels)) == chosen


@pytest.mark.parametrize(
    ("size", "channels", "window", "chosen"),
    [
        (32, (64, 64), 3, (winograd,) * 3),
        (32, (3, 64), 3, (native, canonical, patches)),
        (16, (32, 64), 3, (strips,) * 3),
        (8, (64, 64), 3, (winograd,) * 3),
        (4, (64, 64), 3, (native, canonical, strips)),
        (32, (16, 16), 3, (strips,) * 3),
        (7, (64, 64), 3, (native, canonical, strips)),
        (15, (16, 64), 3, (strips,) * 3),
        (128, (16, 16), 3, (native, canonical, strips)),
        (32, (64, 64), 1, (pixelwise,) * 3),
        (64, (64, 128), 3, (winograd,) * 3),
    ],
)
def test_maps_of_stride_1_are_computed_by_the_fastest_module(size, channels, window, chosen):
    pad = (window - 1) // 2
    geometry = Geometry((1, 1), ((pad, pad), (pad, pad)), (size, size), (window, window))
    assert chosen_modules(geometry, 64, channels) == chosen


def test_strips_need_many_images():
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (16, 16), (3, 3))
    for channels, others in (((16, 32), native), ((32, 32), winograd)):
        assert lowering.choose("conv", geometry, 32, channels) is strips.conv
        assert lowering.choose("conv", geometry, 16, channels) is others.conv
