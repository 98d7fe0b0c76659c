"""The folder of a run, with the config and the identity of the images that it holds."""

import contextlib
import json
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import filelock

from ganjax.config import ConfigError
from ganjax.runtime import regular, storage
from ganjax.training import checkpoint, continuing, history, migrations
from ganjax.training.schema import Loaded, LoopConfig, load
from ganjax.training.start import AS_IT_IS, Start, no_folder
from ganjax.training.trust import refuse_code
from ganjax.training.writer import METRICS, read_metrics

CONFIG = "config.json"
# The file with the fingerprint of the run's set of images (`data.base.Source`).
DATA = "data.json"
# The fields that say when a run saves.
SAVES = ("checkpoint_every", "checkpoint_every_epochs")
# The most files or runs that a message names.
MOST_NAMED = 5


def claim(
    workdir: Path,
    config: LoopConfig,
    fingerprint: str = "",
    first_save: int | None = None,
    start: Start = AS_IT_IS,
    origin: history.Origin | None = None,
) -> None:
    """Makes the folder of a run and writes its config.json, by which all commands find the run.

    The caller holds `lock`. If there are several processes, process 0 alone calls this.

    Args:
      workdir: the folder.
      config: the config of the run.
      fingerprint: the fingerprint of the set of images, or "" if it has none.
      first_save: the step at which a run with this config saves first; None if it is not known.
      start: which fields may change, and from which step the run goes on.
      origin: where the weights of a new run come from; None if they are initialised.

    Raises:
      ConfigError: the folder holds checkpoints of a run that this config would not continue, or
        whose images were others; or it has lost them.
    """
    fields = config.model_dump(mode="json")
    past = history.History(init_from=origin)
    if checkpoint.exist(workdir):
        stored, past = read_fields(workdir, trust=True), read_history(workdir)
        if stored.get("algorithm") != config.algorithm:
            # Only the algorithm that this command names is imported.
            raise continuing.another(workdir, stored, fields, ["config.algorithm"])
        before = load(stored).config
        turn = continuing.turn(workdir, before, config, past, start)
        _check_data(workdir, config.data.source, fingerprint)
        if turn is not None:
            past = continuing.take(workdir, before, config, past, turn)
    elif start.from_step is not None:
        raise ConfigError(
            f"--from_step={start.from_step}: {workdir} has no checkpoint yet; take the flag away"
        )
    elif first_save is not None:
        _refuse_lost(workdir, fields, first_save)
    samples = workdir / "samples"
    samples.mkdir(parents=True, exist_ok=True)
    for folder in (workdir, samples, *samples.glob("seed_*")):
        storage.remove_left(folder)
    if fingerprint:
        storage.write_json(
            workdir / DATA, {"source": config.data.source, "fingerprint": fingerprint}
        )
    _write(workdir, fields, past)


def settle(workdir: Path, step: int) -> history.History:
    """Notes the step from which a run goes on, and returns the history of the run.

    It may be before the step of a change, whose checkpoint was damaged; the change then counts from
    this step.
    """
    past = read_history(workdir)
    if any(change.step > step for change in past.changes):
        fields = read_fields(workdir, trust=True)
        past = past.going_on(step, fields, fields, ())
        _write(workdir, fields, past)
    return past


def keep_dispatch(workdir: Path, choice: history.Dispatch) -> None:
    """Stores a number of steps in a dispatch that a run has chosen."""
    fields, past = read_fields(workdir, trust=True), read_history(workdir)
    _write(workdir, fields, past.model_copy(update={"dispatches": (*past.dispatches, choice)}))


def read(workdir: Path, trust: bool | Collection[str] = False) -> Loaded:
    """Reads the config of the run in a folder, and loads its algorithm.

    Args:
      workdir: the folder.
      trust: whether the config may name code that is not ganjax's, or what it may name
        (`ganjax.training.trust`).

    Raises:
      ConfigError: there is no run, its config.json is not one that this version reads, or it names
        code that is not trusted.
    """
    return load(read_fields(workdir, trust))


def read_fields(workdir: Path, trust: bool | Collection[str] = False) -> dict[str, Any]:
    """Reads the fields of the run in a folder, unchecked; those of older versions are upgraded.

    Nothing that they name is imported here, but `load` and `ganjax.training.loop.train` will.

    Args:
      workdir: the folder.
      trust: as that of `read`.

    Raises:
      ConfigError: as by `read`.
    """
    path = workdir / CONFIG
    fields = migrations.upgraded(_read(path), str(path))
    fields.pop(history.KEY, None)
    refuse_code(fields, str(path), trust)
    return fields


