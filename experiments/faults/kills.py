"""SIGKILL, which nothing can prepare for: the same command goes on and ends bit for bit."""

import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from experiments.faults import moments, processes
from experiments.faults.runs import (
    ALIKE,
    GROWING,
    HALF,
    PAIR,
    RUNS,
    SAMPLE,
    changes,
    ends_alike,
    finish,
    half_done,
    is_alike,
    last_line,
    new_folder,
    together,
    train,
)
from experiments.faults.trial import Fault, Trial, expect

# Changes of a run's folder, by what is done.
WRITTEN = r"^(open|make|remove) checkpoints/\d+\.orbax-checkpoint-tmp"
NAMED = r"^rename checkpoints/\d+\.orbax-checkpoint-tmp"
REMOVED = r"^remove checkpoints/\d+(/|$)"
CLAIMED = r"^(make|open|rename|remove) (samples$|metrics|\.|tensorboard)"
PICTURES = r"samples/"
# The seconds within which a run of its own, or the rest of one, has begun and ended.
WHOLE, REST = 4.0, 2.5
EVALUATION = "ganjax.training.actions:Evaluation._figures"
ENDING = "ganjax.training.orbax:storage.sync"
PREPARE = "ganjax.data.prepare"


def at_random_steps(trial: Trial) -> str:
    for step in sorted(trial.random.sample(range(1, 38), 3)):
        process = train(trial)
        process.wait_for_step(step)
        process.kill()
    return ends_alike(trial)


def at_a_random_time(trial: Trial) -> str:
    _kill_after(train(trial), trial.random.uniform(0, WHOLE))
    return ends_alike(trial)


def while_going_on(trial: Trial) -> str:
    half_done(trial)
    for _ in range(2):
        _kill_after(train(trial), trial.random.uniform(0, REST))
    return ends_alike(trial)


def _kill_after(process: processes.Process, seconds: float) -> None:
    time.sleep(seconds)
    process.kill()


def at_a_change(matches: str, trial: Trial) -> str:
    """Kills before one of the changes of the run's folder that a pattern matches."""
    seen, found = Counter(), []
    for change in changes(trial):
        if re.search(matches, change):
            found.append((change, seen[change]))
        seen[change] += 1
    change, count = trial.random.choice(found)
    moment = partial(moments.at_change, trial.run, change, count, moments.kill)
    ended = train(trial, before=moment).wait()
    expect(ended.code == -signal.SIGKILL, f"{change!r} {count} did not come")
    return ends_alike(trial)


def at_a_call(name: str, most: int, trial: Trial, kind: str = "plain") -> str:
    """Kills as a function is called for one of the first times."""
    moment = partial(moments.at_call, name, trial.random.randrange(most), moments.kill)
    ended = train(trial, RUNS[kind], before=moment).wait()
    expect(ended.code == -signal.SIGKILL, f"{name} was not called")
    return ends_alike(trial, kind)


def at_a_resolution(trial: Trial) -> str:
    return at_a_call("ganjax.training.loop:_begin", 1, trial, "growing")


def within_a_fade(trial: Trial) -> str:
    process = train(trial, GROWING)
    process.wait_for_step(trial.random.randrange(4, 14))
    process.kill()
    return ends_alike(trial, "growing")


def as_programs_are_cached(trial: Trial) -> str:
    """Kills as the compiler's cache, which is empty, takes up a program."""
    cache = trial.folder / "cache"
    own = {processes.CACHE: str(cache)}
    before = _kill_at_any_change(cache, trial.random.randrange(8))
    ended = train(trial, environment=own, before=before).wait()
    expect(ended.code == -signal.SIGKILL, "nothing was put into the cache")
    finish(trial, environment=own)
    is_alike(trial, "plain", trial.run)
    return ALIKE


