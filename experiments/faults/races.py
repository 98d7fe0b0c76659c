"""Processes that are in each other's way: one waits or is refused, and nothing is lost."""

import shutil
import socket
import time

from PIL import Image

from experiments.faults import processes
from experiments.faults.runs import (
    PAIR,
    PLAIN,
    SAMPLE,
    ends_alike,
    free_port,
    is_alike,
    last_line,
    member,
    new_folder,
    noise_images,
    refused,
    train,
)
from experiments.faults.trial import Fault, Trial, expect

# What strangers say.
LINES = (
    *(b"", b"\n", b"{}\n", b"0\n" * 99, b"\xff" * 5000, b"ganjax 1 of 2\n", b"[" * 9999),
    *(b"ganjax 1 of 3\n", b"ganjax 0 of 2\n", b"GET / HTTP/1.1\r\n\r\n", b"ganjax: go\n"),
)


def second_process(trial: Trial) -> str:
    """Starts the command again, also with another config, while it runs."""
    first = train(trial)
    first.wait_for_step(1)
    config = (trial.run / "config.json").read_bytes()
    others = [train(trial), train(trial, [*PLAIN, "--config.batch_size=8"])]
    for each in others:
        refused(each.wait(), "another process is training there")
    same = (trial.run / "config.json").read_bytes() == config
    expect(same, "the second process has changed config.json")
    expect(first.wait().code == 0, "the first process failed")
    is_alike(trial, "plain", trial.run)
    return "the second was refused in one line; the first ended bit for bit"


def both_at_once(trial: Trial) -> str:
    pair = [train(trial) for _ in range(2)]
    ended = [each.wait() for each in pair]
    codes = sorted(each.code for each in ended)
    expect(codes in ([0, 0], [0, 2]), f"exit codes {codes}")
    for each in ended:
        if each.code:
            refused(each)
    is_alike(trial, "plain", trial.run)
    return "one trained, the other was refused or found it finished; bit for bit"


def readers(trial: Trial) -> str:
    """Samples again and again while a run saves every step and keeps one checkpoint."""
    flags = ["--config.checkpoint_every=1", "--config.keep_checkpoints=1"]
    run = train(trial, [*PLAIN, *flags])
    first = trial.run / "checkpoints" / "1"
    while run.poll() is None and not first.exists() and not (trial.run / "checkpoints/3").exists():
        time.sleep(0.01)
    count = 0
    while run.poll() is None or count < 3:
        out = f"--out={trial.folder / f'{count}.png'}"
        arguments = [f"--workdir={trial.run}", "--num=4", out]
        ended = processes.command(SAMPLE, arguments, new_folder(trial)).wait()
        expect(ended.code == 0, f"a reader failed: {last_line(ended)}")
        count += 1
    expect(run.wait().code == 0, "the run failed")
    is_alike(trial, "plain", trial.run)
    return "each reader had its samples; the run ended bit for bit"


def cold_caches(trial: Trial) -> str:
    """Starts two runs that fill one empty cache of programs at once."""
    own = {processes.CACHE: str(trial.folder / "cache")}
    folders = [trial.folder / name for name in "ab"]
    pair = [train(trial, folder=folder, environment=own) for folder in folders]
    for each, folder in zip(pair, folders, strict=True):
        expect(each.wait().code == 0, "one failed")
        is_alike(trial, "plain", folder)
    return "both ended bit for bit"


def folder_removed(trial: Trial) -> str:
    """Removes the run's folder under it."""
    run = train(trial)
    run.wait_for_step(trial.random.randrange(1, 30))
    shutil.rmtree(trial.run, ignore_errors=True)
    ended = run.wait()
    shutil.rmtree(trial.run, ignore_errors=True)
    if ended.code == 0:  # Its last checkpoint was written already.
        return f"ended; begun anew it {ends_alike(trial)}"
    refused(ended)
    return f"one line; begun anew it {ends_alike(trial)}"


def images_change(trial: Trial) -> str:
    """Removes, empties or exchanges images of a folder while it is trained on."""
    images = noise_images(trial.folder / "images", 60)
    source = f"--config.data.source=folder:{images}"
    run = train(trial, [*PLAIN, source, "--config.total_steps=4000"])
    run.wait_for_step(12)  # With the checkpoint of step 7.
    way = trial.number % 3
    for file in images.iterdir():
        if way == 0:
            file.unlink()
        elif way == 1:
            file.write_bytes(b"")
        else:
            Image.new("L", (5, 3)).save(file)
    if way == 2:  # Other images of any size can be fitted; the next start tells of them.
        run.kill()
        ended = train(trial, [*PLAIN, source, "--config.total_steps=4000"]).wait()
        return refused(ended, "has changed since")
    return refused(run.wait(), "was it changed?")


def strangers(trial: Trial) -> str:
    """Says all sorts of things to the port at which two processes with a token meet."""
    token = {"GANJAX_COORDINATOR_TOKEN": "0123456789abcdef"}
    port = free_port()
    first = member(trial, port, 0, **token)
    said, open_lines = 0, []
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline:
        try:
            line = socket.create_connection(("localhost", port), 0.2)
            line.sendall(LINES[said % len(LINES)])
            said += 1
            open_lines.append(line)
        except OSError:
            time.sleep(0.02)
    second = member(trial, port, 1, **token)
    codes = [each.wait().code for each in (first, second)]
    for line in open_lines:
        line.close()
    expect(said, "nobody was reached")
    expect(codes == [0, 0], f"with strangers at the port they ended with {codes}")
    is_alike(trial, PAIR, trial.run)
    return "met all the same; bit for bit"


FAULTS = (
    Fault("a second process trains in the folder", second_process, 1, 3),
    Fault("two processes begin at once", both_at_once, 0, 8),
    Fault("samples are drawn while checkpoints come and go", readers, 0, 3),
    Fault("two runs fill one cache of programs", cold_caches, 0, 2),
    Fault("the run's folder is removed under it", folder_removed, 1, 6),
    Fault("images of a folder change while it is trained on", images_change, 0, 6),
    Fault("strangers at the port of two processes", strangers, 0, 3, (PAIR,)),
)
