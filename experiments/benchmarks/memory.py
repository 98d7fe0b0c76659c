"""Where the memory of a train step's process stands: resident MiB at every stage, on Linux.

    python -m experiments.benchmarks.memory --rows=S1_32,S3_celeb_a,S7

The rows are those of the table (rows.py), each in a process of its own, twice: compiled anew, and
read from the compilation cache. "anonymous" is what the process wrote, "files" the pages of
libraries that it has touched, "peak" the most of both until then; "temporaries" are what XLA
says that the step needs beside its state.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import jax

from experiments.benchmarks import job
from experiments.benchmarks.clock import peak_mib
from experiments.benchmarks.ours import STEPS, load, random_batch, train_step
from experiments.benchmarks.rows import ROWS
from ganjax.engine.step import init_state
from ganjax.runtime import compiling, huge_pages


def resident() -> dict[str, float]:
    """MiB that this process has resident now, and its peak until now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    anonymous, files = (int(fields[name].split()[0]) / 2**10 for name in ("RssAnon", "RssFile"))
    return {"anonymous": anonymous, "files": files, "peak": peak_mib()}


def stages(config: str, fields: dict, cache: str) -> dict[str, dict[str, float]]:
    """Stage -> `resident` after it; "of XLA" -> the MiB of its "state" and "temporaries".

    Args:
      config: as in `experiments.benchmarks.ours.load`.
      fields: likewise.
      cache: the folder of the compilation cache.
    """
    found = {"imports": resident()}
    compiling.keep_programs(cache)
    compiling.trim_memory()
    loaded = load(config, **fields)
    algorithm, key = loaded.module.build(loaded.config), jax.random.key(0)
    state = jax.block_until_ready(jax.jit(partial(init_state, algorithm))(key))
    found["state"] = resident()
    batch = jax.device_put(random_batch(loaded.config, algorithm.reals_per_step))
    lowered = train_step(algorithm).lower(state, batch, key, phase=algorithm.phases[0])
    found["lowered"] = resident()
    compiled = lowered.compile()
    del lowered
    found["compiled"] = resident()
    for _ in range(STEPS):
        state, _ = jax.block_until_ready(compiled(state, batch, key))
    found["steps"] = resident()
    sizes = compiled.memory_analysis()
    found["of XLA"] = {
        "state": sizes.alias_size_in_bytes / 2**20,
        "temporaries": sizes.temp_size_in_bytes / 2**20,
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda text: text.split(","), default=["S1_32"])
    args = parser.parse_args()
    if unknown := set(args.rows) - set(ROWS):
        parser.error(f"--rows={','.join(args.rows)}: no {min(unknown)!r}; there are {list(ROWS)}")
    if sys.platform != "linux":
        parser.error("resident memory by stage is read as Linux tells it")
    print("| row | cache | stage | anonymous | files | peak |\n" + "|---" * 6 + "|")
    for name in args.rows:
        row = ROWS[name]
        with tempfile.TemporaryDirectory() as cache:
            for kind in ("cold", "warm"):
                found = job.run("memory.stages", config=row.config, fields=row.fields, cache=cache)
                sizes = found.pop("of XLA")
                for stage, of in found.items():
                    mib = " | ".join(f"{value:,.0f}" for value in of.values())
                    print(f"| {name} | {kind} | {stage} | {mib} |")
        needs = ", ".join(f"{kind} {value:,.0f} MiB" for kind, value in sizes.items())
        print(f"| {name} | | by XLA: {needs} | | | |", flush=True)


if __name__ == "__main__":
    huge_pages.restart()
    main()
