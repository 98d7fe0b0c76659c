"""Processes of the smallest run, for tests that start them, watch them and wait for their ends."""

import os
import re
import socket
import subprocess
import sys

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
    "--config.image_size=16",
    "--config.data.fit=resize",
    "--config.data.num_examples=200",
    "--config.batch_size=8",
    "--config.n_critic=1",
    "--config.generator.widths=(4,4)",
    "--config.discriminator.widths=(4,4)",
]


def free_port() -> int:
    """Returns a port at which no process listens."""
    with socket.socket() as each:
        each.bind(("localhost", 0))
        return each.getsockname()[1]


def launch(folder, flags, environment=os.environ):
    """Starts the command that trains in a process of its own, as a user does.

    Args:
      folder: the run's folder.
      flags: the command's other flags.
      environment: the environment of the process.

    Returns:
      The process, as `subprocess.Popen`; its output and its errors come together.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "ganjax.main", f"--workdir={folder}", *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


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
      The processes, as `subprocess.Popen`.
    """
    port = port or free_port()
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    joined = [f"--coordinator=localhost:{port}", f"--num_processes={count}"]
    flags = [*TINY, f"--config.total_steps={STEPS}", *flags, *joined]
    return [
        launch(folder, [*flags, *own(i), f"--process_id={i}"], environment)
        for i in (range(count) if numbers is None else numbers)
    ]


def wait_for_step(process, step):
    """Reads the output of a process until it has written the metrics of a step."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        found = re.match(r"step (\d+)/", line)
        if found and int(found[1]) >= step:
            return
    pytest.fail(f"ended before step {step}:\n{''.join(lines)}")


def ends(processes, timeout=120):
    """Waits for processes to end, and returns their outputs and their exit codes."""
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return outputs, [process.returncode for process in processes]
