"""Measures every lowering of every map of a convolution on CPU, and a matrix product.

    python -m experiments.benchmarks.conv
    python -m experiments.benchmarks.conv --layers=64 --batch_size=128
    python -m experiments.benchmarks.conv --share

A convolution has three maps: the forward pass, the gradient of the input and the gradient of the
kernel. The table holds GFLOP/s, counting the products that the convolution needs by its definition:
those of the fastest run and, in brackets, those by the least processor time of all cores together,
which is comparable even on a busy machine. The lowering that `ganjax.ops.lowering` chooses is
starred. The lowerings alternate.

`--share` times only the chosen lowerings, for every layer of a DCGAN at 64x64 whose outermost layer
has 64 channels, and prints their total rate as a share of the rate of a matrix product in the same
run.
"""

import argparse
import os
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks.clock import threads
from experiments.tools import arguments
from ganjax.ops import blocks, canonical, grouped, lowering, native, patches, strips, winograd
from ganjax.ops.geometry import Geometry
from ganjax.runtime import huge_pages

# Networks (stride, batch size, layers) with layers (input size, input channels, output channels,
# groups): DCGANs with 4x4 windows, the 3x3 windows of other networks, and those of R3GAN.
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
    "groups": (1, 32, [(size, 128, 128, 8) for size in (32, 16, 8, 4)]),
}
MAPS = ("conv", "input_grad", "kernel_grad")
LOWERINGS = (native, canonical, strips, patches, blocks, winograd, grouped)
# The number of rows and columns of the matrices whose product is the yardstick.
SQUARE = 1024


class Timer:
    """A compiled function that is timed and keeps its least seconds and processor seconds.

    Args:
      function: the function to compile.
      *args: its arguments.

    Attributes:
      least: the least seconds and the least processor seconds of all runs.
    """

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
        """Returns the GFLOP/s by the clock and by the processor time of all cores.

        Args:
          flop: the number of floating point operations in a run.
        """
        return flop / 1e9 / self.least * (1, threads())


class Map(NamedTuple):
    """One of the three maps of a layer, with arguments.

    Attributes:
      name: one of MAPS.
      geometry: the geometry of the convolution.
      channels: the numbers of channels of the convolution's input and output.
      args: the two arrays that the map takes.
    """

    name: lowering.MapName
    geometry: Geometry
    channels: tuple[int, int]
    args: tuple[np.ndarray, np.ndarray]

    @property
    def flop(self) -> float:
        """The FLOP of the products that the convolution needs by its definition."""
        pixels = np.prod(self.geometry.out + self.geometry.window)
        products = pixels * np.prod(self.channels) / self.geometry.groups
        return 2.0 * self.args[0].shape[0] * products

    @property
    def chosen(self) -> lowering.Lowering:
        """The function that `ganjax.ops.lowering` chooses for this map."""
        return lowering.choose(self.name, self.geometry, self.args[0].shape[0], self.channels)

    def timer(self, function: lowering.Lowering) -> Timer:
        """Returns a timer of a function that computes this map."""
        return Timer(partial(function, geometry=self.geometry), *self.args)


def map_of(name: lowering.MapName, layer: tuple[int, ...], stride: int, batch: int) -> Map:
    """Makes a map of random arrays.

    Args:
      name: one of MAPS.
      layer: the (size, input channels, output channels) of the layer, and its groups if several.
      stride: the stride of the layer.
      batch: the batch size.
    """
    size, inputs, outputs, *groups = layer
    window = (2 + stride, 2 + stride)
    geometry = Geometry((stride, stride), ((1, 1), (1, 1)), (size, size), window, *groups)
    random = np.random.RandomState(0)
    x, k, g = (
        random.randn(*shape).astype(np.float32)
        for shape in (
            (batch, size, size, inputs),
            (*window, inputs // geometry.groups, outputs),
            (batch, *geometry.out, outputs),
        )
    )
    args = {"conv": (x, k), "input_grad": (g, k), "kernel_grad": (x, g)}[name]
    return Map(name, geometry, (inputs, outputs), args)


def matmul() -> Timer:
    """Returns a timer of the matrix product that is the yardstick and has 2 * SQUARE**3 FLOP."""
    square = np.random.RandomState(0).randn(SQUARE, SQUARE).astype(np.float32)
    return Timer(lambda a, b: a @ b, square, square)


def run_alternately(timers: list[Timer], rounds: int) -> None:
    """Runs each timer twice in each round."""
    for _ in range(rounds):
        for timer in timers:
            # The first run finds the arrays of the previous timer in the caches.
            timer.run()
            timer.run()


def measure(
    name: lowering.MapName, layer: tuple[int, ...], stride: int, batch: int, rounds: int
) -> str:
    """Measures one map of one layer in every lowering, and returns a row of the table."""
    measured = map_of(name, layer, stride, batch)
    timers: dict[Any, Timer] = {"matmul": matmul()}
    for module in LOWERINGS:
        if computes(module, measured):
            timers[module] = measured.timer(getattr(module, name))
    run_alternately(list(timers.values()), rounds)
    cells = [cell(timers["matmul"].rate(2 * SQUARE**3))]
    for module in LOWERINGS:
        rate = cell(timers[module].rate(measured.flop)) if module in timers else "-"
        cells.append(rate + ("*" if getattr(module, name, None) is measured.chosen else " "))
    return "".join(f"{cell:>14}" for cell in cells)


def computes(module, measured: Map) -> bool:
    """Returns whether a module is measured on a map.

    Only `grouped` is on groups: XLA's own kernel gradient of them takes seconds.
    """
    fits = getattr(module, "fits", lambda _: True)
    has_groups = measured.geometry.groups > 1
    return (
        hasattr(module, measured.name)
        and fits(measured.geometry)
        and (module is grouped) == has_groups
    )


def cell(rate: np.ndarray) -> str:
    """Formats a rate of `Timer.rate`."""
    return f"{rate[0]:.0f} ({rate[1]:.0f})"


def share(rounds: int, layers: str = "64") -> dict:
    """Compares the rate of a network's convolutions with that of a matrix product in the same run.

    The rate is the FLOP of all maps of all layers, divided by the sum of their least seconds. The
    layers between 1x1 and 4x4 are matrix products and left out.

    Args:
      rounds: the number of rounds in which the maps and the matrix product alternate.
      layers: a name of LAYERS.

    Returns:
      A dict of `maps`, the GFLOP/s and the lowering of each map by its label; `gflops`,
      `matmul_gflops` and their ratio, `share`; and `share_of_processor_time`, the same ratio by the
      least processor seconds.
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
    least = sum(timer.least for _, _, timer in timed)
    rate = flop / 1e9 / least * np.array((1, threads()))
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


def label(name: str, layer: tuple[int, ...], batch: int) -> str:
    """Returns a text that identifies a map of a layer at a batch size."""
    size, inputs, outputs, *groups = layer
    of_groups = f" by {groups[0]}" if groups else ""
    return f"{size}x{size} {inputs}->{outputs}{of_groups}, {batch}, {name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--layers", choices=LAYERS, nargs="+", default=list(LAYERS))
    parser.add_argument("--batch_size", type=arguments.count, help="instead of that of the layers")
    parser.add_argument("--rounds", type=arguments.count, default=10)
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
