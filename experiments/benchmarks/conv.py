"""GFLOP/s of every lowering of every map of a convolution, on CPU, beside a matrix product.

    python -m experiments.benchmarks.conv
    python -m experiments.benchmarks.conv --layers=64 --batch_size=128
    python -m experiments.benchmarks.conv --share

What `ganjax.ops.lowering` chooses is starred. The lowerings take turns. GFLOP/s are of the
products that the convolution needs, by the fastest run and, in brackets, by the least
processor time that all cores together took: beside busy neighbours only that can be compared.

`--share` times only what is chosen, for every layer of DCGAN at 64x64, F = 64, and prints the rate
over all of them as a share of the matrix product's in the same run.
"""

import argparse
import os
import time
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from experiments.benchmarks.clock import positive, threads
from ganjax.ops import blocks, canonical, fold, lowering, native, strips, winograd
from ganjax.ops.geometry import Geometry
from ganjax.runtime import huge_pages

# Name -> (stride, batch, layers), a layer (input size, input channels, output channels): those
# of 64x64 with F = 64, of the shipped 32x32 with F = 32 (4x4 windows), and of residual and
# growing networks (3x3 windows).
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
LOWERINGS = (native, canonical, strips, fold, blocks, winograd)
# Rows and columns of the matrices in the product that is the yardstick.
SQUARE = 1024


class Timer:
    """The least seconds and processor seconds of a compiled function."""

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
        """GFLOP/s by the clock, and by processor time on all cores."""
        return flop / 1e9 / self.least * (1, threads())


class Map(NamedTuple):
    """One of the three maps of one layer.

    Attributes:
      name: of MAPS.
      geometry: of the convolution.
      channels: (of the input, of the output).
      args: its two arrays.
    """

    name: str
    geometry: Geometry
    channels: tuple[int, int]
    args: tuple[np.ndarray, np.ndarray]

    @property
    def flop(self) -> float:
        """Of the products that the convolution needs."""
        pixels = np.prod(self.geometry.out + self.geometry.window)
        return 2.0 * self.args[0].shape[0] * pixels * np.prod(self.channels)

    @property
    def chosen(self):
        """The module that `ganjax.ops.lowering` takes."""
        return lowering.choose(self.name, self.geometry, self.args[0].shape[0], self.channels)

    def timer(self, module) -> Timer:
        return Timer(partial(getattr(module, self.name), geometry=self.geometry), *self.args)


def map_of(name: str, layer: tuple[int, int, int], stride: int, batch: int) -> Map:
    """A map on random arrays; `layer` as in LAYERS."""
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
    """The yardstick, of 2 * SQUARE**3 FLOP."""
    square = np.random.RandomState(0).randn(SQUARE, SQUARE).astype(np.float32)
    return Timer(lambda a, b: a @ b, square, square)


def run_in_turns(timers: list[Timer], rounds: int) -> None:
    for _ in range(rounds):
        for timer in timers:
            # Twice: whoever went before has left the cache to others.
            timer.run()
            timer.run()


def measure(name: str, layer: tuple[int, int, int], stride: int, batch: int, rounds: int) -> str:
    """A row of the table: one map of one layer in every lowering."""
    each = map_of(name, layer, stride, batch)
    timers = {"matmul": matmul()}
    for module in LOWERINGS:
        fits = getattr(module, "fits", lambda _: True)
        if hasattr(module, name) and fits(each.geometry):
            timers[module] = each.timer(module)
    run_in_turns(list(timers.values()), rounds)
    cells = [cell(timers["matmul"].rate(2 * SQUARE**3))]
    for module in LOWERINGS:
        rate = cell(timers[module].rate(each.flop)) if module in timers else "-"
        cells.append(rate + ("*" if module is each.chosen else " "))
    return "".join(f"{cell:>14}" for cell in cells)


def cell(rate: np.ndarray) -> str:
    return f"{rate[0]:.0f} ({rate[1]:.0f})"


def share(rounds: int, layers: str = "64") -> dict:
    """The rate of a network's convolutions beside that of a matrix product in the same run.

    Every map of every layer once, each weighted by its FLOPs: all of these over the sum of the
    least seconds of each. The 4x4 layers from and to 1x1 are matrix products and left out.

    Args:
      rounds: in which the maps and the matrix product take turns.
      layers: a name of LAYERS.

    Returns:
      `maps`: label -> GFLOP/s and the lowering; `gflops`, `matmul_gflops` and their `share`; and
      `share_of_processor_time`, the same by the least processor seconds.
    """
    stride, batch, sizes = LAYERS[layers]
    yardstick, timed = matmul(), []
    for layer in sizes:
        for name in MAPS:
            each = map_of(name, layer, stride, batch)
            timer = each.timer(each.chosen)
            run_in_turns([yardstick, timer], rounds)
            timed.append((label(name, layer, batch), each, timer))
    flop = sum(each.flop for _, each, _ in timed)
    rate = flop / 1e9 / sum(timer.least for _, _, timer in timed) * (1, threads())
    most = yardstick.rate(2 * SQUARE**3)
    return {
        "maps": {
            name: {
                "gflops": timer.rate(each.flop)[0],
                "lowering": each.chosen.__name__.rpartition(".")[2],
            }
            for name, each, timer in timed
        },
        "gflops": rate[0],
        "matmul_gflops": most[0],
        "share": rate[0] / most[0],
        "share_of_processor_time": rate[1] / most[1],
    }


def label(name: str, layer: tuple[int, int, int], batch: int) -> str:
    size, inputs, outputs = layer
    return f"{size}x{size} {inputs}->{outputs}, {batch}, {name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", choices=LAYERS, nargs="+", default=list(LAYERS))
    parser.add_argument("--batch_size", type=positive, help="instead of the usual one")
    parser.add_argument("--rounds", type=positive, default=10)
    parser.add_argument("--share", action="store_true", help="of the matrix product's rate alone")
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, {threads()} cores")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
    if args.share:
        found = share(args.rounds)
        for name, each in found["maps"].items():
            print(f"{name}: {each['gflops']:.0f} GFLOP/s ({each['lowering']})")
        print(
            f"all {found['gflops']:.0f}, matrix product {found['matmul_gflops']:.0f} GFLOP/s: "
            f"{found['share']:.2f}, by processor time {found['share_of_processor_time']:.2f}"
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
