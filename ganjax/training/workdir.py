"""The folder of a run, with the config and the identity of the images that it holds."""

import contextlib
import json
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import filelock

from ganjax.config import ConfigError, differences, idle
from ganjax.runtime import regular, storage
from ganjax.training import checkpoint, migrations
from ganjax.training.schema import Loaded, RunConfig, load
from ganjax.training.trust import refuse_code
from ganjax.training.writer import METRICS, read_metrics

CONFIG = "config.json"
# The file with the fingerprint of the run's set of images (`data.base.Source`).
DATA = "data.json"


# The fields that say when a run saves.
SAVES = ("checkpoint_every", "checkpoint_every_epochs")


def claim(
    workdir: Path, config: RunConfig, fingerprint: str = "", first_save: int | None = None
) -> None:
    """Makes the folder of a run and writes its config.json, by which all commands find the run.

    The caller holds `lock`. If there are several processes, process 0 alone calls this.

    Args:
      workdir: the folder.
      config: the config of the run.
      fingerprint: the fingerprint of the set of images, or "" if it has none.
      first_save: the step at which a run with this config saves first; None if it is not known.

    Raises:
      ConfigError: the folder holds checkpoints of a run that this config would not continue, or
        whose images were others; or it has lost them.
    """
    path = workdir / CONFIG
    fields = config.model_dump(mode="json")
    if checkpoint.exist(workdir):
        stored = read_fields(workdir, trust=True)
        if stored.get("algorithm") != config.algorithm:
            # Only the algorithm that this command names is imported.
            raise _another(workdir, ["config.algorithm"])
        before = load(stored).config
        changed = differences(fields, before.model_dump(mode="json"))
        # A field that has no effect, neither before nor now, makes no other run.
        may_differ = config.continuable | (idle(config) & idle(before))
        changed = [name for name in changed if name not in may_differ]
        if changed:
            raise _another(workdir, changed)
        _check_data(workdir, config.data.source, fingerprint)
    elif first_save is not None:
        _refuse_lost(workdir, fields, first_save)
    (workdir / "samples").mkdir(parents=True, exist_ok=True)
    if fingerprint:
        storage.write_json(
            workdir / DATA, {"source": config.data.source, "fingerprint": fingerprint}
        )
    storage.write_json(path, {migrations.KEY: migrations.FORMAT, **fields})


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
    refuse_code(fields, str(path), trust)
    return fields


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
            f"--workdir={workdir}: another process is training there; wait for it or take another"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"--workdir={workdir}: no run can be kept there ({error.strerror or error}); name a "
            "folder that can be written"
        ) from None
    try:
        yield
    finally:
        guard.release()


def _another(workdir: Path, changed: list[str]) -> ConfigError:
    return ConfigError(
        f"{workdir} holds a run with another {', '.join(changed)} (see {workdir / CONFIG}): set "
        "that, or take another --workdir"
    )


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
            f"{workdir / checkpoint.FOLDER}: the checkpoints of this run, which has trained for "
            f"{last} steps, are gone; restore them, or take another --workdir, or remove "
            f"{metrics} to begin anew"
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
            f"it, or take another --workdir, or remove {path} to go on with it as it is"
        )


def _read(path: Path) -> dict:
    try:
        raw = json.loads(regular.read_text(path))
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{path.parent}: no run is there ({path} is missing); name a folder that ganjax train "
            "made, such as runs/wgan_gp"
        ) from None
    except storage.NOT_JSON as error:
        raise ConfigError(f"{path} is not JSON ({error}): restore it") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no config: restore it")
    return raw
