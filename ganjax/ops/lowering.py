"""How each map of a convolution is computed: the one place where that is chosen.

The rule is data, float32 on two cores of an AMD EPYC (Zen 3) beside jax 0.10;
`python -m experiments.benchmarks.conv` measures it anew. XLA's own forms make strided
gradients at half the speed of a matrix product or less, so on CPUs:

- The gradients go over blocks, where the blocks at the border are few (large images) and
  the input has channels enough that it pays to shift the cotangent instead of it. Else they
  go over patches, which nothing beats for images of few pixels and for RGB.
- The forward map goes over patches as long as all of them nearly fit the cache; above that
  XLA's own is as fast or faster.
- Patches in excess of the cache several times over are left to XLA.
- Of stride 1, XLA's own forward map and input gradient are as fast as can be, but its kernel
  gradient has a window as large as the image: 3 GFLOP/s where blocks have 8 (32x32, 64
  channels), 3 where patches have 25 (RGB).
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial

from jax import lax

from ganjax.ops import blocks, fold, native

# Products that blocks may take, over those that are needed: 1.13 at 16x16 outputs of a 4x4
# window of stride 2, where blocks win, 1.27 at 8x8, where they lose.
MOST_WORK = 1.2
# Bytes of all patches up to which maps go over patches. The step of WGAN-GP at 32x32 takes
# 5 % longer with XLA's own forward maps, although some of them alone are faster.
MOST_BYTES = {"conv": 24 << 20, "input_grad": 64 << 20, "kernel_grad": 64 << 20}


def choose(name: str, geometry, batch: int, channels: tuple[int, int]):
    """The module that computes a map on CPUs: `native`, `fold` or `blocks`.

    Args:
      name: "conv", "input_grad" or "kernel_grad".
      geometry: of the convolution.
      batch: images in it.
      channels: (of the input, of the output).
    """
    inputs, outputs = channels
    (h, w), (a, b) = geometry.window, geometry.shifts
    if min(geometry.strides) == 1 and name != "kernel_grad":
        return native
    shifts_cotangent = a * b * outputs <= h * w * inputs
    if name != "conv" and shifts_cotangent and blocks.work(geometry) <= MOST_WORK:
        return blocks
    return fold if fold.patch_bytes(geometry, batch, inputs) <= MOST_BYTES[name] else native


_WHOLE = ContextVar("whole", default=False)


@contextlib.contextmanager
def whole_convolutions() -> Iterator[None]:
    """What is traced within is as on GPUs and TPUs, also for CPUs: to plan for those on these."""
    before = _WHOLE.set(True)
    try:
        yield
    finally:
        _WHOLE.reset(before)


def lower(name: str, x, y, geometry, channels: tuple[int, int]):
    """A map of its two arguments, in the form that suits its shape and the platform."""
    if _WHOLE.get():
        return getattr(native, name)(x, y, geometry=geometry)
    cpu, default = (
        partial(getattr(module, name), geometry=geometry)
        for module in (choose(name, geometry, x.shape[0], channels), native)
    )
    if cpu.func is default.func:
        return default(x, y)
    # GPUs and TPUs have convolution units: there the native forms stay.
    return lax.platform_dependent(x, y, cpu=cpu, default=default)
