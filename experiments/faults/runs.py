"""The smallest runs, how each is started, and what is expected of it after a fault."""

import hashlib
import json
import random
import shutil
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.faults import moments, processes, tag_files
from experiments.faults.processes import Ended, Process
from experiments.faults.trial import Trial, UnexpectedError, expect
from ganjax.data import tags
from ganjax.training import checkpoint, stored
from ganjax.training.writer import METRICS, read_metrics

STEPS = 40
TRAIN, SAMPLE = "ganjax.main", "ganjax.sample"
EVERY = {
    "total_steps": STEPS,
    "checkpoint_every": 7,
    "log_every": 3,
    "sample_every": 10,
    "eval_every": 10,
    "image_size": 8,
    "batch_size": 16,
}
# The fields of the smallest run that still logs, draws, evaluates and saves.
FIELDS = EVERY | {
    "data.fit": "resize",
    "n_critic": 2,
    "generator.widths": (16,),
    "discriminator.widths": (16,),
}
# 8x8 is faded in from step 4 to step 14.
GROWING_FIELDS = EVERY | {
    "generator.widths": (8, 8),
    "discriminator.widths": (8, 8),
    "growth.batch_sizes": (16,),
    "growth.learning_rates": (1e-3,),
    "growth.fade_reals": 160,
    "growth.stabilise_reals": 64,
}


def flags_of(name: str, fields: Mapping[str, Any]) -> list[str]:
    """Returns the flags of a shipped config with some fields."""
    return [f"--config={name}", *(f"--config.{field}={each}" for field, each in fields.items())]


PLAIN, GROWING = flags_of("wgan_gp", FIELDS), flags_of("progan", GROWING_FIELDS)
# Those of other kinds, by the configs that they are of.
OTHERS = {
    "r3gan": EVERY
    | {"data.fit": "resize"}
    | {f"{player}.widths": (8, 8) for player in ("generator", "discriminator")}
    | {f"{player}.group_width": 4 for player in ("generator", "discriminator")},
    "tagging:paper": {
        **{name: EVERY[name] for name in EVERY if name != "image_size"},
        **{"batch_size": 2, "data.feature_dim": 3, "data.vector_dim": 2},
    },
}
RUNS = {"plain": PLAIN, "growing": GROWING}
# The folder of a run that was killed before its fourth checkpoint, with those of steps 14 and 21.
HALF = "half"
# The folder of a run that tags images, and that of its set.
TAGGER, TAGGED = "tagger", "tagged"
# The plain run by two processes, whose gradients are added up in another order.
PAIR = "pair"

ALIKE = "went on and ended bit for bit"
REFUSED = "one line, exit code 2"


def noise_images(folder: Path, count: int) -> Path:
    """Makes a folder of grey 8x8 images of noise, and returns it."""
    folder.mkdir()
    noise = np.random.RandomState(0).randint(0, 256, (count, 8, 8), np.uint8)
    for i, image in enumerate(noise):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    return folder


def train(
    trial: Trial,
    flags: list[str] = PLAIN,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    at: Path | None = None,
    before: Callable[[], object] = lambda: None,
) -> Process:
    """Starts a process that trains.

    Args:
      trial: the trial.
      flags: the flags of its config.
      folder: the run's folder; by default that of the trial.
      environment: further environment variables.
      at: the current folder of the process.
      before: what the process does first.
    """
    arguments = [f"--workdir={folder or trial.run}", *flags]
    said = new_folder(trial)
    return processes.command(TRAIN, arguments, said, environment=environment, at=at, before=before)


def tagging(folder: Path) -> list[str]:
    """Makes a set of images with tags in a folder, and returns the flags of a run on it."""
    folder.mkdir()
    tag_files.write(folder)
    name = "tagging:paper"
    return [*flags_of(name, OTHERS[name]), f"--config.data.source={tags.ARRAYS}{folder}"]


def new_folder(trial: Trial) -> Path:
    """Returns the path of a folder for what the next process says."""
    return trial.folder / f"said{len(list(trial.folder.glob('said*')))}"


def finish(trial: Trial, flags: list[str] = PLAIN, folder: Path | None = None, **how) -> Ended:
    """Trains to the end of a run.

    Raises:
      UnexpectedError: it did not get there.
    """
    return finished(train(trial, flags, folder=folder, **how))


def finished(process: Process) -> Ended:
    """Waits for the end of a run.

    Raises:
      UnexpectedError: it did not get there.
    """
    ended = process.wait()
    expect(ended.code == 0, f"the command failed ({ended.code}): {last_line(ended)}")
    expect(f" at step {STEPS}" in ended.out, f"it did not end at step {STEPS}")
    return ended


def ends_alike(trial: Trial, kind: str = "plain", folder: Path | None = None) -> str:
    """Trains to the end of a run, which should be as if nothing had happened, bit for bit."""
    folder = folder or trial.run
    ended = finish(trial, RUNS[kind], folder)
    expect("Traceback" not in ended.out + ended.err, f"a traceback: {last_line(ended)}")
    is_alike(trial, kind, folder)
    return ALIKE


