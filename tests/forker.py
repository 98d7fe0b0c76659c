"""A process that forks commands of ganjax, for which it has imported what they import.

Each line of its standard input is a request as JSON, and each line of its output the answer.
"""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

from experiments.faults import processes


def together(ignored: list[int]) -> None:
    """Sends errors where the output goes, and lets this process ignore these signals alone."""
    os.dup2(1, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # The forker itself may have inherited ignored ones, as with nohup, a shell script or CI.
    handlers = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_IGN if number in ignored else handler)


def main() -> None:
    """Answers requests until there are no more."""
    processes.load()
    started = {}
    for line in sys.stdin:
        request, *arguments = json.loads(line)
        if request == "start":
            module, flags, said, ignored, at = arguments
            before = partial(together, ignored)
            child = processes.command(module, flags, Path(said), at=Path(at), before=before)
            started[child.pid] = child
            answer = child.pid
        else:
            pid, number = arguments
            if number:
                started[pid].send(number)
            answer = started[pid].poll()
        print(json.dumps(answer), flush=True)


main()
