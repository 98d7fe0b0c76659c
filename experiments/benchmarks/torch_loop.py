"""Measures what a usual training loop in PyTorch adds to its bare train step.

    python -m experiments.benchmarks.torch_loop --config=wgan_gp

It is the loop that tutorials write: a `DataLoader` over all images in memory, shuffled, in the
main process, which is the fastest for sets of this size; losses read by `item` and written for
TensorBoard at the lines of the config's log; pictures of the average's samples and checkpoints by
`torch.save` at its cadence. It evaluates nothing. Stretches of steps, each of these actions and
bare steps on one constant batch take turns, as in loop.py, whose sums are the same.
"""

import contextlib
import itertools
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tensorboardX import SummaryWriter
from torch.utils.data import DataLoader, TensorDataset

from experiments.benchmarks import step
from experiments.benchmarks.clock import threads
from experiments.benchmarks.loop import LOOPS, flags, line, often, stretch_of
from experiments.benchmarks.ours import load, random_batch
from experiments.benchmarks.torch_noise import draw
from experiments.benchmarks.torch_peer import Peer
from experiments.tools.configs import named
from ganjax.configs import override
from ganjax.errors import UserError
from ganjax.pictures import images
from ganjax.training import setup

# The number of samples in a picture.
SHOWN = 64


class Loop:
    """A training loop around a peer.

    Args:
      peer: the peer.
      run: the run whose images and cadences the loop takes.
      folder: the folder of the loop's files.
    """

    def __init__(self, peer: Peer, run: setup.Run, folder: Path):
        self._peer, self._folder = peer, folder
        self._log_every, self._step = run.config.log_every, 0
        phase = run.algorithm.phases[-1]
        training = run.images[phase].training
        everything = training.fetch(np.arange(training.size))
        self._writer = SummaryWriter(str(folder))
        self._batches = self._epochs(
            TensorDataset(*(torch.from_numpy(everything[name]) for name in ("image", "label"))),
            phase.batch_size,
            run.algorithm.real_batches,
        )
        self._noise = draw(peer.config, SHOWN, peer.dtype, peer.device)[0]
        self._label = torch.arange(SHOWN) % max(run.algorithm.num_classes, 1)

    @staticmethod
    def _epochs(reals: TensorDataset, batch_size: int, count: int) -> Iterator[list[dict]]:
        """Yields the batches of a step, `count` of them, epoch after epoch."""
        loader = DataLoader(reals, batch_size, shuffle=True, drop_last=True)
        batches = itertools.chain.from_iterable(loader for _ in itertools.count())
        while True:
            yield [dict(zip(("image", "label"), next(batches), strict=True)) for _ in range(count)]

    def steps(self, count: int) -> None:
        """Takes steps, and logs where that is due."""
        for _ in range(count):
            metrics = self._peer.advance(next(self._batches))
            self._step += 1
            if self._step % self._log_every == 0:
                values = {name: value.item() for name, value in metrics.items()}
                for name, value in values.items():
                    self._writer.add_scalar(name, value, self._step)
                print(self._step, values)

    @torch.no_grad()
    def pictures(self) -> None:
        """Writes a grid of the average's samples."""
        made = self._peer.ema(self._noise["z"], self._label)
        side = self._peer.config.image_size
        made = made.reshape(SHOWN, -1, side, side).permute(0, 2, 3, 1).float()
        low, high = self._peer.config.generator.value_range
        pixels = ((made - low) * (255 / (high - low))).round().clamp(0, 255).byte().numpy()
        images.save_png(self._folder / f"{self._step}.png", images.grid(pixels, 8))

    def checkpoints(self) -> None:
        """Saves both players, their optimisers and the average."""
        peer = self._peer
        parts = (peer.generator, peer.discriminator, peer.ema, peer.g.tx, peer.d.tx)
        torch.save([part.state_dict() for part in parts], self._folder / f"{self._step}.pt")


def measure(
    config: str, fields: dict, contender: str, rounds: int = 4, processor: bool = False
) -> dict:
    """Measures the loop of a PyTorch contender; called as a job.

    Args:
      config: the name of a config, as `experiments.benchmarks.ours.load` takes it.
      fields: values for some of its fields.
      contender: a name of `experiments.benchmarks.step.contenders`.
      rounds: the number of stretches that count.
      processor: whether seconds are the processor's, of all threads.

    Returns:
      A result of the form of `experiments.benchmarks.loop.measure`, with these parts alone.
    """
    loaded = load(config, **fields)
    torch.set_num_threads(threads())
    peer = step.kind(loaded.config)(loaded.config, **step.contenders(loaded.config)[contender])
    algorithm = loaded.module.build(loaded.config)
    constant = peer.put(random_batch(loaded, algorithm))

    def bare(count: int) -> None:
        for _ in range(count):
            metrics = peer.advance(constant)
        for value in metrics.values():  # Waits for a device that computes beside the host.
            value.item()

    bare(3)
    count = stretch_of(bare)
    now = time.process_time if processor else time.perf_counter
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(part: str, action: Callable[[], Any], of: int = 1) -> None:
        begin = now()
        action()
        seconds[part].append((now() - begin) / of)

    raw = named(config)
    override(raw, fields, f"config={config}")
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        run = setup.prepare(raw, Path(folder) / "never")
        loop = Loop(peer, run, Path(folder))
        with contextlib.redirect_stdout(nowhere):
            for _ in range(rounds + 1):
                timed("stretch", lambda: loop.steps(count), count)
                timed("bare", lambda: bare(count), count)
                timed("pictures", loop.pictures)
                timed("checkpoints", loop.checkpoints)
    # The first time of each is the warm-up.
    stretch, alone = seconds["stretch"][1:], seconds["bare"][1:]
    rates = often(run)
    parts = {name: median(seconds[name][1:]) * rates[name] for name in ("pictures", "checkpoints")}
    bare_step = median(alone)
    ratio = median(a / b for a, b in zip(stretch, alone, strict=True))
    ratio += sum(parts.values()) / bare_step
    return {"bare": bare_step, "stretch": median(stretch), "parts": parts, "ratio": ratio}


def beside(config: str, fields: dict, rounds: int = 4, processor: bool = False) -> dict:
    """Measures the loop of PyTorch's fastest layout; called as a job, with `measure`'s arguments.

    Returns:
      The result of `measure` and the `contender`; nothing where PyTorch has no peer for the config.
    """
    loaded = load(config, **fields).config
    try:
        step.kind(loaded)
    except UserError:
        return {}
    names = step.contenders(loaded)
    contender = "torch channels_last" if "torch channels_last" in names else "torch eager"
    return measure(config, fields, contender, rounds, processor) | {"contender": contender}


def main() -> None:
    parser = flags(str(__doc__))
    args = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
    fields = LOOPS.get(args.config.partition(":")[0], {})
    found = beside(args.config, fields, args.rounds, args.processor)
    if not found:
        parser.error(f"--config={args.config}: PyTorch has no peer for it")
    print(f"{found['contender']}: {line(found)}")


if __name__ == "__main__":
    main()