def is_alike(trial: Trial, kind: str, folder: Path, but: tuple[str, ...] = ()) -> None:
    """Checks that a run has ended as the undisturbed one has.

    Args:
      trial: the trial.
      kind: the undisturbed run, a name in `RUNS`.
      folder: the run's folder.
      but: the parts that may differ, of "arrays", "metrics" and "pictures".
    """
    expected = json.loads((trial.shared / f"{kind}.json").read_text())
    found = content(folder, new_folder(trial))
    other = [name for name in expected if expected[name] != found[name] and name not in but]
    expect(not other, f"it ended with other {' and '.join(other)}")


def refused(ended: Ended, text: str = "") -> str:
    """Checks that a command was refused in one line, with a text in it."""
    expect(ended.code == 2, f"exit code {ended.code}: {last_line(ended)}")
    lines = ended.err.splitlines()
    one = lines[-1:] and lines[-1].startswith("ganjax: ") and "Traceback" not in ended.err
    expect(one and len(ended.err) < 20_000, f"{len(lines)} lines: {last_line(ended)}")
    expect(text in lines[-1], f"{lines[-1]!r} does not say {text!r}")
    return REFUSED


def last_line(ended: Ended) -> str:
    """Returns the last line that a process has said."""
    lines = [line for line in (ended.out + ended.err).splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def content(folder: Path, said: Path) -> dict:
    """Returns hashes of what a run has made: its last arrays, its metrics and its pictures.

    Args:
      folder: the run's folder.
      said: as for `processes.fork`.
    """
    found = said.with_suffix(".json")

    def write():
        found.write_text(json.dumps(_content(folder)))

    ended = processes.fork(write, said).wait()
    expect(ended.code == 0, f"what it made cannot be read: {last_line(ended)}")
    return json.loads(found.read_text())


def _content(folder: Path) -> dict:
    # Imported here, in a process of its own, since it starts JAX's backend.
    import jax
    import numpy as np
    from orbax.checkpoint import v1 as ocp

    with checkpoint.open_checkpoints(folder) as checkpoints:
        last = checkpoints.folder / str(checkpoint.latest_step(checkpoints))
    # Not by ganjax's own reader. To one device, since those of a pair of processes are not here.
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one),
        ocp.checkpointables_metadata(str(last)).metadata[stored.STATE],
    )
    state = ocp.load_checkpointables(str(last), {stored.STATE: target})
    arrays = {
        jax.tree_util.keystr(path): hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }
    rows = read_metrics(folder / METRICS)
    # A kill may leave a file that was to replace another; it is removed after an hour.
    pictures = sorted((folder / "samples").glob("[!.]*"))
    return {
        "arrays": {"step": last.name} | arrays,
        "metrics": [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows],
        "pictures": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures},
    }


def free_port() -> int:
    """Returns a port at which no process listens."""
    with socket.socket() as each:
        each.bind(("localhost", 0))
        return each.getsockname()[1]


def member(trial: Trial, port: int, number: int, folder: Path | None = None, **own) -> Process:
    """Starts one of two processes of a run, with a device of its own.

    Args:
      trial: the trial.
      port: where they meet.
      number: the number of the process.
      folder: the run's folder; by default that of the trial.
      **own: further environment variables.
    """
    joined = [f"--coordinator=localhost:{port}", "--num_processes=2", f"--process_id={number}"]
    return train(
        trial,
        [*PLAIN, *joined, "--join_timeout=60"],
        folder=folder,
        environment={"JAX_NUM_CPU_DEVICES": "1"} | own,
    )


def together(trial: Trial, folder: Path | None = None) -> list[Process]:
    """Starts both processes of a run."""
    port = free_port()
    return [member(trial, port, number, folder) for number in range(2)]


def prepare(shared: Path, needs: set[str]) -> None:
    """Makes the runs that trials are compared with or begin from.

    Args:
      shared: the folder for them.
      needs: names of `RUNS`, `PAIR`, `HALF` and `TAGGER`.
    """
    trial = Trial(shared, shared, 0, random.Random(0))
    # Beside the others, of which each may take up what the one before has compiled.
    tagger = TAGGER in needs and train(trial, tagging(shared / TAGGED), folder=shared / TAGGER)
    for kind in ("plain", *sorted(needs - {"plain", HALF, TAGGER})):
        run = shared / kind
        if kind == PAIR:
            codes = [each.wait().code for each in together(trial, run)]
            expect(codes == [0, 0], f"two processes of a run ended with {codes}")
        else:
            recorder = partial(moments.record, run, shared / f"{kind}.txt")
            finish(trial, RUNS[kind], run, before=recorder)
        (shared / f"{kind}.json").write_text(json.dumps(content(run, new_folder(trial))))
    if HALF in needs:
        run = shared / HALF
        moment = "make checkpoints/28.orbax-checkpoint-tmp", 0, moments.kill
        train(trial, folder=run, before=partial(moments.at_change, run, *moment)).wait()
        steps = sorted(path.name for path in (run / checkpoint.FOLDER).iterdir())
        if steps != ["14", "21"]:
            raise UnexpectedError(f"a run that is half done has checkpoints {steps}")
    if tagger:
        finished(tagger)


def half_done(trial: Trial) -> Path:
    """Copies the run that is half done to the trial's folder, which is returned."""
    shutil.copytree(trial.shared / HALF, trial.run)
    return trial.run


def changes(trial: Trial, kind: str = "plain") -> list[str]:
    """Returns the changes of the undisturbed run's folder, in order (`moments.record`)."""
    lines = (trial.shared / f"{kind}.txt").read_text().splitlines()
    return [moments.general(line) for line in lines]
