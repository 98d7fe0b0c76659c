"""Measures what several steps in one dispatch cost the host, against single ones.

    python -m experiments.benchmarks.dispatch --config=cgan --count=16

Batches come from the pipeline of a run, those of a dispatch in one transfer. For each number of
steps in a dispatch the command prints the host's own processor time to read a dispatch's batches
and to start it, in milliseconds, the same by the clock, and the milliseconds of a step when the
dispatches follow each other. It also prints the number that `steps_per_dispatch = "auto"` takes.
Processor time is that of the thread which starts dispatches, so that a busy machine does not matter
much; on a CPU it includes none of the step's own, which other threads compute.
"""

import argparse
import time
from collections.abc import Callable
from itertools import repeat
from statistics import median
from typing import Any

import jax

from experiments.benchmarks.clock import seconds
from experiments.benchmarks.ours import Start, load
from experiments.tools import arguments
from ganjax.data.base import Source
from ganjax.data.pipeline import put_all, train_batches
from ganjax.engine.phases import Phase
from ganjax.engine.step import make_train_step
from ganjax.parallel.sharding import make_layout
from ganjax.runtime import compiling, huge_pages
from ganjax.training.dispatch import make_train_steps, steps_hiding

# The number of steps in a dispatch, and of single ones in a row.
COUNT = 16
# The dispatches that are not timed; the first compiles.
UNTIMED = 3


class Dispatched(Start):
    """ganjax's step with several in a dispatch, on random images that the pipeline reads.

    Args:
      loaded: the config.
      count: the number of steps in a dispatch.

    Attributes:
      count: the same number.
    """

    def __init__(self, loaded: Any, count: int):
        super().__init__(loaded)
        self.count, self._phase, layout = count, self.algorithm.phases[0], make_layout()
        reals = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), self.batch)
        size = len(reals["label"])
        source = Source(size, lambda i: {name: leaf[i] for name, leaf in reals.items()}, ())
        on_device = jax.default_backend() != "cpu"
        self._batches = train_batches(
            source,
            Phase(0, 1 << 30, self._phase.batch_size, self._phase.image_size),
            seed=0,
            reals=self.algorithm.real_batches,
            start=0,
            sharding=layout.batches,
            on_device=put_all(source, layout.batches) if on_device else None,
            dispatches=repeat(count),
        )
        self.state, self.key = jax.device_put((self.state, self.key), layout.replicated)
        self._steps: Callable = jax.jit(
            make_train_steps(make_train_step(self.algorithm, sharding=layout.batch)),
            static_argnames="phase",
            donate_argnames="state",
            out_shardings=layout.replicated,
            compiler_options=compiling.options(layout.platform),
        )
        for _ in range(UNTIMED):
            jax.block_until_ready(self.start())

    def start(self) -> Any:
        """Reads the batches of a dispatch, starts it, and returns its metrics."""
        batch = next(self._batches)
        self.state, metrics = self._steps(self.state, batch, self.key, phase=self._phase)
        return metrics

    def parts(self) -> dict[str, float]:
        """Returns the seconds of a dispatch that begins when the device is idle.

        They are the host's, by the `processor` and by the clock (`host`), and those of the `device`
        after that.
        """
        begin, processor = time.perf_counter(), time.thread_time()
        metrics = self.start()
        found = {"processor": time.thread_time() - processor, "host": time.perf_counter() - begin}
        jax.block_until_ready((self.state, metrics))
        return found | {"device": time.perf_counter() - begin - found["host"]}

    def run(self, steps: int) -> None:
        """Takes at least so many steps, one dispatch after the other, and waits for the last."""
        for _ in range(-(-steps // self.count)):
            self.start()
        jax.block_until_ready(self.state)


def measure(config: str, fields: dict, rounds: int, count: int = COUNT) -> dict:
    """Measures dispatches of one step and of several, alternately; called as a job.

    Args:
      config: the name of a config, as `experiments.benchmarks.ours.load` takes it.
      fields: values for some of its fields.
      rounds: the number of rounds.
      count: the number of steps in a dispatch of several.

    Returns:
      For "1" and for the count, as text, the medians of `Dispatched.parts` and the seconds of a
      `step`; and `auto`, the number that a run would choose.
    """
    loaded = load(config, **fields)
    every = [Dispatched(loaded, each) for each in (1, count)]
    rows: list[list[dict[str, float]]] = [[], []]
    for _ in range(rounds):
        for row, each in zip(rows, every, strict=True):
            each.run(count)
            row.append(each.parts() | {"step": seconds(lambda each=each: each.run(count)) / count})
    found = {
        str(each.count): {name: median(part[name] for part in row) for name in row[0]}
        for row, each in zip(rows, every, strict=True)
    }
    return found | {"auto": steps_hiding(found["1"]["host"], found["1"]["device"])}


def lines(found: dict) -> list[str]:
    """Returns the result of `measure` as text."""
    texts = [
        f"{count} a dispatch: the host's processor {1e3 * each['processor']:.2f} ms a dispatch, by "
        f"the clock {1e3 * each['host']:.2f}; a step {1e3 * each['step']:.3f} ms"
        for count, each in found.items()
        if count != "auto"
    ]
    return [*texts, f"steps_per_dispatch = 'auto' takes {found['auto']}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--config", default="cgan", help="<name>[:<preset>] of configs/")
    parser.add_argument("--count", type=arguments.count, default=COUNT, help="steps in a dispatch")
    parser.add_argument("--rounds", type=arguments.count, default=20)
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, {args.config}", flush=True)
    print("\n".join(lines(measure(args.config, {}, args.rounds, args.count))))


if __name__ == "__main__":
    huge_pages.restart()
    main()
