"""Compares the speed and the memory of train steps with those of their peers, in a table.

    python -m experiments.benchmarks --keras_python=keras_venv/bin/python --loops --growth
    python -m experiments.benchmarks --rows=dcgan:celeb_a@32,cgan --rounds=4

The command needs an idle machine and runs on CPU; `pip install -e '.[bench,experiments]'` installs
PyTorch and matplotlib. TensorFlow gets an environment of its own (see keras_step.py); without
`--keras_python` the rows of Keras are marked as not measured. The rows are defined in rows.py.
Every contender runs in processes of its own. A row that fails, or whose contenders do not compute
the same, has the reason, and the command goes on with the next one.

With `--loops` the command also compares the training loop of every shipped default with its bare
step (loop.py). It writes benchmarks.json and benchmarks.md into `--out` after every row and, with
`--growth`, growth.svg: the cost of DCGAN's step against batch size, width and resolution. It prints
the Markdown.
"""

import argparse
import datetime
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from experiments.benchmarks import clock, rows, table
from experiments.tools import arguments
from ganjax.runtime import huge_pages, storage

PACKAGES = ("jax", "jaxlib", "flax", "torch", "numpy")


def machine() -> dict:
    """Returns the facts on which figures depend: date, processor, threads, load and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "processor": models[0] if models else platform.processor(),
        "threads": clock.threads(),
        "load_before": os.getloadavg()[0],
        "versions": versions,
    }


def write(results: dict, out: Path) -> None:
    """Writes the results as benchmarks.json and benchmarks.md into a folder."""
    storage.write_text(out / "benchmarks.json", json.dumps(results, indent=1) + "\n")
    storage.write_text(out / "benchmarks.md", table.markdown(results))


def selection(text: str) -> list[str]:
    """Parses names of rows with commas between them; an empty text has none.

    Raises:
      argparse.ArgumentTypeError: there is no row of a name.
    """
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in rows.NAMES:
            raise argparse.ArgumentTypeError(f"{name!r}: there are {', '.join(rows.NAMES)}")
    return names


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--out",
        type=arguments.folder,
        default="runs/benchmarks",
        help="the folder of the results",
    )
    parser.add_argument(
        "--rows",
        type=selection,
        default=list(rows.NAMES),
        metavar="NAME,...",
        help=f"which rows of {', '.join(rows.NAMES)}; all by default",
    )
    parser.add_argument(
        "--rounds", type=arguments.count, default=8, help="how often each contender is timed"
    )
    parser.add_argument(
        "--keras_python",
        type=clock.program,
        help="the Python of an environment with TensorFlow",
    )
    parser.add_argument(
        "--growth",
        action="store_true",
        help="also the cost of dcgan:celeb_a against batch size, width and resolution",
    )
    parser.add_argument(
        "--loops",
        action="store_true",
        help="also the loop of every shipped default against its bare step",
    )
    parser.add_argument(
        "--processor", action="store_true", help="of loops, counts the processor's seconds"
    )
    args = parser.parse_args(argv)
    results = {**machine(), "rows": {}, "loops": {}, "growth": []}
    for name in args.rows:
        print(f"{name} ...", file=sys.stderr, flush=True)
        row = rows.make(name, args.rounds, args.keras_python)
        results["rows"][name] = row
        if "versions" in row:
            # row["versions"] is text such as "TensorFlow 2.19, Keras 3.9".
            results["versions"] |= dict(each.split() for each in row["versions"].split(", "))
        write(results, args.out)
    for name in rows.LOOPS if args.loops else ():
        print(f"loop of {name} ...", file=sys.stderr, flush=True)
        results["loops"][name] = rows.loop(name, args.processor)
        write(results, args.out)
    for point in rows.points() if args.growth else ():
        print(f"growth {point} ...", file=sys.stderr, flush=True)
        results["growth"].append(rows.grow(point, args.rounds))
        write(results, args.out)
    if args.growth:
        table.plot(results["growth"], args.out / "growth.svg")
    print(table.markdown(results), end="")


if __name__ == "__main__":
    huge_pages.restart()
    main()
