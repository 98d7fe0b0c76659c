"""Runs a function of a benchmark in a process of its own, with memory and a compiler of its own.

    python -m experiments.benchmarks.job step.compare FIELDS OUT

FIELDS are the function's arguments as JSON; the function's result is written to OUT as JSON.
"""

import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from experiments import ROOT
from ganjax.runtime import storage


class Failed(Exception):
    """An error of a job that ended without a result; the message is the job's last line."""


def run(function: str, **fields):
    """Runs a job in a new process and waits for it.

    Args:
      function: the function, as module.name within this package.
      **fields: the function's arguments, of JSON's types.

    Returns:
      The function's result, of JSON's types.

    Raises:
      Failed: the process ended without a result.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, errors = Path(folder) / "result.json", Path(folder) / "stderr"
        command = [sys.executable, "-m", __spec__.name, function, json.dumps(fields), str(out)]
        with errors.open("wb") as stderr:
            # stdout is for the table alone; the job's output is progress.
            status = subprocess.run(command, cwd=ROOT, stdout=sys.__stderr__, stderr=stderr)
        text = errors.read_text(errors="replace")
        if status.returncode or not out.exists():
            print(text, file=sys.stderr, flush=True)
            lines = text.strip().splitlines() or ["nothing was written"]
            raise Failed(f"{lines[-1].strip()} (exit status {status.returncode})")
        return json.loads(out.read_text())


def called(function: str, fields: str):
    """Calls a function of this package, "module.name", with arguments that are given as JSON."""
    module, _, name = function.rpartition(".")
    module = importlib.import_module(f"{__package__}.{module}")
    return getattr(module, name)(**json.loads(fields))


def main() -> None:
    function, fields, out = sys.argv[1:]
    storage.write_text(Path(out), json.dumps(called(function, fields)))


if __name__ == "__main__":
    main()
