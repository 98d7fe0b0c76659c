"""Compares training K seeds at once with K processes run one after another.

    python -m experiments.benchmarks.seeds --config=cgan --seeds 4 8 --steps=200

The command times whole runs of `python -m ganjax.main`, each in a process of its own, including
imports, compilation, data, evaluation and checkpoints. The processes of single seeds share a
compilation cache, as they do by default, so that only the first compiles; every ensemble begins
with an empty one. Next to the seconds of whole runs the table has the images a second of the steps
alone, as the runs log them. docs/speed.md has measurements.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from experiments import ROOT
from experiments.tools import arguments
from ganjax.runtime import huge_pages
from ganjax.training.writer import read_metrics


def seconds(config: str, folder: Path, cache: Path, steps: int, **fields) -> float:
    """Trains a config and returns the seconds of the whole run.

    Args:
      config: the file in configs/, with :<preset> after it for a preset.
      folder: the folder of the run.
      cache: the folder of the compilation cache.
      steps: the number of train steps.
      **fields: values for some fields of the config.
    """
    command = [sys.executable, "-m", "ganjax.main"]
    command += [f"--config=configs/{config}", f"--workdir={folder}"]
    fields |= {"total_steps": steps, "log_every": 20}
    fields |= dict.fromkeys(("sample_every", "eval_every", "checkpoint_every"), steps)
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def rate(folder: Path) -> float:
    """Returns the images a second of a run's steps, from its metrics.jsonl."""
    rows = read_metrics(folder / "metrics.jsonl")
    rates = [row["images_per_second"] for row in rows if "images_per_second" in row]
    if not rates:
        raise SystemExit(f"{folder}: no line has a rate; take more --steps")
    return median(rates)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--config", default="cgan", help="<name>[:<preset>] of configs/")
    parser.add_argument("--seeds", type=arguments.count, nargs="+", default=[4, 8])
    parser.add_argument("--steps", type=arguments.count, default=200)
    args = parser.parse_args()
    file, _, preset = args.config.partition(":")
    config = f"{file}.py" + (f":{preset}" if preset else "")
    print(f"{args.config}, {args.steps} steps; load before: {os.getloadavg()[0]:.2f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder, singles, rates = Path(folder), [], []
        for seed in range(max(args.seeds)):
            where, cache = folder / f"one_{seed}", folder / "cache"
            singles.append(seconds(config, where, cache, args.steps, seed=seed))
            rates.append(rate(where))
            print(f"seed {seed} alone: {singles[-1]:.1f} s", flush=True)
        print("| seeds | one after another, s | at once, s | ratio | images/s alone | at once |")
        print("|---|---|---|---|---|---|")
        for num in args.seeds:
            where, cache = folder / f"all_{num}", folder / f"cache_{num}"
            at_once = seconds(config, where, cache, args.steps, num_seeds=num)
            apart = sum(singles[:num])
            print(
                f"| {num} | {apart:.1f} | {at_once:.1f} | {apart / at_once:.2f} "
                f"| {median(rates[:num]):.0f} | {rate(where):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    huge_pages.restart()
    main()
