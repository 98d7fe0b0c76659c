"""A contender of a comparison in a process of its own: it steps when it is its turn.

    python -m experiments.benchmarks.contender step.contender FIELDS

What one framework leaves in a process slows another: beside PyTorch's peers and a step in float64,
DCGAN's step at batch 128 took up to a fifth longer than alone. FIELDS are the function's arguments
in JSON; it returns a step. The process writes a line of JSON when it is ready, and one for each
line that it reads: {"steps": 5} -> the seconds that each of so many steps takes, or {"error": ...}.
"""

import contextlib
import json
import os
import subprocess
import sys
import traceback

from experiments.benchmarks.clock import steps_of
from experiments.benchmarks.job import ROOT, Failed, called


class Contender:
    """A process that answers each line of JSON with one; to be closed.

    Args:
      command: that begins it, its first line a greeting.
      **options: of `subprocess.Popen`.

    Attributes:
      hello: what the greeting says.

    Raises:
      Failed: it ended instead of answering, or answers with an error; here as in what follows.
    """

    def __init__(self, command: list[str], **options):
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )
        try:
            self.hello = self._read()
        except BaseException:
            self.__exit__()
            raise

    def ask(self, **request):
        # Of one that has ended nothing is to be read either, which says so.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._read()

    def steps(self, count: int) -> list[float]:
        """The seconds of as many steps in a row."""
        return self.ask(steps=count)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"a contender ended with status {self._process.wait()}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise Failed(answer["error"])
        return answer


def start(function: str, **fields) -> Contender:
    """A contender of this package.

    Args:
      function: module.name within it.
      **fields: its arguments, of JSON's types.
    """
    command = [sys.executable, "-m", __spec__.name, function, json.dumps(fields)]
    return Contender(command, cwd=ROOT)


def main() -> None:
    # What is printed is progress: the standard output is the answers' alone.
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
