"""The runs of a sweep: their configs, their hashes, their folders, and how far each is."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from experiments.tools import attempts, design
from experiments.tools.design import Cell, Sweep
from ganjax.config import ConfigError, differences
from ganjax.engine.algorithm import Algorithm
from ganjax.errors import UserError
from ganjax.metrics import figures
from ganjax.training import schema, workdir
from ganjax.training.checkpoint import FOLDER as CHECKPOINTS
from ganjax.training.writer import read_metrics

# States of a run.
WAITING, STOPPED, FAILED = "waiting", "stopped", "failed"
DIVERGED, FINISHED = "diverged", "finished"
# Those that need no further training.
OVER = (DIVERGED, FINISHED)


class Run(NamedTuple):
    """One training of a sweep.

    A run is one seed of one cell. (Where seeds share a program, it is here that they join.)

    Attributes:
      cell: what it tries.
      seed: its own.
      config: nested dict, as `ganjax.training.loop.train` takes it.
      checked: the same, checked.
      algorithm: that it describes.
      hash: of the config but for what a continuation may change.
      folder: where it is, or will be.
    """

    cell: Cell
    seed: int
    config: dict[str, Any]
    checked: schema.RunConfig
    algorithm: Algorithm
    hash: str
    folder: Path

    @property
    def label(self) -> str:
        """Its cell and seed, as text."""
        return f"{self.cell.label}, seed {self.seed}"


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
      state: `WAITING` (no step was written yet), `STOPPED` (or still running), `FAILED`,
        `DIVERGED`, or `FINISHED`.
      step: of its last line of metrics.
      error: of what failed or diverged, the last line.
    """

    state: str
    step: int
    error: str


def plan(sweep: Sweep, out: Path) -> list[Run]:
    """All runs, a seed of every cell before the next seed: stopped early, cells are equally far.

    Args:
      sweep: whose.
      out: the folder of its runs.

    Raises:
      UserError: a cell's config cannot be run, does not measure the sweep's metric, or is
        another's.
    """
    if figures.sign(sweep.metric) is None:
        raise UserError(
            f"sweep.metric={sweep.metric!r}: by it no model is better than another; name a figure "
            f"such as kid_efflite0 ({', '.join(figures.SIGNS)}, and the network's name)"
        )
    configured = {}
    for cell in sweep.cells:
        design.baseline_of(sweep, cell)
        raw = design.cell_config(sweep, cell, seed=0)
        try:
            checked, module = schema.load(raw)
            algorithm = module.build(checked)
        except UserError as error:
            raise UserError(f"cell {cell.label}: {error}") from None
        _check_metric(sweep, cell, checked)
        configured[cell.label] = (raw, checked, algorithm)
    planned, seen = [], {}
    for seed in range(sweep.seeds):
        for cell in sweep.cells:
            raw, checked, algorithm = configured[cell.label]
            raw, checked = raw | {"seed": seed}, checked.model_copy(update={"seed": seed})
            key = config_hash(checked)
            if key in seen:
                raise UserError(f"cells {seen[key]} and {cell.label} have the same config")
            seen[key] = cell.label
            folder = out / _folder_name(cell, seed, key)
            planned.append(Run(cell, seed, raw, checked, algorithm, key, folder))
    folders = _folders(_known(out), planned)
    return [run._replace(folder=folders.get(run.hash, run.folder)) for run in planned]


def config_hash(config: schema.RunConfig) -> str:
    """Of the fields that make a run what it is: all but `config.continuable`."""
    content = _identity(config.model_dump(mode="json"), config.continuable)
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def progress(run: Run) -> Progress:
    """How far a run is, from what its folder holds."""
    last = attempts.last(run.folder)
    rows = metrics(run.folder)
    step = rows[-1]["step"] if rows else 0
    saved = [int(path.name) for path in (run.folder / CHECKPOINTS).glob("*") if _is_step(path)]
    total = run.checked.total_steps
    if max(saved, default=0) >= total:
        return Progress(FINISHED, step, "")
    outcome, until = last.get("outcome"), last.get("total_steps", 0)
    if outcome == FINISHED and until >= total:  # Before total_steps, by its patience.
        return Progress(FINISHED, step, "")
    if outcome in (FAILED, DIVERGED):
        return Progress(outcome, step, last.get("error", ""))
    return Progress(STOPPED if step else WAITING, step, "")


def metrics(folder: Path) -> list[dict]:
    """The lines of a run's metrics.jsonl, [] before there are any."""
    path = folder / "metrics.jsonl"
    return read_metrics(path) if path.is_file() else []


def _check_metric(sweep: Sweep, cell: Cell, config: schema.RunConfig) -> None:
    metrics = [name for name in config.evaluation.metrics if name in figures.METRICS]
    measured = [*figures.names(metrics, config.evaluation.features), figures.LIKELIHOOD]
    if sweep.metric not in measured:
        raise UserError(
            f"sweep.metric={sweep.metric!r}: cell {cell.label} does not measure it; set "
            "evaluation.metrics and evaluation.features in sweep.fixed"
        )
    if config.evaluation.best != sweep.metric:
        raise UserError(
            f"sweep.metric={sweep.metric!r}: cell {cell.label} keeps its best checkpoint by "
            f"{config.evaluation.best!r}; set evaluation.best in sweep.fixed to the same"
        )


def _identity(content: dict, continuable: frozenset[str], prefix: str = "config") -> dict:
    return {
        name: _identity(value, continuable, f"{prefix}.{name}")
        if isinstance(value, dict)
        else value
        for name, value in content.items()
        if f"{prefix}.{name}" not in continuable
    }


def _folder_name(cell: Cell, seed: int, key: str) -> str:
    """Readable, and found again by the hash at its end."""
    words = re.sub(r"[^\w.]+", "_", "_".join(cell.levels.values())).strip("_")
    return f"{words[:80]}_seed{seed}_{key}"


def _known(out: Path) -> dict[Path, dict]:
    """The configs of the runs that a folder holds."""
    found = {}
    for path in sorted(out.glob(f"*/{workdir.CONFIG}")):
        try:
            found[path.parent] = workdir.read_fields(path.parent)
        except ConfigError:
            continue  # Not written by a run, which never leaves it half-written.
    return found


def _folders(known: dict[Path, dict], planned: list[Run]) -> dict[str, Path]:
    """The folders of runs that there are, by their hash, whatever they are called.

    One of an older version, whose config lacks fields that have come since, is found too, but
    where it may be of several runs, which differ in such a field, it is of none.
    """
    found = {
        run.hash: folder
        for folder in known
        for run in planned
        if folder.name.endswith(f"_{run.hash}")
    }
    for folder in sorted(known.keys() - found.values()):
        alike = [run for run in planned if _continues(run.checked, known[folder])]
        if len(alike) == 1:
            found.setdefault(alike[0].hash, folder)
    return found


def _continues(config: schema.RunConfig, theirs: dict) -> bool:
    """Whether a config is that of another run, as far as that one's goes."""
    ours = config.model_dump(mode="json")
    changed = differences(_shared(ours, theirs), theirs)
    return bool(theirs) and not [name for name in changed if name not in config.continuable]


def _shared(ours: dict, theirs: dict) -> dict:
    """`ours` without the fields that `theirs` lacks."""
    return {
        name: _shared(value, theirs[name])
        if isinstance(value, dict) and isinstance(theirs[name], dict)
        else value
        for name, value in ours.items()
        if name in theirs
    }


def _is_step(path: Path) -> bool:
    return path.name.isdigit()
