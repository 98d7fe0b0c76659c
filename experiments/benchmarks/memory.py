"""Measures the resident memory of a train step's process, in MiB after every stage, on Linux.

    python -m experiments.benchmarks.memory --rows=dcgan:celeb_a@32,wgan_gp:celeb_a@32,progan@32

The rows are those of the table (rows.py). Each is measured twice, in processes of its own: with the
program compiled, and with the program read from the compilation cache. "anonymous" is memory that
the process has written to, "files" are the pages of libraries that it has touched, and "peak" is
the largest sum of both so far. "temporaries" is the memory that the step needs in addition to its
state, according to XLA.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import jax

from experiments.benchmarks import job
from experiments.benchmarks.clock import peak_mib
from experiments.benchmarks.ours import STEPS, load, random_batch, train_step
from experiments.benchmarks.rows import ROWS
from ganjax.engine.step import init_state
from ganjax.runtime import compiling, huge_pages


def resident() -> dict[str, float]:
    """Returns the resident memory of this process, and its peak so far, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    anonymous, files = (int(fields[name].split()[0]) / 2**10 for name in ("RssAnon", "RssFile"))
    return {"anonymous": anonymous, "files": files, "peak": peak_mib()}


def stages(config: str, fields: dict, cache: str) -> dict[str, dict[str, float]]:
    """Measures this process at every stage.

    Args:
      config: the name of a config, as `experiments.benchmarks.ours.load` takes it.
      fields: values for some of its fields.
      cache: the folder of the compilation cache.

    Returns:
      The result of `resident` after each stage. The entry "of XLA" holds the MiB of the step's
      "state" and "temporaries" according to XLA.
    """
    measured = {"imports": resident()}
    compiling.keep_programs(cache)
    compiling.trim_memory()
    loaded = load(config, **fields)
    algorithm, key = loaded.module.build(loaded.config), jax.random.key(0)
    state = jax.block_until_ready(jax.jit(partial(init_state, algorithm))(key))
    measured["state"] = resident()
    batch = jax.device_put(random_batch(loaded, algorithm))
    lowered = train_step(algorithm).lower(state, batch, key, phase=algorithm.phases[0])
    measured["lowered"] = resident()
    compiled = lowered.compile()
    del lowered
    measured["compiled"] = resident()
    for _ in range(STEPS):
        state, _ = jax.block_until_ready(compiled(state, batch, key))
    measured["steps"] = resident()
    sizes: Any = compiled.memory_analysis()  # CPUs and GPUs have one.
    measured["of XLA"] = {
        "state": sizes.alias_size_in_bytes / 2**20,
        "temporaries": sizes.temp_size_in_bytes / 2**20,
    }
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=lambda text: text.split(","), default=["dcgan:celeb_a@32"])
    args = parser.parse_args()
    if unknown := set(args.rows) - set(ROWS):
        parser.error(f"--rows={','.join(args.rows)}: no {min(unknown)!r}; there are {list(ROWS)}")
    if sys.platform != "linux":
        parser.error("resident memory is read from /proc, which only Linux has")
    print("| row | cache | stage | anonymous | files | peak |\n" + "|---" * 6 + "|")
    for name in args.rows:
        row = ROWS[name]
        with tempfile.TemporaryDirectory() as cache:
            for kind in ("cold", "warm"):
                which = {"config": row.config, "fields": row.fields}
                measured = job.run("memory.stages", **which, cache=cache)
                sizes = measured.pop("of XLA")
                for stage, memory in measured.items():
                    mib = " | ".join(f"{value:,.0f}" for value in memory.values())
                    print(f"| {name} | {kind} | {stage} | {mib} |")
        needs = ", ".join(f"{kind} {value:,.0f} MiB" for kind, value in sizes.items())
        print(f"| {name} | | by XLA: {needs} | | | |", flush=True)


if __name__ == "__main__":
    huge_pages.restart()
    main()
