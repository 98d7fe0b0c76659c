"""Compares train steps with PyTorch's on one CUDA GPU, and counts the calls of cuDNN in ganjax's.

    python -m experiments.benchmarks.gpu --rounds=5 --out=runs/gpu

Both sides of a row are first shown to compute the same, as in step.py, and then timed; the host
waits for the device once, at the end of each run of steps. All rows are measured in each of
`--precisions`: with `config.precision=bfloat16` PyTorch's step is under one autocast. PyTorch's
contenders run eagerly, where they wait for Python, and as one CUDA graph of the whole step. Both
sides round products to TF32 and search for cuDNN's fastest algorithms. Memory is that of the
device, without the memory of this search: for ganjax the bytes that the compiled step holds at once
according to XLA, for PyTorch the peak of its allocator in a step. Every row has a process of its
own.

Of small networks, several steps in a dispatch are measured against single ones (dispatch.py), and
the training loop against the bare step, with one step in a dispatch and with "auto" (loop.py).

The command writes gpu.json and gpu.md into `--out` after every row and prints the Markdown.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import torch

from experiments.benchmarks import dispatch, job, loop, step
from experiments.benchmarks.clock import OURS, alternate, seconds, summary
from experiments.benchmarks.ours import Ours, load
from experiments.benchmarks.rows import GPU_ROWS, PRECISIONS
from experiments.tools import arguments
from ganjax.runtime import storage

# The approximate seconds of a contender's steps in a row, and their largest number.
RUN_SECONDS, LONGEST_RUN = 0.2, 100
# The small networks, of which several steps in a dispatch are measured, and the loop, on images
# that come with ganjax.
SMALL = ("cgan", "wgan_gp")
HEADER = (
    "| config | precision | batch | ganjax, ms | peers, ms (ganjax / peer) | compile, s "
    "| MiB: ganjax | MiB: peers | convolutions |"
)


def convolutions(text: str) -> dict[str, int]:
    """Counts the calls of each of cuDNN's functions in the text of an optimised program.

    The entry `left` counts the convolutions that do not call cuDNN.
    """
    # A call is an operation of its own, or part of a fusion with the operation that follows it.
    found = Counter(re.findall(r'(?:custom_call_target=|"kind":)"(__cudnn[^"]*)"', text))
    left = len(re.findall(r"= \S+ convolution\(", text))
    return dict(found) | ({"left": left} if left else {})


def measure(config: str, fields: dict, rounds: int) -> dict:
    """Times a step of ganjax and of PyTorch's contenders.

    Args:
      config: the name of a config, as `experiments.benchmarks.ours.load` takes it. Its `precision`
        determines whether PyTorch computes in float32 or under autocast.
      fields: values for some of its fields.
      rounds: the number of rounds in which each is timed.

    Returns:
      The summary of `experiments.benchmarks.clock.summary`, with the `batch_size`, the
      `compile_seconds`, the `mib` of each contender, the error by name of contenders that `failed`,
      and the `convolutions` in ganjax's program.
    """
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    ours = Ours(load(config, **fields))
    sizes: Any = ours.compiled.memory_analysis()  # A GPU has one.
    held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    mib = {OURS: (held - sizes.alias_size_in_bytes) / 2**20}
    runs: dict[str, Callable[[int], object]] = {OURS: ours.advance}
    failed: dict[str, str] = {}
    for name in step.contenders(ours.config, "cuda"):
        # An error of one contender must not stop the others.
        with noted(failed, name):
            advance, mib[name] = peer_step(ours, name)
            runs[name] = partial(repeat, advance)
            with noted(failed, f"{name}, CUDA graph"):
                runs[f"{name}, CUDA graph"] = partial(repeat, captured(advance))
    ours.step()
    run = round(min(max(RUN_SECONDS / seconds(partial(ours.advance, 5)) * 5, 1), LONGEST_RUN))
    timed = {
        name: lambda count, steps=steps: [seconds(partial(steps, count)) / count]
        for name, steps in runs.items()
    }
    times = alternate(timed, rounds, run)
    return summary(times) | {
        "batch_size": ours.config.batch_size,
        "compile_seconds": ours.compile_seconds,
        "mib": mib,
        "failed": failed,
        "convolutions": convolutions(str(ours.compiled.as_text())),
    }


@contextlib.contextmanager
def noted(failed: dict[str, str], name: str) -> Iterator[None]:
    """Suppresses an error of the body, and puts the error's first line into `failed[name]`."""
    try:
        yield
    except Exception as error:
        traceback.print_exc(file=sys.stdout)  # A job's stderr is shown only if the job fails.
        failed[name] = f"{type(error).__name__} {error}".strip().splitlines()[0]


def peer_step(ours: Ours, name: str) -> tuple[Callable[[], object], float]:
    """Returns a contender's step, which does not wait for the device, and its peak memory.

    Args:
      ours: ganjax's step, whose weights, batch and config the contender takes.
      name: the name of the contender.

    Returns:
      The step, and its peak memory in MiB.
    """
    before = torch.cuda.memory_allocated()
    (peer,) = step.peers(ours, only=[name]).values()
    advance = partial(peer.advance, peer.put(ours.batch))
    if ours.config.precision == "bfloat16":
        # The weights change within a step, so casts of them must not be cached.
        advance = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)(advance)
    repeat(advance, 3)
    torch.cuda.reset_peak_memory_stats()
    repeat(advance, 1)
    return advance, (torch.cuda.max_memory_allocated() - before) / 2**20


