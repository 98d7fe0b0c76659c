"""Measures the time from a command's start to the end of its first train step, and what takes it.

    python -m experiments.benchmarks.start --config=wgan_gp --rounds=3
    python -m experiments.benchmarks.start --config=ada:emoji64 --keras_python=keras_venv/bin/python

`ganjax train` is started in a fresh process with an empty and with a filled cache of programs: when
does it print its first line, and when that its first step is done? Another process, which tells the
time between its parts, splits this into imports, the config and its data (which traces the
networks), the initial state, the open files, and the first step; of each part it says how long JAX
traced, lowered and compiled programs. Beside it stand peers that take their first step on random
images, from the start of their process too: PyTorch, where the config has a peer, without the
imports of JAX and ganjax, which only read the config; and, for `ada:emoji64`, Keras on TensorFlow
as a tf.function.

Times are medians of the rounds, in which all sides take turns; in brackets are the seconds of the
processor, on which other programs of the machine have less influence.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from experiments import ROOT

# The environment variable with the time at which the process that reads it was started.
STARTED = "GANJAX_BENCHMARK_STARTED"
# How a line of `ganjax train` begins whose first step has ended.
FIRST_STEP = "first step after"
EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
# The sides that are measured with an empty and with a filled cache of programs.
OURS, PARTS = "ganjax", "its parts"
Seconds = dict[str, float]


def spawned(arguments: list[str], cache: Path, on_line: Callable[[str, float], bool]) -> float:
    """Runs a Python process until it ends or has written what is waited for, and then kills it.

    Args:
      arguments: the arguments of Python.
      cache: the folder of the cache of programs.
      on_line: the function that is called with each line of the output and the seconds since the
        start, and returns whether the process is no longer needed.

    Returns:
      The processor's seconds that it took.
    """
    begin = time.time()
    environment = os.environ | {
        STARTED: str(begin),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None  # As it is a pipe.
    for line in process.stdout:
        if on_line(line, time.time() - begin):
            break
    os.kill(process.pid, signal.SIGKILL)  # Popen.kill may wait, and lose what the process used.
    process.stdout.close()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return used.ru_utime + used.ru_stime


def of_command(config: str, cache: Path) -> Seconds:
    """Returns the seconds until the first `line` and the `step` of the command, and `processor`."""
    found: Seconds = {}

    def seen(line: str, seconds: float) -> bool:
        found.setdefault("line", seconds)
        if FIRST_STEP in line:
            found["step"] = seconds
        return "step" in found

    with tempfile.TemporaryDirectory() as folder:
        arguments = ["ganjax", "train", config, f"--workdir={folder}/run"]
        used = spawned([sys.executable, "-m", *arguments], cache, seen)
    if "step" not in found:
        raise SystemExit(f"ganjax train {config} ended before its first step")
    return found | {"processor": used}


def of_child(function: str, config: str, cache: Path) -> Seconds:
    """Returns what a function of this module writes as JSON in a process of its own."""
    found: Seconds = {}

    def seen(line: str, seconds: float) -> bool:
        del seconds
        with contextlib.suppress(ValueError):
            found.update(json.loads(line))
        return bool(found)

    program = f"from experiments.benchmarks import start; start.{function}({config!r})"
    spawned([sys.executable, "-c", program], cache, seen)
    if not found:
        raise SystemExit(f"start.{function} of {config} ended without a result")
    return found


def split(config: str) -> None:
    """Trains a config to its first step, and writes the seconds of each part as JSON.

    Called in a process of its own.
    """
    parts: dict[str, Seconds] = defaultdict(lambda: defaultdict(float))
    stage, begin = "imports", float(os.environ[STARTED])

    def enter(following: str) -> None:
        nonlocal stage, begin
        now = time.time()
        parts[stage]["all"] += now - begin
        stage, begin = following, now

    from unittest import mock

    from jax import monitoring

    from experiments.tools.configs import named
    from ganjax.runtime import compiling
    from ganjax.training import loop, setup

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event in EVENTS:
            parts[stage][EVENTS[event]] += duration_secs

    monitoring.register_event_duration_secs_listener(listen)
    compiling.keep_programs()
    compiling.trim_memory()

    prepare, restore, advance = setup.prepare, setup.Run.restore, loop._advance

    def prepared(*args: Any) -> Any:
        enter("config and data")
        return prepare(*args)

    def restored(*args: Any) -> Any:
        import jax

        enter("initial state")
        state = jax.block_until_ready(restore(*args))
        enter("files")
        return state

    def advanced(*args: Any) -> Any:
        import jax

        enter("first step")
        jax.block_until_ready(advance(*args))
        enter("")
        raise KeyboardInterrupt

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(setup, "prepare", prepared),
        mock.patch.object(setup.Run, "restore", restored),
        mock.patch.object(loop, "_advance", advanced),
        contextlib.suppress(KeyboardInterrupt),
        contextlib.redirect_stdout(sys.stderr),
    ):
        loop.train(named(config), Path(folder) / "run")
    flat = {
        part if kind == "all" else f"{part}: {kind}": seconds
        for part, kinds in parts.items()
        for kind, seconds in kinds.items()
    }
    print(json.dumps(flat))


def torch_step(config: str) -> None:
    """Takes PyTorch's first step, eagerly, and writes `step` and `processor` as JSON.

    Called in a process of its own.
    """
    import torch  # noqa: F401

    before, used = time.time(), time.process_time()
    from experiments.benchmarks import step
    from experiments.benchmarks.ours import load

    loaded = load(config)
    others, processor = time.time() - before, time.process_time() - used
    step.alone(loaded, "torch eager")()
    seconds = time.time() - float(os.environ[STARTED]) - others
    print(json.dumps({"step": seconds, "processor": time.process_time() - processor}))


def keras_step(python: str) -> Seconds:
    """Returns the seconds until Keras' first `step` in the environment of a Python."""
    from experiments.benchmarks.keras_step import CONFIG, CONTENDERS, FIELDS, Peer
    from experiments.benchmarks.ours import Start, load

    ours = Start(load(CONFIG, **FIELDS))
    begin = time.time()
    with Peer(python, ours, CONTENDERS["keras tf.function"], "float32") as peer:
        peer.steps(1)
        return {"step": time.time() - begin}


