"""Train steps beside PyTorch's on one CUDA GPU, and what XLA makes of the convolutions there.

    python -m experiments.benchmarks.gpu --rounds=5 --out=runs/gpu

Each row is a comparison of step.py: first shown to compute the same, then timed, each run waited
for once at its end; again with `config.precision=bfloat16` beside PyTorch's autocast. Memory is
the device's: of ganjax what the compiled step holds at once, of PyTorch the most that its
allocator gave out beyond what stood there before.

Writes gpu.json and gpu.md into `--out` after every row; prints the Markdown.
"""

import argparse
import gc
import json
import re
import traceback
from collections import Counter
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
    models = {}
    half = ours.config.precision == "bfloat16"
    for name in step.contenders(ours.config):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        (peer,) = step.peers(ours, only=[name]).values()
        if half:
            peer.advance = torch.autocast("cuda", torch.bfloat16)(peer.advance)
        for _ in range(2):
            peer.step(ours.batch)
        mib[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
        models[name] = peer
    ours.step()
    run = round(min(max(RUN_SECONDS / seconds(partial(ours.advance, 5)) * 5, 1), LONGEST_RUN))
    times = take_turns(step.runs_of(ours, models), rounds, run)
    return summary(times) | {
        "batch_size": ours.config.batch_size,
        "compile_seconds": ours.compile_seconds,
        "mib": mib,
        "convolutions": convolutions(ours.compiled.as_text()),
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
        "; ".join(f"{name} {ms[name]} ({ratio:.2f})" for name, ratio in ratios.items()),
        f"{row['compile_seconds']:.0f}",
        mib[OURS],
        "; ".join(f"{name} {mib[name]}" for name in ratios),
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
    for config in args.rows:
        found = results["rows"][config] = {}
        try:
            if not args.unchecked:
                step.check_equal(config, ROWS[config])
            for precision in ("float32", "bfloat16"):
                fields = ROWS[config] | {"precision": precision}
                found[precision] = measure(config, fields, args.rounds)
                print(cells(config, precision, found[precision]), flush=True)
                gc.collect()
        except Exception as error:  # One row's failure, of whatever kind, takes no other with it.
            traceback.print_exc()
            line = (str(error).strip() or "no message").splitlines()[-1]
            found["error"] = {"error": f"{type(error).__name__}: {line}"}
        (args.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
        (args.out / "gpu.md").write_text(markdown(results))
    print(markdown(results), end="")


if __name__ == "__main__":
    main()
