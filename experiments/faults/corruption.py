"""Files that are not as they were written: told in one line, or passed over for the one before."""

import json
import os
import random
import shutil
from functools import partial
from pathlib import Path

from experiments.faults import processes
from experiments.faults.runs import (
    ALIKE,
    HALF,
    PLAIN,
    SAMPLE,
    STEPS,
    half_done,
    is_alike,
    last_line,
    new_folder,
    refused,
    train,
)
from experiments.faults.trial import Fault, Trial, expect

LAST = "checkpoints/21"


def flip(file: Path, drawn: random.Random) -> None:
    """Flips one bit."""
    content = bytearray(file.read_bytes())
    if content:
        content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
        file.write_bytes(content)


def cut(file: Path, drawn: random.Random) -> None:
    """Cuts off the end."""
    content = file.read_bytes()
    file.write_bytes(content[: drawn.randrange(len(content) + 1)])


def zero(file: Path, drawn: random.Random) -> None:
    """Sets up to 512 bytes to zero, as a disk that loses a sector does."""
    content = bytearray(file.read_bytes())
    start = drawn.randrange(len(content) + 1)
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    file.write_bytes(content)


def empty(file: Path, drawn: random.Random) -> None:
    """Empties a file."""
    del drawn
    file.write_bytes(b"")


def remove(file: Path, drawn: random.Random) -> None:
    """Removes a file."""
    del drawn
    file.unlink()


DAMAGES = {"flipped": flip, "cut": cut, "zeroed": zero, "emptied": empty, "removed": remove}


def a_checkpoint(damage: str, trial: Trial) -> str:
    """Damages a file of the last of two checkpoints: the run goes on from it or from the other."""
    run = half_done(trial)
    files = sorted(path for path in (run / LAST).rglob("*") if path.is_file())
    DAMAGES[damage](trial.random.choice(files), trial.random)
    return _goes_on(trial)


def both_checkpoints(trial: Trial) -> str:
    """Damages both: it is refused, or what was damaged did not matter."""
    run = half_done(trial)
    for step in (14, 21):
        file = next((run / f"checkpoints/{step}/state/d").iterdir())
        DAMAGES["zeroed"](file, trial.random)
    return _goes_on(trial)


def _goes_on(trial: Trial, but: tuple[str, ...] = ()) -> str:
    ended = train(trial).wait()
    expect("Traceback" not in ended.out + ended.err, f"a traceback: {last_line(ended)}")
    if ended.code:
        return refused(ended)
    expect(f" at step {STEPS}" in ended.out, last_line(ended))
    is_alike(trial, "plain", trial.run, but)
    passed_over = "is taken instead" in ended.err
    return f"told; the one before was taken, and it {ALIKE}" if passed_over else f"it {ALIKE}"


def a_small_file(name: str, trial: Trial) -> str:
    """Damages a file beside the checkpoints. A line of metrics that is damaged stays lost."""
    run = half_done(trial)
    damage = trial.random.choice([*DAMAGES])
    DAMAGES[damage](run / name, trial.random)
    return _goes_on(trial, but=("metrics",) if name == "metrics.jsonl" else ())


def a_compiled_program(trial: Trial) -> str:
    """Flips bits in every program of the compiler's cache."""
    cache = trial.folder / "cache"
    shutil.copytree(os.environ[processes.CACHE], cache)
    for file in cache.rglob("*"):
        if file.is_file():
            flip(file, trial.random)
    ended = train(trial, environment={processes.CACHE: str(cache)}).wait()
    expect(ended.code == 0, f"exit code {ended.code}: {last_line(ended)}")
    is_alike(trial, "plain", trial.run)
    return "ended bit for bit"


def sampled(trial: Trial) -> str:
    """Damages a file of the last checkpoint before it is sampled, which changes nothing."""
    run = half_done(trial)
    files = sorted(path for path in (run / LAST).rglob("*") if path.is_file())
    DAMAGES[trial.random.choice([*DAMAGES])](trial.random.choice(files), trial.random)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    arguments = [f"--workdir={run}", "--num=4", f"--out={trial.folder / 'a.png'}"]
    ended = processes.command(SAMPLE, arguments, new_folder(trial)).wait()
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    expect(before == after, "the run's folder has changed")
    if ended.code:
        return refused(ended)
    other = "is taken instead" in ended.err
    return "told; the one before was sampled" if other else "sampled"


def a_prepared_set(trial: Trial) -> str:
    """Damages a file of a prepared set, which is then shown."""
    out = trial.folder / "set"
    arguments = ["--source=embedded:mnist5k", "--size=8", "--channels=1", f"--out={out}"]
    ended = processes.command("ganjax.data.prepare", arguments, new_folder(trial)).wait()
    expect(ended.code == 0, last_line(ended))
    run = train(trial, [*PLAIN, f"--config.data.source=records:{out}"], folder=trial.folder / "a")
    expect(run.wait().code == 0, "it was not trained on")
    file = trial.random.choice(sorted(out.glob("*.*")))
    DAMAGES[trial.random.choice([*DAMAGES])](file, trial.random)
    ended = train(trial, [*PLAIN, f"--config.data.source=records:{out}"]).wait()
    if ended.code:
        return refused(ended)
    other = (trial.folder / "a" / "metrics.jsonl").read_text().splitlines()
    rows = (trial.run / "metrics.jsonl").read_text().splitlines()
    same = [{**json.loads(row), "images_per_second": 0} for row in rows] == [
        {**json.loads(row), "images_per_second": 0} for row in other
    ]
    expect(same, f"{file.name}: it was trained on other images")
    return "trained on the same images"


FAULTS = (
    *(
        Fault(
            f"a file of the last checkpoint is {damage}",
            partial(a_checkpoint, damage),
            n,
            12,
            (HALF,),
        )
        for damage, n in zip(DAMAGES, (2, 0, 0, 0, 0), strict=True)
    ),
    Fault("the arrays of both checkpoints are damaged", both_checkpoints, 1, 4, (HALF,)),
    Fault("config.json is damaged", partial(a_small_file, "config.json"), 0, 12, (HALF,)),
    Fault("data.json is damaged", partial(a_small_file, "data.json"), 0, 6, (HALF,)),
    Fault("metrics.jsonl is damaged", partial(a_small_file, "metrics.jsonl"), 1, 10, (HALF,)),
    Fault("a bit of each compiled program is flipped", a_compiled_program, 0, 4),
    Fault("a file of a checkpoint that is sampled is damaged", sampled, 1, 12, (HALF,)),
    Fault("a file of a prepared set is damaged", a_prepared_set, 0, 10),
)
