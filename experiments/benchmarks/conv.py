"""Measures every lowering of every map of a convolution on CPU, and a matrix product.

    python -m experiments.benchmarks.conv
    python -m experiments.benchmarks.conv --layers=64 --batch_size=128
    python -m experiments.benchmarks.conv --share

A convolution has three maps: the forward pass, the gradient of the input and the gradient of the
kernel. The table holds GFLOP/s, counting the products that the convolution by its definition needs:
by the fastest run and, in brackets, by the least processor time of all cores together, which alone
can be compared on a machine that is busy. The lowering that `ganjax.ops.lowering` chooses is
starred. The lowerings alternate.

`--share` times only the chosen lowerings, for every layer of DCGAN at 64x64 whose outermost layer
is 64 channels wide, and prints the rate over all of them as a share of the matrix product's rate in
the same run.
"""

import argparse
import os
import time
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from experiments.benchmarks.clock import positive, threads
from ganjax.ops import blocks, canonical, lowering, native, patches, strips, winograd
from ganjax.ops.geometry import Geometry
from ganjax.runtime import huge_pages

# For each network (stride, batch size, layers), a layer being (input size, input channels, output
# channels): DCGAN at 64x64 and the shipped one at 32x32, both of 4x4 windows, and the 3x3
# windows of residual and growing networks.
LAYERS = {
    "64": (2, 32, [(64, 3, 64), (32, 64, 128), (16, 128, 256), (8, 256, 512)]),
    "32": (2, 64, [(32, 1, 32), (16, 32, 64), (8, 64, 128)]),
    "3x3": (
        1,
        32,
        [
            (32, 16, 16),
            (32, 16, 32),
            (32, 32, 32),
            (16, 32, 48),
            (8, 48, 48),
            (32, 64, 64),
            (16, 64, 64),
            (8, 128, 128),
            (4, 128, 128),
        ],
    ),
}
MAPS = ("conv", "input_grad", "kernel_grad")
LOWERINGS = (native, canonical, strips, patches, blocks, winograd)
# Rows and columns of the matrices whose product is the yardstick.
SQUARE = 1024


class Timer:
    """Times a compiled function and keeps the least seconds and the least processor seconds."""

    def __init__(self, function, *args):
        self.args = jax.device_put(args)
        self.compiled = jax.jit(function).lower(*self.args).compile()
        self.least = np.full(2, np.inf)
        self.run()
        self.least[:] = np.inf

    def run(self) -> None:
        start = np.array([time.perf_counter(), time.process_time()])
        jax.block_until_ready(self.compiled(*self.args))
        end = np.array([time.perf_counter(), time.process_time()])
        self.least = np.minimum(self.least, end - start)

    def rate(self, flop: float) -> np.ndarray:
        """GFLOP/s by the clock and by the processor time of all cores, for a count of FLOP."""
        return flop / 1e9 / self.least * (1, threads())


class Map(NamedTuple):
    """One of the three maps of one layer.

    Attributes:
      name: one of MAPS.
      geometry: the geometry of the convolution.
      channels: the channels of its input and of its output.
      args: the two arrays that the map takes.
    """

    name: str
    geometry: Geometry
    channels: tuple[int, int]
    args: tuple[np.ndarray, np.ndarray]

    @property
    def flop(self) -> float:
        """The FLOP of the products that the convolution by its definition needs."""
        pixels = np.prod(self.geometry.out + self.geometry.window)
        return 2.0 * self.args[0].shape[0] * pixels * np.prod(self.channels)

    @property
    def chosen(self) -> lowering.Lowering:
        """The function by which `ganjax.ops.lowering` chooses to compute this map."""
        return lowering.choose(self.name, self.geometry, self.args[0].shape[0], self.channels)

    def timer(self, function: lowering.Lowering) -> Timer:
        """A timer of this map as a function computes it."""
        return Timer(partial(function, geometry=self.geometry), *self.args)


def map_of(name: str, layer: tuple[int, int, int], stride: int, batch: int) -> Map:
    """Makes a map on random arrays; `layer` is one of LAYERS."""
    size, inputs, outputs = layer
    window = (2 + stride, 2 + stride)
    geometry = Geometry((stride, stride), ((1, 1), (1, 1)), (size, size), window)
    random = np.random.RandomState(0)
    x, k, g = (
        random.randn(*shape).astype(np.float32)
        for shape in (
            (batch, size, size, inputs),
            (*window, inputs, outputs),
            (batch, *geometry.out, outputs),
        )
    )
    args = {"conv": (x, k), "input_grad": (g, k), "kernel_grad": (x, g)}[name]
    return Map(name, geometry, (inputs, outputs), args)


