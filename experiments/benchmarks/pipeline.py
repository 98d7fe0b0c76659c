"""Measures the data pipeline: its images a second, its cost in a train step, and its memory.

    python -m experiments.benchmarks.pipeline

There are two scales, each measured in a process of its own: `cifar` is 50,000 images of 32x32x3
that are kept on the device, and `celeb_a` is 200,000 images of 64x64x3 in ArrayRecord shards, which
the code of ganjax.data.prepare writes (2.4 GiB in --folder, removed at the end). The images are
noise, which no figure depends on, since records are not compressed. If memory allows, the files are
in the page cache once they have been written or read.

The step is that of `configs/dcgan.py` with the preset of the same name and --batch_size. Blocks of
--steps steps with the pipeline alternate with blocks on one constant batch.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.clock import peak_mib
from experiments.benchmarks.ours import load, train_step
from experiments.tools import arguments
from ganjax.data.base import Labels, Source
from ganjax.data.pipeline import put_all, read_all, train_batches
from ganjax.data.prepare import settings_of
from ganjax.data.record_writer import write
from ganjax.data.sources import open_source
from ganjax.engine.phases import Phase
from ganjax.engine.step import init_state
from ganjax.parallel.sharding import make_layout
from ganjax.runtime import huge_pages

# The number of images in the training split, and their height and width.
SCALES = {"cifar": (50_000, 32), "celeb_a": (200_000, 64)}
CONFIGS = {"cifar": "dcgan:cifar10", "celeb_a": "dcgan:celeb_a"}
# The number of different images, which the set repeats.
NOISE = 4_096


def noise(count: int, size: int) -> Source:
    """Returns a source of `count` images of noise, (size, size, 3), all with the label 0."""
    image = np.random.RandomState(0).randint(0, 256, (NOISE, size, size, 3), np.uint8)
    label = np.zeros(count, np.int32)
    return Source(
        count,
        lambda i: {"image": image[i % NOISE], "label": label[i]},
        (),
        lambda: label,
        lambda: {"label": Labels(label, ())},
    )


def open_scale(scale: str, config, folder: Path) -> Source:
    """Opens the training set of a scale as a run would.

    Args:
      scale: a name in SCALES.
      config: the config of the run.
      folder: the folder in which records are written.
    """
    count, size = SCALES[scale]
    if scale == "cifar":
        arrays = read_all(noise(count, size))
        return Source(count, lambda i: {name: each[i] for name, each in arrays.items()}, ())
    out = folder / "noise"
    settings = settings_of(config.data, size, shard_bytes=64 << 20)
    sources = {"train": noise(count, size), "validation": noise(100, size)}
    start = time.perf_counter()
    write(sources, settings, out, name="noise", workers=os.cpu_count() or 1)
    print(f"written in {time.perf_counter() - start:.0f} s")
    data = config.data.model_copy(update={"source": f"records:{out}"})
    return open_source(data, "train", image_size=size)


def measure(scale: str, args: argparse.Namespace, folder: Path) -> None:
    """Measures a scale and prints its figures.

    Args:
      scale: a name in SCALES.
      args: the flags of this command.
      folder: the folder in which records are written.
    """
    loaded = load(CONFIGS[scale], batch_size=args.batch_size)
    config: Any = loaded.config  # Its fields are those of the algorithm.
    algorithm = loaded.module.build(config)
    reals = algorithm.real_batches
    layout = make_layout()
    source = open_scale(scale, config, folder)
    resident_before = resident()
    phase = Phase(0, 1 << 30, config.batch_size, config.image_size)
    batches = train_batches(
        source,
        phase,
        seed=0,
        reals=reals,
        start=0,
        sharding=layout.batches,
        on_device=put_all(source, layout.batches) if scale == "cifar" else None,
    )
    constant = jax.block_until_ready(next(batches))

    def alone(seconds: float) -> float:
        """Runs the pipeline alone for some seconds and returns its images a second."""
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            jax.block_until_ready(next(batches))
            count += 1
        return count * reals * config.batch_size / (time.perf_counter() - start)

    alone(1)
    speeds = [alone(2) for _ in range(args.rounds)]
    print(f"{scale}: {median(speeds):,.0f} images/s alone (median of {args.rounds})", flush=True)

    key = jax.random.key(0)
    state = jax.jit(partial(init_state, algorithm), out_shardings=layout.replicated)(key)
    step = train_step(algorithm, layout.batch, out_shardings=layout.replicated)

    def block(fed: bool) -> float:
        """Takes a block of steps, fed by the pipeline or by one batch; returns seconds a step."""
        nonlocal state
        start = time.perf_counter()
        for _ in range(args.steps):
            batch = next(batches) if fed else constant
            state, _ = step(state, batch, key, phase=algorithm.phases[0])
        jax.block_until_ready(state)
        return (time.perf_counter() - start) / args.steps

    block(fed=True)
    ratios, seconds = [], []
    for _ in range(args.rounds):
        before, fed, after = block(fed=False), block(fed=True), block(fed=False)
        ratios.append(2 * fed / (before + after))
        seconds.append(fed)
    wanted = reals * config.batch_size / median(seconds)
    print(
        f"{scale}: {median(seconds):.4f} s a step with the pipeline, {median(ratios):.3f} times "
        f"that over a constant batch ({min(ratios):.3f} .. {max(ratios):.3f}); the step takes "
        f"{wanted:,.0f} images/s"
    )
    print(
        f"{scale}: {resident_before:.0f} MiB resident before the pipeline, {peak_mib():.0f} MiB at "
        "most"
    )


def resident() -> float:
    """Returns the resident memory of this process in MiB, on Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, help="one of the scales; both by default")
    parser.add_argument("--batch_size", type=arguments.count, default=32)
    parser.add_argument("--steps", type=arguments.count, default=8, help="the steps of a block")
    parser.add_argument("--rounds", type=arguments.count, default=5)
    parser.add_argument("--folder", help="where the shards are written; /tmp by default")
    args = parser.parse_args()
    if args.scale is None:
        for scale in SCALES:  # Each has a process of its own, since a peak is that of a process.
            command = [sys.executable, "-m", "experiments.benchmarks.pipeline", *sys.argv[1:]]
            subprocess.run([*command, f"--scale={scale}"], check=True)
        return
    print(f"{scale_line(args.scale)}; load of the machine before: {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        measure(args.scale, args, Path(folder))


def scale_line(scale: str) -> str:
    """Returns a line that describes a scale."""
    count, size = SCALES[scale]
    return f"{scale}: {count:,} images of {size}x{size}x3 on {jax.devices()[0].device_kind}"


if __name__ == "__main__":
    huge_pages.restart()
    main()
