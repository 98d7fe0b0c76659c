"""GFLOP/s of every lowering of every map of a convolution, on CPU, beside a matrix product.

    python -m experiments.benchmarks.conv
    python -m experiments.benchmarks.conv --layers=64 --batch_size=128

What `ganjax.ops.lowering` chooses is starred. The lowerings take turns. GFLOP/s are of the
products that the convolution needs, by the fastest run and, in brackets, by the least
processor time that all cores together took: beside busy neighbours only that can be compared.
"""

import argparse
import os
import time
from functools import partial

import jax
import numpy as np

from ganjax.ops import blocks, fold, lowering, native, split, winograd
from ganjax.ops.geometry import Geometry

# Name -> (stride, batch, layers), a layer (input size, input channels, output channels): those
# of 64x64 with F = 64, of the shipped 32x32 with F = 32 (4x4 windows), and of residual and
# growing networks (3x3 windows).
LAYERS = {
    "64": (2, 32, [(64, 3, 64), (32, 64, 128), (16, 128, 256), (8, 256, 512)]),
    "32": (2, 64, [(32, 1, 32), (16, 32, 64), (8, 64, 128)]),
    "3x3": (1, 16, [(32, 16, 16), (32, 32, 32), (32, 64, 64), (16, 64, 64), (8, 128, 128)]),
}
MAPS = ("conv", "input_grad", "kernel_grad")
LOWERINGS = (native, split, fold, blocks, winograd)
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

    def rate(self, flop: float) -> str:
        """GFLOP/s by the clock and, in brackets, by processor time on all cores."""
        wall, processor = flop / 1e9 / self.least
        return f"{wall:.0f} ({processor * CORES:.0f})"


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def measure(name: str, layer: tuple[int, int, int], stride: int, batch: int, rounds: int) -> str:
    """A row of the table: one map of one layer in every lowering."""
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
    square = random.randn(SQUARE, SQUARE).astype(np.float32)
    timers = {"matmul": Timer(lambda a, b: a @ b, square, square)}
    for module in LOWERINGS:
        if hasattr(module, name) and (module is not winograd or winograd.fits(geometry)):
            timers[module] = Timer(partial(getattr(module, name), geometry=geometry), *args)
    for _ in range(rounds):
        for timer in timers.values():
            # Twice: whoever went before has left the cache to others.
            timer.run()
            timer.run()
    flop = 2 * batch * np.prod(geometry.out + window) * inputs * outputs
    chosen = lowering.choose(name, geometry, batch, (inputs, outputs))
    cells = [timers["matmul"].rate(2 * SQUARE**3)]
    for module in LOWERINGS:
        rate = timers[module].rate(flop) if module in timers else "-"
        cells.append(rate + ("*" if module is chosen else " "))
    return "".join(f"{cell:>14}" for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", choices=LAYERS, nargs="+", default=list(LAYERS))
    parser.add_argument("--batch_size", type=int, help="instead of the usual one")
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, {CORES} cores")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
    names = ("matmul", *(module.__name__.rpartition(".")[2] + " " for module in LOWERINGS))
    print(f"{'layer, batch, map':<34}" + "".join(f"{name:>14}" for name in names))
    for image in args.layers:
        stride, batch, layers = LAYERS[image]
        batch = args.batch_size or batch
        for layer in layers:
            for name in MAPS:
                size, inputs, outputs = layer
                label = f"{size}x{size} {inputs}->{outputs}, {batch}, {name}"
                print(f"{label:<34}{measure(name, layer, stride, batch, args.rounds)}", flush=True)


if __name__ == "__main__":
    main()