def matmul() -> Timer:
    """A timer of the matrix product that is the yardstick, of 2 * SQUARE**3 FLOP."""
    square = np.random.RandomState(0).randn(SQUARE, SQUARE).astype(np.float32)
    return Timer(lambda a, b: a @ b, square, square)


def run_alternately(timers: list[Timer], rounds: int) -> None:
    """Runs each timer in each round."""
    for _ in range(rounds):
        for timer in timers:
            # Twice, since the caches still hold the arrays of the timer before.
            timer.run()
            timer.run()


def measure(name: str, layer: tuple[int, int, int], stride: int, batch: int, rounds: int) -> str:
    """Measures one map of one layer in every lowering: a row of the table."""
    measured = map_of(name, layer, stride, batch)
    timers = {"matmul": matmul()}
    for module in LOWERINGS:
        fits = getattr(module, "fits", lambda _: True)
        if hasattr(module, name) and fits(measured.geometry):
            timers[module] = measured.timer(getattr(module, name))
    run_alternately(list(timers.values()), rounds)
    cells = [cell(timers["matmul"].rate(2 * SQUARE**3))]
    for module in LOWERINGS:
        rate = cell(timers[module].rate(measured.flop)) if module in timers else "-"
        cells.append(rate + ("*" if getattr(module, name, None) is measured.chosen else " "))
    return "".join(f"{cell:>14}" for cell in cells)


def cell(rate: np.ndarray) -> str:
    """A rate of `Timer.rate` as text."""
    return f"{rate[0]:.0f} ({rate[1]:.0f})"


def share(rounds: int, layers: str = "64") -> dict:
    """Compares the rate of a network's convolutions with that of a matrix product in the same run.

    The rate is the FLOP of every map of every layer, over the sum of the least seconds of each. The
    layers between 1x1 and 4x4 are matrix products and left out.

    Args:
      rounds: how many rounds the maps and the matrix product alternate in.
      layers: a name of LAYERS.

    Returns:
      `maps`, for each label its GFLOP/s and lowering; `gflops`, `matmul_gflops` and their `share`;
      and `share_of_processor_time`, the same share by the least processor seconds.
    """
    stride, batch, sizes = LAYERS[layers]
    yardstick, timed = matmul(), []
    for layer in sizes:
        for name in MAPS:
            measured = map_of(name, layer, stride, batch)
            timer = measured.timer(measured.chosen)
            run_alternately([yardstick, timer], rounds)
            timed.append((label(name, layer, batch), measured, timer))
    flop = sum(measured.flop for _, measured, _ in timed)
    rate = flop / 1e9 / sum(timer.least for _, _, timer in timed) * (1, threads())
    most = yardstick.rate(2 * SQUARE**3)
    return {
        "maps": {
            name: {
                "gflops": timer.rate(measured.flop)[0],
                "lowering": measured.chosen.__module__.rpartition(".")[2],
            }
            for name, measured, timer in timed
        },
        "gflops": rate[0],
        "matmul_gflops": most[0],
        "share": rate[0] / most[0],
        "share_of_processor_time": rate[1] / most[1],
    }


def label(name: str, layer: tuple[int, int, int], batch: int) -> str:
    """The text that names a map of a layer."""
    size, inputs, outputs = layer
    return f"{size}x{size} {inputs}->{outputs}, {batch}, {name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", choices=LAYERS, nargs="+", default=list(LAYERS))
    parser.add_argument("--batch_size", type=positive, help="instead of that of the layers")
    parser.add_argument("--rounds", type=positive, default=10)
    parser.add_argument(
        "--share", action="store_true", help="only the share of the matrix product's rate"
    )
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, {threads()} cores")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
    if args.share:
        result = share(args.rounds)
        for name, rate in result["maps"].items():
            print(f"{name}: {rate['gflops']:.0f} GFLOP/s ({rate['lowering']})")
        print(
            f"all {result['gflops']:.0f}, matrix product {result['matmul_gflops']:.0f} GFLOP/s: "
            f"{result['share']:.2f}, by processor time {result['share_of_processor_time']:.2f}"
        )
        return
    print("GFLOP/s by the clock (by processor time); * what ganjax.ops.lowering chooses")
    names = ("matmul", *(module.__name__.rpartition(".")[2] + " " for module in LOWERINGS))
    print(f"{'layer, batch, map':<34}" + "".join(f"{name:>14}" for name in names))
    for image in args.layers:
        stride, batch, layers = LAYERS[image]
        batch = args.batch_size or batch
        for layer in layers:
            for name in MAPS:
                row = measure(name, layer, stride, batch, args.rounds)
                print(f"{label(name, layer, batch):<34}{row}", flush=True)


if __name__ == "__main__":
    huge_pages.restart()
    main()
