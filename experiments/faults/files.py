"""Files that are nearly right, for every reader of files from elsewhere (see `fuzz`)."""

import json
import os
from functools import partial

from experiments.faults import processes
from experiments.faults.runs import last_line, new_folder
from experiments.faults.trial import Fault, Trial, expect

# How many files a trial reads.
FILES = 400


def near_misses(name: str, trial: Trial) -> str:
    """Reads files with random changes in a process of its own, which a crash would end."""
    found = trial.folder / "found.json"

    def read():
        # Imported here: they are not needed by the other kinds.
        from experiments.faults import fuzz

        folder = trial.folder / "file"
        folder.mkdir()
        harness = fuzz.Harness(name, folder)
        wrong = [reason for _, reason in fuzz.plainly(harness, trial.random, most=FILES)]
        found.write_text(json.dumps(wrong))

    os.environ["XDG_CACHE_HOME"] = str(trial.folder / "cache")
    ended = processes.fork(read, new_folder(trial)).wait(240)
    expect(ended.code == 0, f"exit code {ended.code}: {last_line(ended)}")
    wrong = json.loads(found.read_text())
    expect(not wrong, f"{len(wrong)} of {FILES}: {wrong[:1]}")
    return f"{FILES} files each: read, or refused in one line"


NAMES = (
    *(".pth", ".npz", "image", "config.json", "metrics.jsonl", "checkpoint", "labels.csv"),
    *("labels.json", "manifest", "shard", "record labels", "features.npy", "tags.csv"),
    *("vectors.txt", "vectors.bin", "word_vectors.npz"),
)
FAULTS = tuple(
    Fault(f"{name} with random changes", partial(near_misses, name), 1, 12) for name in NAMES
)