def measure(config: str, rounds: int, python: str | None) -> dict[str, Seconds]:
    """Measures each side in turn, and returns its medians by the names of the sides."""
    sides: dict[str, Callable[[Path], Seconds]] = {
        OURS: partial(of_command, config),
        PARTS: partial(of_child, "split", config),
    }
    if has_torch_peer(config):
        sides["torch eager"] = partial(of_child, "torch_step", config)
    if python is not None and config == "ada:emoji64":
        sides["keras tf.function"] = lambda _: keras_step(python)
    found: dict[str, list[Seconds]] = defaultdict(list)
    for _ in range(rounds):
        for name, side in sides.items():
            with tempfile.TemporaryDirectory() as cache:
                if name in (OURS, PARTS):  # The first process fills the cache for the second.
                    for kind in ("cold", "warm"):
                        found[f"{name}, {kind}"].append(side(Path(cache)))
                else:
                    found[name].append(side(Path(cache)))
    return {
        name: {part: median(each[part] for each in rows) for part in rows[0]}
        for name, rows in found.items()
    }


def has_torch_peer(config: str) -> bool:
    """Returns whether PyTorch is installed and has a peer of a config."""
    try:
        from experiments.benchmarks import step
    except ModuleNotFoundError:
        return False
    from experiments.benchmarks.ours import load
    from ganjax.errors import UserError

    try:
        step.kind(load(config).config)
    except UserError:
        return False
    return True


def line(name: str, found: Seconds) -> str:
    """Returns a side's medians as text."""
    texts = [f"{part} {seconds:.2f}" for part, seconds in found.items() if part != "processor"]
    used = f" ({found['processor']:.2f})" if "processor" in found else ""
    return f"{name}, s: {'; '.join(texts)}{used}"


def main() -> None:
    from experiments.benchmarks import clock
    from experiments.tools import arguments

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--config", default="wgan_gp", help="<name>[:<preset>] of configs/")
    parser.add_argument("--rounds", type=arguments.count, default=3)
    parser.add_argument(
        "--keras_python", type=clock.program, help="the Python of an environment with TensorFlow"
    )
    args = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}", flush=True)
    for name, found in measure(args.config, args.rounds, args.keras_python).items():
        print(line(name, found), flush=True)


if __name__ == "__main__":
    main()
