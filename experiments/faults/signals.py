"""Signals, and outputs that close: a run saves or ends at once, and the same command goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

from experiments.faults import moments, processes
from experiments.faults.kills import ENDING, EVALUATION
from experiments.faults.processes import Ended, Process
from experiments.faults.runs import (
    PAIR,
    PLAIN,
    STEPS,
    TRAIN,
    ends_alike,
    is_alike,
    last_line,
    refused,
    together,
    train,
)
from experiments.faults.trial import Fault, Trial, expect

STOPPING = (signal.SIGTERM, signal.SIGINT)


def saves(trial: Trial) -> str:
    process = train(trial)
    process.wait_for_step(trial.random.randrange(2, 30))
    number = STOPPING[trial.number % 2]
    process.send(number)
    return _has_saved(process.wait(), number) and ends_alike(trial)


def in_a_call(name: str, most: int, trial: Trial) -> str:
    """Sends itself a signal as a function is called for one of the first times."""
    number = STOPPING[trial.number % 2]
    moment = name, trial.random.randrange(most), moments.signals(number)
    ended = train(trial, before=partial(moments.at_call, *moment)).wait()
    return _has_saved(ended, number) and ends_alike(trial)


def _has_saved(ended: Ended, number: signal.Signals) -> bool:
    name = signal.Signals(number).name
    if f" at step {STEPS}" in ended.out and ended.code == 0:
        return True  # The signal came after the last step had begun.
    expect(ended.code == 128 + number, f"exit code {ended.code}: {last_line(ended)}")
    saved = re.search(rf"stopped by {name} at step (\d+) of {STEPS}: saved", ended.out)
    expect(saved, f"it does not say that it saved: {last_line(ended)}")
    expect("Traceback" not in ended.out + ended.err, "a traceback")
    return True


def twice(trial: Trial) -> str:
    process = train(trial)
    process.wait_for_step(trial.random.randrange(2, 30))
    for _ in range(2):
        process.send(signal.SIGINT)
        time.sleep(trial.random.choice([0.0, 0.0, 0.01, 0.05]))
    ended = process.wait(20)
    # Two signals at once may be delivered as one.
    ok = ended.code == 128 + signal.SIGINT or f" at step {STEPS}" in ended.out
    expect(ok, f"exit code {ended.code}: {last_line(ended)}")
    expect("Traceback" not in ended.out + ended.err, "a traceback")
    return ends_alike(trial)


def in_a_start(trial: Trial) -> str:
    """Interrupts a start, with its imports, as a user does."""
    process = subprocess.Popen(
        [sys.executable, "-m", TRAIN, f"--workdir={trial.run}", *PLAIN],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(trial.random.uniform(0.1, 2.5))
    number = STOPPING[trial.number % 2]
    process.send_signal(number)
    out, err = process.communicate(timeout=60 * processes.slowness())
    said = Ended(process.returncode, out, err)
    ok = said.code in (128 + number, -number) or f" at step {STEPS}" in said.out
    expect(ok, f"exit code {said.code}: {last_line(said)}")
    # Before the command's own handler, Python answers Ctrl-C by a traceback.
    own = said.code == 128 + number
    expect(not own or "Traceback" not in err, f"a traceback: {last_line(said)}")
    return ends_alike(trial)


def at_a_random_time(trial: Trial) -> str:
    """Stops a forked start, which is past the imports."""
    process = train(trial)
    time.sleep(trial.random.uniform(0.0, 3.0))
    number = STOPPING[trial.number % 2]
    process.send(number)
    ended = process.wait(60)
    ok = ended.code in (128 + number, -number) or f" at step {STEPS}" in ended.out
    expect(ok, f"exit code {ended.code}: {last_line(ended)}")
    expect("Traceback" not in ended.out + ended.err, f"a traceback: {last_line(ended)}")
    return ends_alike(trial)


def hangs_up(trial: Trial) -> str:
    process = train(trial)
    process.wait_for_step(trial.random.randrange(2, 30))
    process.send(signal.SIGHUP)
    process.wait(20)
    return ends_alike(trial)


def paused(trial: Trial) -> str:
    process = train(trial)
    process.wait_for_step(5)
    process.send(signal.SIGSTOP)
    time.sleep(2.0)
    process.send(signal.SIGCONT)
    expect(process.wait().code == 0, "it did not end after it was let go on")
    return ends_alike(trial)


def reader_leaves(trial: Trial) -> str:
    """Closes the pipe that a run writes to, as `| head` does."""
    reading, writing = os.pipe()

    def into_the_pipe():
        os.dup2(writing, 1)
        os.close(reading)
        os.close(writing)

    process: Process = train(trial, before=into_the_pipe)
    os.close(writing)
    os.read(reading, 100)
    os.close(reading)
    ended = process.wait()
    expect(ended.code != 0, "it went on without its output")
    refused(ended)
    return ends_alike(trial)


def to_one_of_two_processes(trial: Trial) -> str:
    pair = together(trial)
    pair[0].wait_for_step(trial.random.randrange(2, 25))
    pair[trial.number % 2].send(signal.SIGTERM)
    ended = [each.wait() for each in pair]
    codes = [each.code for each in ended]
    expect(codes == [128 + signal.SIGTERM] * 2, f"exit codes {codes}")
    codes = [each.wait().code for each in together(trial)]
    expect(codes == [0, 0], f"started again, they ended with {codes}")
    is_alike(trial, PAIR, trial.run)
    return "both saved at one step, went on and ended bit for bit"


FAULTS = (
    Fault("SIGTERM or SIGINT between steps", saves, 2, 8),
    Fault("SIGTERM or SIGINT in an evaluation", partial(in_a_call, EVALUATION, 3), 0, 4),
    Fault("SIGTERM or SIGINT while a checkpoint is saved", partial(in_a_call, ENDING, 40), 0, 6),
    Fault("SIGTERM or SIGINT at a random time", at_a_random_time, 0, 12),
    Fault("SIGTERM or SIGINT in a start of its own", in_a_start, 1, 12),
    Fault("SIGINT twice", twice, 1, 10),
    Fault("SIGHUP", hangs_up, 0, 3),
    Fault("SIGSTOP for two seconds, then SIGCONT", paused, 0, 3),
    Fault("SIGTERM to one of two processes", to_one_of_two_processes, 0, 3, (PAIR,)),
    Fault("the reader of the run's output goes", reader_leaves, 1, 3),
)
