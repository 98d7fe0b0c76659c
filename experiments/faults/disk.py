"""Disks that are full, fail or refuse: one line at the first failure, then the run goes on."""

import contextlib
import errno
import os
import resource
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from experiments.faults import moments, processes
from experiments.faults.runs import (
    SAMPLE,
    STEPS,
    changes,
    ends_alike,
    is_alike,
    last_line,
    new_folder,
    refused,
    train,
)
from experiments.faults.trial import Fault, NotRunError, Trial, expect

PREPARE = "ganjax.data.prepare"
# A finished run of the smallest kind takes some 700 KiB in 50 files and folders.
KIB, FILES = (40, 700), (4, 60)
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """Mounts a file system in memory at a folder, which is made.

    Args:
      folder: the folder.
      options: options of the file system, such as "size=64k".

    Raises:
      NotRunError: this process may not mount one.
    """
    folder.mkdir()
    _mount("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _mount(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NotRunError("no mount here") from None
    if done.returncode:
        raise NotRunError(f"it takes root: {done.stderr.strip()}")


def full(options: str, sizes: tuple[int, int], trial: Trial) -> str:
    """Trains on a disk that is too small, and then, with more room, to the end."""
    disk, size = trial.folder / "disk", trial.random.randrange(*sizes)
    with small_disk(disk, options.format(size)):
        ended = train(trial, folder=disk / "run").wait()
        if ended.code == 0:
            is_alike(trial, "plain", disk / "run")
            return "had room, ended bit for bit"
        refused(ended)
        _mount("mount", "-o", "remount,size=100m,nr_inodes=10000", str(disk))
        return f"one line; with room it {ends_alike(trial, folder=disk / 'run')}"


def files_limited(trial: Trial) -> str:
    """Limits the size of any file, so that writes fail half-way."""
    most = trial.random.choice([300, 2_000, 8_000, 30_000, 60_000])
    before = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
    own = {processes.CACHE: str(trial.folder / "cache")}
    shutil.copytree(os.environ[processes.CACHE], trial.folder / "cache")
    ended = train(trial, environment=own, before=before).wait()
    if ended.code:
        refused(ended)
    return f"one line; without the limit it {ends_alike(trial)}"


def a_change_fails(trial: Trial) -> str:
    """Fails one of the changes of the run's folder, as a bad disk does."""
    everything = changes(trial)
    index = trial.random.randrange(len(everything))
    change, number = everything[index], ERRORS[trial.number % len(ERRORS)]
    count = Counter(everything[:index])[change]
    moment = trial.run, change, count, moments.fails(number)
    ended = train(trial, before=partial(moments.at_change, *moment)).wait()
    if ended.code == 0 and f" at step {STEPS}" in ended.out:
        is_alike(trial, "plain", trial.run)
        return "not needed: ended bit for bit"
    try:
        refused(ended)
    except Exception as error:
        raise type(error)(f"{errno.errorcode[number]} at {change!r}: {error}") from None
    return f"one line; then it {ends_alike(trial)}"


def read_only(trial: Trial) -> str:
    disk = trial.folder / "disk"
    with small_disk(disk, "size=1m"):
        _mount("mount", "-o", "remount,ro", str(disk))
        refused(train(trial, folder=disk / "run").wait(), "can be written")
    return f"one line; elsewhere it {ends_alike(trial)}"


def output_full(trial: Trial) -> str:
    def into_a_full_device():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    refused(train(trial, before=into_a_full_device).wait())
    return f"one line; then it {ends_alike(trial)}"


def cache_full(trial: Trial) -> str:
    with small_disk(trial.folder / "disk", "size=16k"):
        own = {name: str(trial.folder / "disk") for name in (processes.CACHE, "XDG_CACHE_HOME")}
        ended = train(trial, environment=own).wait()
        expect(ended.code == 0, f"exit code {ended.code}: {last_line(ended)}")
        is_alike(trial, "plain", trial.run)
        return "ended bit for bit"


def few_descriptors(trial: Trial) -> str:
    most = trial.random.choice([24, 32, 40, 64])
    before = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (most, most))
    ended = train(trial, before=before).wait()
    if ended.code == 0:
        is_alike(trial, "plain", trial.run)
        return "ended bit for bit"
    refused(ended)
    return f"one line; with more it {ends_alike(trial)}"


def samples_do_not_fit(trial: Trial) -> str:
    disk = trial.folder / "disk"
    with small_disk(disk, "size=32k"):
        arguments = ["--num=2000", f"--raw={disk / 'a.npz'}", f"--out={disk / 'a.png'}"]
        workdir = f"--workdir={trial.shared / 'plain'}"
        refused(processes.command(SAMPLE, [workdir, *arguments], new_folder(trial)).wait(), "a.")
        expect(not [each for each in disk.iterdir() if each.suffix != ".png"], "a part is left")
    return "one line, nothing left"


def a_set_does_not_fit(trial: Trial) -> str:
    disk = trial.folder / "disk"
    arguments = ["--source=embedded:mnist5k", "--size=28", "--channels=1", f"--out={disk / 'set'}"]
    with small_disk(disk, f"size={trial.random.randrange(20, 3_000)}k"):
        refused(processes.command(PREPARE, arguments, new_folder(trial)).wait())
        _mount("mount", "-o", "remount,size=100m", str(disk))
        ended = processes.command(PREPARE, arguments, new_folder(trial)).wait()
        expect(ended.code == 0, f"with room: {last_line(ended)}")
    return "one line; with room it ended"


FAULTS = (
    Fault("a disk of 40 to 700 KiB", partial(full, "size={}k", KIB), 1, 16),
    Fault("a disk with too few inodes", partial(full, "nr_inodes={}", FILES), 0, 8),
    Fault("a limit on the size of files", files_limited, 1, 8),
    Fault("one change of the run's folder fails", a_change_fails, 3, 60),
    Fault("a disk that is read-only", read_only, 0, 1),
    Fault("a full device as standard output", output_full, 0, 1),
    Fault("a full disk for compiled programs", cache_full, 0, 1),
    Fault("24 to 64 file descriptors", few_descriptors, 0, 6),
    Fault("no room for samples", samples_do_not_fit, 1, 2),
    Fault("no room for a prepared set", a_set_does_not_fit, 1, 5),
)