def one_of_two_processes(trial: Trial) -> str:
    pair = together(trial)
    pair[0].wait_for_step(trial.random.randrange(3, 30))
    pair[1].kill()
    # The other waits for it, in vain, and ends too.
    expect(pair[0].wait(60).code != 0, "the other process went on alone")
    codes = [each.wait().code for each in together(trial)]
    expect(codes == [0, 0], f"started again, they ended with {codes}")
    is_alike(trial, PAIR, trial.run)
    return ALIKE


def while_samples_are_written(trial: Trial) -> str:
    """Kills `ganjax sample` before one of its changes: its files are whole or not there."""
    out, raw = trial.folder / "out" / "a.png", trial.folder / "out" / "a.npz"
    out.parent.mkdir()
    arguments = [f"--workdir={trial.shared / 'plain'}", "--num=9", f"--out={out}", f"--raw={raw}"]
    arguments.append("--overwrite")
    before = _kill_at_any_change(out.parent, trial.random.randrange(7))
    processes.command(SAMPLE, arguments, new_folder(trial), before=before).wait()
    if raw.exists():
        with np.load(raw) as arrays:
            expect(arrays["image"].shape[0] == 9, "a file of arrays is not whole")
    if out.exists():
        expect(out.read_bytes().endswith(b"IEND\xaeB`\x82"), "a picture is not whole")
    ended = processes.command(SAMPLE, arguments, new_folder(trial)).wait()
    expect(ended.code == 0 and out.exists() and raw.exists(), f"then: {last_line(ended)}")
    return "files whole or not there"


def while_a_set_is_prepared(trial: Trial) -> str:
    """Kills `ganjax prepare` twice; the third ends with the set that an undisturbed one makes."""
    sets = trial.folder / "sets"
    arguments = ["--source=embedded:emoji64", "--size=64", f"--out={sets / 'set'}"]
    for _ in range(2):
        before = _kill_at_any_change(sets, trial.random.randrange(40))
        processes.command(PREPARE, arguments, new_folder(trial), before=before).wait()
    for out in (arguments[-1], f"--out={trial.folder / 'undisturbed'}"):
        ended = processes.command(PREPARE, [*arguments[:-1], out], new_folder(trial)).wait()
        expect(ended.code == 0, f"then it failed: {last_line(ended)}")
    made, undisturbed = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (sets / "set", trial.folder / "undisturbed")
    )
    expect(made == undisturbed, "the set is another")
    return "went on and made the same set"


def _kill_at_any_change(folder: Path, count: int) -> Callable[[], None]:
    """Returns a function by which a process is killed before a change of a folder."""
    left = count

    def tell(change):
        nonlocal left
        left -= 1
        if left < 0:
            moments.kill()

    return partial(moments.on_changes, folder, tell)


FAULTS = (
    Fault("at three random steps of a run", at_random_steps, 1, 15),
    Fault("at a random time from the start", at_a_random_time, 1, 15),
    Fault("at random times of going on, twice", while_going_on, 1, 12, (HALF,)),
    Fault("as the folder is made and claimed", partial(at_a_change, CLAIMED), 0, 8),
    Fault("as a checkpoint is written", partial(at_a_change, WRITTEN), 1, 15),
    Fault("as a checkpoint gets its name", partial(at_a_change, NAMED), 1, 6),
    Fault("as an old checkpoint is removed", partial(at_a_change, REMOVED), 1, 12),
    Fault("as pictures are written", partial(at_a_change, PICTURES), 0, 6),
    Fault("in an evaluation", partial(at_a_call, EVALUATION, 3), 1, 4),
    Fault("as a checkpoint is put on the disk", partial(at_a_call, ENDING, 5), 0, 6),
    Fault("as a resolution begins", at_a_resolution, 0, 3, ("growing",)),
    Fault("within a fade", within_a_fade, 0, 5, ("growing",)),
    Fault("as a compiled program is cached", as_programs_are_cached, 0, 4),
    Fault("of one of two processes", one_of_two_processes, 0, 4, (PAIR,)),
    Fault("as samples are written", while_samples_are_written, 1, 8),
    Fault("twice while a set is prepared", while_a_set_is_prepared, 0, 5),
)
