"""Tries faults on the smallest runs, and writes a table of what happened.

    python -m experiments.faults --short         two minutes on two cores: what CI tries
    python -m experiments.faults --out=faults.md an hour: the tables of docs/faults.md
    python -m experiments.faults --kinds=kills,disk --only=checkpoint

Each fault is a small function in the module of its kind, and each of its trials a process with a
folder of its own, which is kept if something else happened than what is expected. The exit code is
then 1. Faults that need root, such as a full disk, are not tried without.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from experiments.faults import (
    corruption,
    disk,
    files,
    inputs,
    kills,
    processes,
    races,
    runs,
    signals,
    table,
    trial,
)
from experiments.tools import arguments
from ganjax.runtime import storage

# The heading and the faults of each kind.
KINDS = {
    "kills": ("SIGKILL", kills.FAULTS),
    "signals": ("Signals", signals.FAULTS),
    "disk": ("Disks and limits", disk.FAULTS),
    "corruption": ("Damaged files", corruption.FAULTS),
    "races": ("Processes side by side", races.FAULTS),
    "inputs": ("Input", inputs.FAULTS),
    "files": ("Files that are nearly right", files.FAULTS),
}


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    kinds = {
        heading: [fault for fault in faults if args.only in fault.name]
        for heading, faults in (KINDS[kind] for kind in args.kinds)
    }
    planned = [
        (fault, number)
        for faults in kinds.values()
        for fault in faults
        for number in range(fault.short if args.short else fault.whole)
    ]
    folder = Path(tempfile.mkdtemp(prefix="ganjax_faults_"))
    shared, trials = folder / "shared", folder / "trials"
    shared.mkdir()
    trials.mkdir()
    os.environ[processes.SLOWNESS] = str(args.slowness)
    os.environ[processes.CACHE] = str(folder / "cache")
    processes.load()
    runs.prepare(shared, {need for fault, _ in planned for need in fault.needs})
    outcomes = defaultdict(list)
    command = " ".join(["python -m experiments.faults", *sys.argv[1:]])
    for fault, number, outcome in trial.run_all(planned, trials, shared, args.jobs):
        outcomes[fault.name].append(outcome)
        if outcome.verdict == "unexpected":
            print(f"{fault.name}, {number}: {outcome.happened}", file=sys.stderr, flush=True)
        if args.out:  # Of the trials so far, for who ends this before its end.
            storage.write_text(args.out, table.markdown(kinds, outcomes, command))
    print(table.markdown(kinds, outcomes, command), end="")
    failed = any(each.verdict == "unexpected" for found in outcomes.values() for each in found)
    if failed:
        print(f"what failed is in {trials}", file=sys.stderr)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="tries a few of each kind only")
    parser.add_argument(
        "--kinds", type=_kinds, default=[*KINDS], help=f"some of {','.join(KINDS)}; all by default"
    )
    parser.add_argument("--only", default="", help="only the faults with this in their name")
    parser.add_argument(
        "--out", type=arguments.file, help="a file for the tables, which are printed too"
    )
    parser.add_argument(
        "--jobs", type=arguments.jobs, default=os.cpu_count(), help="how many trials at once"
    )
    parser.add_argument(
        "--slowness",
        type=arguments.positive,
        default=1.0,
        help="how many times as long as on an idle machine all may take before it counts as hung",
    )
    return parser.parse_args(argv)


def _kinds(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in KINDS:
            raise argparse.ArgumentTypeError(f"{name!r}: there are {', '.join(KINDS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