def captured(advance: Callable[[], object]) -> Callable[[], None]:
    """Captures a step, which must have run before, as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            advance()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        advance()
    return graph.replay


def repeat(advance: Callable[[], object], count: int) -> None:
    """Takes steps in a row and waits for the last."""
    for _ in range(count):
        advance()
    torch.cuda.synchronize()


def of_dispatches(config: str, precision: str, row: dict) -> list[str]:
    """Returns what was measured of a row's dispatches as lines of a list in Markdown."""
    found = row.get("dispatches")
    return [f"- `{config}`, {precision}: {line}" for line in dispatch.lines(found)] if found else []


def of_loop(config: str, found: dict) -> list[str]:
    """Returns what was measured of a config's loop as lines of a list in Markdown."""
    return [
        f"- `{config}`, steps_per_dispatch={wanted}: {loop.line(each)}"
        for wanted, each in found.items()
    ]


def cells(config: str, precision: str, row: dict) -> str:
    """Returns a row of the table as Markdown.

    Args:
      config: the config of the row.
      precision: the precision of the row.
      row: the result of `measure`, or the "error".
    """
    if "error" in row:
        return f"| `{config}` | {precision} | " + row["error"].replace("|", r"\|") + " |" * 7
    ms = {name: f"{1e3 * times['median']:.2f}" for name, times in row["seconds"].items()}
    ratios = {name: ratio["of_medians"] for name, ratio in row["ratios"].items()}
    mib = {name: f"{value:,.0f}" for name, value in row["mib"].items()}
    columns = [
        f"`{config}`",
        precision,
        str(row["batch_size"]),
        ms[OURS],
        "; ".join(
            [
                *(f"{name} {ms[name]} ({ratio:.2f})" for name, ratio in ratios.items()),
                *(f"{name}: {error}".replace("|", r"\|") for name, error in row["failed"].items()),
            ]
        ),
        f"{row['compile_seconds']:.0f}",
        mib[OURS],
        "; ".join(f"{name} {value}" for name, value in mib.items() if name != OURS),
        ", ".join(f"{count} {name}" for name, count in row["convolutions"].items()),
    ]
    return "| " + " | ".join(columns) + " |"


def markdown(results: dict) -> str:
    """Returns the results measured so far as Markdown."""
    rows = [
        cells(config, precision, row)
        for config, by_precision in results["rows"].items()
        for precision, row in by_precision.items()
    ]
    more = [
        line
        for config, by_precision in results["rows"].items()
        for precision, row in by_precision.items()
        for line in of_dispatches(config, precision, row)
    ]
    more += [line for config, found in results["loops"].items() for line in of_loop(config, found)]
    table = [HEADER, "|---" * 9 + "|", *rows]
    return "\n".join([results["machine"], "", *table, *(["", *more] if more else [])]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=arguments.count, default=5)
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(GPU_ROWS))
    parser.add_argument(
        "--out", type=arguments.folder, default="runs/gpu", help="the folder of the results"
    )
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=list(PRECISIONS))
    parser.add_argument(
        "--unchecked", action="store_true", help="skips the check that both sides compute the same"
    )
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU")
    if unknown := set(args.rows) - set(GPU_ROWS):
        parser.error(
            f"--rows={','.join(args.rows)}: no {min(unknown)!r}; there are {list(GPU_ROWS)}"
        )
    if unknown := set(args.precisions) - set(PRECISIONS):
        parser.error(
            f"--precisions={','.join(args.precisions)}: no {min(unknown)!r}; there are {PRECISIONS}"
        )
    machine = f"{torch.cuda.get_device_name()}, jax {jax.__version__}, torch {torch.__version__}"
    results = {"machine": machine, "rows": {}, "loops": {}}
    # Both frameworks share the device.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    for precision in args.precisions:
        for config in args.rows:
            which = {"config": config, "fields": GPU_ROWS[config]}
            results["rows"].setdefault(config, {})[precision] = row = {}
            try:
                if precision == args.precisions[0] and not args.unchecked:
                    row["difference"] = job.run("step.check_equal", **which)
                which["fields"] = which["fields"] | {"precision": precision}
                row |= job.run("gpu.measure", **which, rounds=args.rounds)
                if config in SMALL:
                    row["dispatches"] = job.run("dispatch.measure", **which, rounds=args.rounds)
            except job.Failed as error:
                row["error"] = str(error)
            print(cells(config, precision, row), flush=True)
            storage.write_text(args.out / "gpu.json", json.dumps(results, indent=1) + "\n")
            storage.write_text(args.out / "gpu.md", markdown(results))
    for config in [each for each in SMALL if each in args.rows]:
        found = results["loops"][config] = {}
        for wanted in (1, "auto"):
            fields = {"steps_per_dispatch": wanted}
            try:
                found[wanted] = job.run("loop.measure", config=config, fields=fields)
            except job.Failed as error:
                print(f"the loop of {config}: {error}", file=sys.stderr, flush=True)
        storage.write_text(args.out / "gpu.json", json.dumps(results, indent=1) + "\n")
        storage.write_text(args.out / "gpu.md", markdown(results))
    print(markdown(results), end="")


if __name__ == "__main__":
    main()
