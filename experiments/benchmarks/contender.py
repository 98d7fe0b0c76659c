"""Runs one contender of a comparison in a process of its own, which takes steps on request.

    python -m experiments.benchmarks.contender step.contender FIELDS

Contenders have processes of their own because one framework slows another in the same process
(docs/speed.md). FIELDS are the function's arguments as JSON, and it returns a step. The process
writes a line of JSON when it is ready, and answers each line that it reads, such as {"steps": 5},
with a line: the seconds of each of that many steps, or {"error": ...}.
"""

import contextlib
import json
import os
import subprocess
import sys
import traceback
from typing import Any

from experiments import ROOT
from experiments.benchmarks.clock import steps_of
from experiments.benchmarks.job import Failed, called


class Contender:
    """A process that answers each line of JSON with a line of JSON.

    It is a context manager, which ends the process on exit. Its constructor and its methods raise
    `Failed` if the process ends instead of answering, or answers with an error.

    Args:
      command: the command that starts the process, whose first line is a greeting.
      **options: options of `subprocess.Popen`.

    Attributes:
      hello: the process' greeting.
    """

    def __init__(self, command: list[str], **options):
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )
        assert self._process.stdin is not None  # As both are pipes.
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        try:
            self.hello = self._read()
        except BaseException:
            self.__exit__()
            raise

    def ask(self, **request) -> Any:
        """Sends a request and returns the answer."""
        # If the process has ended, reading the answer raises the error.
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
        return self._read()

    def steps(self, count: int) -> list[float]:
        """Takes `count` steps in a row and returns the seconds of each."""
        return self.ask(steps=count)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._answers.close()
        self._process.wait()

    def _read(self) -> Any:
        line = self._answers.readline()
        if not line:
            raise Failed(f"a contender ended with status {self._process.wait()}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise Failed(answer["error"])
        return answer


def start(function: str, **fields) -> Contender:
    """Starts a contender of this package.

    Args:
      function: the function that returns its step, as module.name within this package.
      **fields: the function's arguments, of JSON's types.
    """
    command = [sys.executable, "-m", __spec__.name, function, json.dumps(fields)]
    return Contender(command, cwd=ROOT)


def main() -> None:
    # stdout is for answers alone; all other output is progress and goes to stderr.
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        try:
            run = steps_of(called(*sys.argv[1:]))
            print(json.dumps("ready"), file=answers)
            for line in sys.stdin:
                print(json.dumps(run(json.loads(line)["steps"])), file=answers)
        except Exception as error:
            traceback.print_exc()
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)
            sys.exit(1)


if __name__ == "__main__":
    main()
