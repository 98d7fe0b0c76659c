"""Train steps beside PyTorch's on one CUDA GPU, and what XLA makes of the convolutions there.

    python -m experiments.benchmarks.gpu --rounds=5 --out=runs/gpu

Each row is first shown to compute the same, as step.py does, then timed, each run waited for once
at its end; then all rows again with `config.precision=bfloat16` beside PyTorch's autocast.
PyTorch's contenders run as they come and as one CUDA graph of the whole step, which is its fastest
form: without, it waits for Python. Both sides round products to TF32 and search for cuDNN's
fastest algorithms. Memory is the device's: of ganjax what the compiled step holds at once, of
PyTorch the most that its allocator gave out.

Writes gpu.json and gpu.md into `--out` after every row; prints the Markdown.
"""

import argparse
import gc
import json
import re
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import torch

from experiments.benchmarks import step
from experiments.benchmarks.clock import OURS, positive, seconds, summary, take_turns
from experiments.benchmarks.ours import Ours, load
from experiments.benchmarks.rows import FULL_SIZE, NO_AUGMENTATION

# Config -> its fields instead of its own.
ROWS = {
    "dcgan:celeb_a": {},
    "wgan_gp:celeb_a": {},
    "wgan_gp": {},
    "cgan": {},
    "progan:celeb_a_64": FULL_SIZE | {"batch_size": 32},
    "ada:emoji64": NO_AUGMENTATION | {"batch_size": 128},
}
# What a contender's steps in a row take, about, and how many there are at most.
RUN_SECONDS, LONGEST_RUN = 0.2, 100
HEADER = (
    "| config | precision | batch | ganjax, ms | peers, ms (ganjax / peer) | compile, s "
    "| MiB: ganjax | MiB: peers | convolutions |"
)


def convolutions(text: str) -> dict[str, int]:
    """How often each of cuDNN's calls is in an optimised program; `left` are calls of none."""
    # A call or, with what follows it, a fusion.
    found = Counter(re.findall(r'(?:custom_call_target=|"kind":)"(__cudnn[^"]*)"', text))
    left = len(re.findall(r"= \S+ convolution\(", text))
    return dict(found) | ({"left": left} if left else {})


def measure(config: str, fields: dict, rounds: int) -> dict:
    """A step of ganjax and of PyTorch's contenders.

    Args:
      config: as in `experiments.benchmarks.ours.load`; its `precision` says whether PyTorch
        computes in float32 or under autocast.
      fields: likewise.
      rounds: in which each has a turn.

    Returns:
      `experiments.benchmarks.clock.summary`, with `batch_size`, `compile_seconds`, `mib` of each
      contender and the `convolutions` of ours.
    """
    ours = Ours(load(config, **fields))
    sizes = ours.compiled.memory_analysis()
    held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    mib = {OURS: (held - sizes.alias_size_in_bytes) / 2**20}
    runs, failed = {OURS: ours.advance}, {}
    for name in step.contenders(ours.config):
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        try:
            forms = peer_runs(ours, name)
        except Exception as error:  # One form's failure, of whatever kind, takes no other with it.
            traceback.print_exc()
            failed[name] = type(error).__name__
            continue
        mib[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
        runs |= forms
    ours.step()
    run = round(min(max(RUN_SECONDS / seconds(partial(ours.advance, 5)) * 5, 1), LONGEST_RUN))
    each = {
        name: lambda count, run=run: [seconds(partial(run, count)) / count]
        for name, run in runs.items()
    }
    times = take_turns(each, rounds, run)
    return summary(times) | {
        "batch_size": ours.config.batch_size,
        "compile_seconds": ours.compile_seconds,
        "mib": mib,
        "failed": failed,
        "convolutions": convolutions(ours.compiled.as_text()),
    }


def peer_runs(ours: Ours, name: str) -> dict[str, Callable[[int], None]]:
    """A contender's steps in a row, waited for at their end: as it comes, and as a CUDA graph."""
    (peer,) = step.peers(ours, only=[name]).values()
    batches, advance = peer.put(ours.batch), peer.advance
    if ours.config.precision == "bfloat16":
        advance = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)(advance)
    # What a graph holds must have run before, on a stream of its own.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            advance(batches)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        advance(batches)

    def repeat(one: Callable[[], object], count: int) -> None:
        for _ in range(count):
            one()
        torch.cuda.synchronize()

    return {
        name: partial(repeat, partial(advance, batches)),
        f"{name}, CUDA graph": partial(repeat, graph.replay),
    }


def cells(config: str, precision: str, row: dict) -> str:
    """A row of the table."""
    if "error" in row:
        return f"| `{config}` | {precision} | " + row["error"].replace("|", r"\|") + " |" * 7
    ms = {name: f"{1e3 * of['median']:.2f}" for name, of in row["seconds"].items()}
    ratios = {name: of["of_medians"] for name, of in row["ratios"].items()}
    mib = {name: f"{value:,.0f}" for name, value in row["mib"].items()}
    found = [
        f"`{config}`",
        precision,
        str(row["batch_size"]),
        ms[OURS],
        "; ".join(
            [
                *(f"{name} {ms[name]} ({ratio:.2f})" for name, ratio in ratios.items()),
                *(f"{name}: {error}" for name, error in row["failed"].items()),
            ]
        ),
        f"{row['compile_seconds']:.0f}",
        mib[OURS],
        "; ".join(f"{name} {value}" for name, value in mib.items() if name != OURS),
        ", ".join(f"{count} {name}" for name, count in row["convolutions"].items()),
    ]
    return "| " + " | ".join(found) + " |"


def markdown(results: dict) -> str:
    """All that was measured so far."""
    rows = [
        cells(config, precision, row)
        for config, of in results["rows"].items()
        for precision, row in of.items()
    ]
    return "\n".join([results["machine"], "", HEADER, "|---" * 9 + "|", *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="a folder")
    parser.add_argument("--unchecked", action="store_true", help="not shown to be equal before")
    args = parser.parse_args()
    if jax.default_backend() != "gpu" or not torch.cuda.is_available():
        parser.error(f"JAX is on {jax.default_backend()}, or PyTorch sees no GPU")
    if unknown := set(args.rows) - set(ROWS):
        parser.error(f"--rows={','.join(args.rows)}: no {min(unknown)!r}; there are {list(ROWS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    machine = f"{jax.devices()[0].device_kind}, jax {jax.__version__}, torch {torch.__version__}"
    results = {"machine": machine, "rows": {}}
    step.set_switches()
    for precision in ("float32", "bfloat16"):
        for config in args.rows:
            results["rows"].setdefault(config, {})[precision] = row = {}
            try:
                if precision == "float32" and not args.unchecked:
                    row["difference"] = step.check_equal(config, ROWS[config])
                row |= measure(config, ROWS[config] | {"precision": precision}, args.rounds)
            except Exception as error:  # Nor does a row's.
                traceback.print_exc()
                line = (str(error).strip() or "no message").splitlines()[-1]
                row["error"] = f"{type(error).__name__}: {line}"
            print(cells(config, precision, row), flush=True)
            gc.collect()
            torch.cuda.empty_cache()
            (args.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
            (args.out / "gpu.md").write_text(markdown(results))
    print(markdown(results), end="")


if __name__ == "__main__":
    main()
