"""Processes of the smallest run, for tests that start them, watch them and wait for their ends."""

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

STEPS = 24
# Flags of the smallest WGAN-GP that still logs, samples, evaluates and saves.
TINY = [
    "--config=configs/wgan_gp.py",
    "--config.checkpoint_every=5",
    "--config.log_every=1",
    "--config.sample_every=12",
    "--config.eval_every=12",
    "--config.evaluation.log_likelihood=20",
    "--config.image_size=8",
    "--config.data.fit=resize",
    "--config.data.num_examples=200",
    "--config.batch_size=8",
    "--config.latent_dim=8",  # Of 5, nothing is read from the second process' shard.
    "--config.n_critic=1",
    "--config.steps_per_dispatch=1",  # A step is stopped at, not a dispatch of several.
    # Constant ones, which tests change.
    "--config.g_optimiser.learning_rate=2e-4",
    "--config.d_optimiser.learning_rate=2e-4",
    "--config.generator.widths=(4,)",
    "--config.discriminator.widths=(4,)",
]


def free_port() -> int:
    """Returns a port at which no process listens."""
    with socket.socket() as each:
        each.bind(("localhost", 0))
        return each.getsockname()[1]


class Process:
    """A process that the forker of this one has started, used as `subprocess.Popen` is.

    Args:
      module: the module of the command.
      flags: the command's flags.
      said: the folder of its output, a file that becomes the attribute `said`.
      ignored: the signals that it inherits as ignored.
      at: its current folder.
    """

    def __init__(self, module, flags, said, ignored=(), at=ROOT):
        self.said = said / "out"
        self.pid = _asked("start", module, flags, str(said), list(ignored), str(at))
        self.returncode = None

    def poll(self):
        """Returns its exit code, or None if it has not ended."""
        return self.send_signal(0)

    def send_signal(self, number):
        """Sends it a signal if it has not ended; returns its exit code, or None."""
        if self.returncode is None:
            self.returncode = _asked("signal", self.pid, number)
        return self.returncode

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout):
        """Waits for its end, and returns its output and None."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("ganjax.main", timeout, self.said.read_text())
            time.sleep(0.02)
        return self.said.read_text(errors="replace"), None


@cache
def _forker():
    """Starts the process that forks others, which have one device each."""
    forker = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(ROOT / "tests" / "forker.py")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(forker.communicate)
    return forker


def _asked(*request):
    """Returns the forker's answer to a request."""
    forker = _forker()
    forker.stdin.write(json.dumps(request) + "\n")
    forker.stdin.flush()
    return json.loads(forker.stdout.readline())


def launch(folder, flags, ignored=()):
    """Starts the command that trains, as a user does, but past the imports.

    Args:
      folder: the run's folder.
      flags: the command's other flags.
      ignored: the signals that the process inherits as ignored.

    Returns:
      The process; its output and its errors come together.
    """
    return Process("ganjax.main", [f"--workdir={folder}", *flags], _beside(folder), ignored)


def run(module, arguments, folder, at=ROOT, timeout=100):
    """Runs a command to its end, as a user does, but past the imports.

    Args:
      module: the module of the command.
      arguments: the command's arguments.
      folder: a folder of the test, beside which the command's output is kept.
      at: the current folder of the command.
      timeout: the most seconds that it may take.

    Returns:
      Its exit code, and its output with its errors.
    """
    process = Process(module, [*map(str, arguments)], _beside(folder), at=at)
    output, _ = process.communicate(timeout)
    return process.returncode, output


def _beside(folder):
    """Makes a folder beside another for what a process says."""
    return Path(tempfile.mkdtemp(prefix=f"{folder.name}-said-", dir=folder.parent))


def start(folder, count, flags=(), own=lambda i: (), port=None, numbers=None):
    """Starts processes of one run as a user does, with a device each.

    Args:
      folder: the run's folder.
      count: the number of processes in the run.
      flags: further flags of all processes.
      own: returns further flags of a process, given its number.
      port: the coordinator's port, by default a free one.
      numbers: the numbers of the processes to start, by default all.

    Returns:
      The processes.
    """
    port = port or free_port()
    joined = [f"--coordinator=localhost:{port}", f"--num_processes={count}"]
    flags = [*TINY, f"--config.total_steps={STEPS}", *flags, *joined]
    return [
        launch(folder, [*flags, *own(i), f"--process_id={i}"])
        for i in (range(count) if numbers is None else numbers)
    ]


def wait_for_step(process, step, said=None, timeout=200):
    """Waits until a process has written the metrics of a step, to its output or the file `said`."""
    deadline = time.monotonic() + timeout
    while True:
        ended = process.poll() is not None
        output = (said or process.said).read_text(errors="replace")
        found = re.findall(r"(?m)^step (\d+)/.*\n", output)
        if found and int(found[-1]) >= step:
            return
        if ended or time.monotonic() > deadline:
            pytest.fail(f"did not come to step {step}:\n{output}")
        time.sleep(0.01)


def ends(processes, timeout=120):
    """Waits for processes to end, and returns their outputs and their exit codes."""
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return outputs, [process.returncode for process in processes]