def read_history(workdir: Path) -> history.History:
    """Reads what has happened to the run in a folder besides training.

    Raises:
      ConfigError: there is no run, or its config.json is damaged.
    """
    path = workdir / CONFIG
    return history.parse(_read(path), str(path))


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Holds a lock that keeps a second process from training in the same folder.

    The operating system releases it if the process is killed.

    Raises:
      ConfigError: another process is training there, or there can be no such folder.
    """
    guard = filelock.FileLock(workdir / ".lock")
    try:
        guard.acquire(timeout=0)
    except filelock.Timeout:
        raise ConfigError(
            f"--workdir={workdir}: another process is training there; wait for it, or take --new "
            "or another"
        ) from None
    except OSError as error:
        raise no_folder(workdir, error) from None
    try:
        yield
    finally:
        guard.release()


def _write(workdir: Path, fields: dict[str, Any], past: history.History) -> None:
    content = {migrations.KEY: migrations.FORMAT, **fields, **history.stored(past)}
    storage.write_json(workdir / CONFIG, content)


def no_checkpoint(workdir: Path, config: LoopConfig) -> ConfigError:
    """Returns the error for a run without a checkpoint, which says whether one is still to come.

    Args:
      workdir: the run's folder, which `checkpoint.exist` says has none.
      config: the run's config.
    """
    folder = workdir / checkpoint.FOLDER
    if others := checkpoint.others_in(folder):
        names = ", ".join(map(repr, others[:MOST_NAMED])) + (", ..." * (len(others) > MOST_NAMED))
        return ConfigError(
            f"{folder} holds no checkpoint, whose name would be the number of its step, but "
            f"{names}: give one its name again, or restore it from a copy"
        )
    try:
        last = max(read_metrics(workdir / METRICS), key=lambda row: row["step"], default={})
    except OSError:
        last = {}
    step, epochs = last.get("step", 0), config.checkpoint_every_epochs
    beyond = last.get("epoch", 0) > epochs if epochs else step > config.checkpoint_every
    if step >= config.total_steps or beyond:
        return ConfigError(f"{_lost(folder, step)}; restore them, or train it again")
    every = f"{epochs:g} epochs" if epochs else f"{config.checkpoint_every} steps"
    return ConfigError(
        f"{workdir}: the run has no checkpoint yet, at step {step}; one comes every {every} and at "
        f"its end. Until then: ganjax sample evolution --workdir={workdir}"
    )


def _lost(folder: Path, step: int) -> str:
    return f"{folder}: the checkpoints of this run, which has trained for {step} steps, are gone"


def _refuse_lost(workdir: Path, fields: dict[str, Any], first_save: int) -> None:
    """Raises a ConfigError if a run without checkpoints has trained beyond its first."""
    metrics = workdir / METRICS
    try:
        before = _read(workdir / CONFIG)
        last = max((row["step"] for row in read_metrics(metrics)), default=0)
    except (ConfigError, OSError):
        return
    # With other cadences it may have been killed before its first checkpoint.
    if last > first_save and all(before.get(name) == fields[name] for name in SAVES):
        raise ConfigError(
            f"{_lost(workdir / checkpoint.FOLDER, last)}; restore them, or take --new or another "
            f"--workdir, or remove {metrics} to begin anew"
        )


def _check_data(workdir: Path, source: str, fingerprint: str) -> None:
    path = workdir / DATA
    if not fingerprint:
        return
    if not path.exists():
        # Runs of format 1 have not stored their fingerprint.
        if _read(workdir / CONFIG).get(migrations.KEY, 1) != 1:
            print(
                f"ganjax: {path} is missing: the run goes on with {source} as it is now, which may "
                "have changed",
                file=sys.stderr,
            )
        return
    if _read(path).get("fingerprint") != fingerprint:
        raise ConfigError(
            f"{workdir} holds a run on other images or labels: {source} has changed since; restore "
            f"it, or take --new or another --workdir, or remove {path} to go on with it as it is"
        )


def _runs_beside(folder: Path) -> str:
    """Returns what to name in place of a folder that holds no run: runs beside it, if there are."""
    found = sorted(str(each.parent) for each in folder.parent.glob(f"*/{CONFIG}"))
    if not found:
        return "name a folder that ganjax train made"
    more = [f"and {len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else []
    return f"name one, such as {', '.join([*found[:MOST_NAMED], *more])}"


def _read(path: Path) -> dict:
    try:
        raw = json.loads(regular.read_text(path))
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{path.parent}: no run is there ({path} is missing); {_runs_beside(path.parent)}"
        ) from None
    except storage.NOT_JSON as error:
        raise ConfigError(f"{path} is not JSON ({error}): restore it") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no config: restore it")
    return raw
