"""The runs of a sweep: their configs, hashes, folders and progress."""

import hashlib
import json
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from experiments.tools import design
from experiments.tools.design import Cell, Sweep
from ganjax.config import ConfigError, differences
from ganjax.engine.algorithm import Algorithm
from ganjax.errors import UserError
from ganjax.metrics import table
from ganjax.training import attempts, domain, epochs, schema, workdir
from ganjax.training.checkpoint import FOLDER as CHECKPOINTS
from ganjax.training.writer import read_metrics

# The states of a run.
WAITING, STOPPED, FAILED = "waiting", "stopped", "failed"
DIVERGED, FINISHED = "diverged", "finished"
# The states of runs that need no further training.
OVER = (DIVERGED, FINISHED)


class Run(NamedTuple):
    """A run of a sweep, which trains one seed of one cell or, if they are together, all of them.

    Attributes:
      cell: the cell.
      seeds: the seeds.
      config: the config as a nested dict, as `ganjax.training.loop.train` takes it.
      checked: the same config, checked.
      algorithm: the algorithm that the config describes.
      hash: the hash of the config without the fields that a continuation may change.
      folder: the run's folder, which need not exist yet.
    """

    cell: Cell
    seeds: range
    config: dict[str, Any]
    checked: schema.LoopConfig
    algorithm: Algorithm
    hash: str
    folder: Path

    @property
    def label(self) -> str:
        """The run's cell and seeds as text."""
        return f"{self.cell.label}, {_named(self.seeds, ' ')}"


class Progress(NamedTuple):
    """The progress of a run.

    Attributes:
      state: `WAITING` (no step has been logged yet), `STOPPED` (or still running), `FAILED`,
        `DIVERGED` or `FINISHED`.
      step: the step of the last line of metrics.
      error: the last line of the error of a run that failed or diverged, or "".
    """

    state: str
    step: int
    error: str


def plan(sweep: Sweep, out: Path) -> list[Run]:
    """Lists all runs: one seed of every cell, then the next seed, so that cells progress alike.

    If the seeds of a cell are together, it has one run.

    Args:
      sweep: the sweep.
      out: the folder of its runs.

    Raises:
      UserError: a cell's config cannot be run, does not measure the sweep's metric, or equals
        another cell's.
    """
    if table.sign(sweep.metric) is None:
        metrics = [metric for metric in table.METRICS.values() if metric.of_network]
        figures = [figure.name for metric in metrics for figure in metric.figures if figure.better]
        raise UserError(
            f"sweep.metric={sweep.metric!r}: by it no model is better than another; name a figure "
            f"such as kid_efflite0 ({', '.join(figures)}, and the network's name)"
        )
    known = {name for name, _ in table.figures()}
    if sweep.together and (others := [name for name in sweep.also if name not in known]):
        raise UserError(
            f"sweep.also={tuple(sweep.also)}: of seeds that are trained together each has figures "
            f"of its samples alone; leave out {', '.join(others)}, or set sweep.together=False"
        )
    configured = {}
    for cell in sweep.cells:
        design.baseline_of(sweep, cell)
        raw = design.cell_config(sweep, cell, seed=0)
        try:
            loaded = schema.load(raw)
            checked, algorithm = epochs.settle(loaded, partial(_count_images, loaded))
        except UserError as error:
            raise UserError(f"cell {cell.label}: {error}") from None
        _check_metric(sweep, cell, checked)
        configured[cell.label] = (raw, checked, algorithm)
    planned, seen = [], {}
    size = sweep.seeds if sweep.together else 1
    for first in range(0, sweep.seeds, size):
        own = {"seed": first, "num_seeds": size}
        for cell in sweep.cells:
            raw, checked, algorithm = configured[cell.label]
            raw, checked = raw | own, checked.model_copy(update=own)
            key = config_hash(checked)
            if key in seen:
                raise UserError(f"cells {seen[key]} and {cell.label} have the same config")
            seen[key] = cell.label
            seeds = range(first, first + size)
            folder = out / _folder_name(cell, seeds, key)
            planned.append(Run(cell, seeds, raw, checked, algorithm, key, folder))
    folders = _folders(_stored(out), planned)
    return [run._replace(folder=folders.get(run.hash, run.folder)) for run in planned]


def _count_images(loaded: schema.Loaded) -> int:
    return domain.of(loaded).count()


def config_hash(config: schema.LoopConfig) -> str:
    """Returns a hash of the fields that identify a run: all but those in `config.continuable`."""
    content = _identity(config.model_dump(mode="json"), config.continuable)
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def progress(run: Run) -> Progress:
    """Reads the progress of a run from its folder."""
    attempt = attempts.last(run.folder)
    rows = metrics(run.folder)
    step = rows[-1]["step"] if rows else 0
    saved = [int(path.name) for path in (run.folder / CHECKPOINTS).glob("*") if _is_step(path)]
    total = run.checked.total_steps
    if max(saved, default=0) >= total:
        return Progress(FINISHED, step, "")
    outcome, until = attempt.get("outcome"), attempt.get("total_steps", 0)
    if outcome == FINISHED and until >= total:  # It may end early by config.evaluation.patience.
        return Progress(FINISHED, step, "")
    if outcome in (FAILED, DIVERGED):
        return Progress(outcome, step, attempt.get("error", ""))
    return Progress(STOPPED if step else WAITING, step, "")


def metrics(folder: Path) -> list[dict]:
    """Returns the rows of a run's metrics.jsonl, or [] if there are none yet."""
    path = folder / "metrics.jsonl"
    return read_metrics(path) if path.is_file() else []


def _check_metric(sweep: Sweep, cell: Cell, config: Any) -> None:
    names = config.evaluation.metrics
    metrics = [table.METRICS[name] for name in names if name in table.METRICS]
    metrics.append(table.HELD_OUT_LIKELIHOOD)
    measured = table.ranking(metrics, config.evaluation.features)
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


def _folder_name(cell: Cell, seeds: range, key: str) -> str:
    """Returns a readable name that ends with the hash, by which the folder is found again."""
    words = re.sub(r"[^\w.]+", "_", "_".join(cell.levels.values())).strip("_")
    return f"{words[:80]}_{_named(seeds)}_{key}"


def _named(seeds: range, space: str = "") -> str:
    """Returns "seed0" or "seeds0-3", with a space before the number."""
    if len(seeds) == 1:
        return f"seed{space}{seeds[0]}"
    return f"seeds{space}{seeds[0]}-{seeds[-1]}"


def _stored(out: Path) -> dict[Path, dict]:
    """Returns the configs of the runs in a folder, by the folder of each run."""
    configs = {}
    for path in sorted(out.glob(f"*/{workdir.CONFIG}")):
        try:
            configs[path.parent] = workdir.read_fields(path.parent, trust=True)  # To be compared.
        except ConfigError:
            continue  # A run never leaves this file half-written, so it is not a run's.
    return configs


def _folders(stored: dict[Path, dict], planned: list[Run]) -> dict[str, Path]:
    """Returns the existing folders of planned runs, by the hash of the run.

    A folder is recognised by the hash in its name or, whatever its name is, by the config in it. A
    config of an older version may lack fields in which the planned runs differ. A folder that could
    be that of several runs is left out.
    """
    found = {
        run.hash: folder
        for folder in stored
        for run in planned
        if folder.name.endswith(f"_{run.hash}")
    }
    for folder in sorted(stored.keys() - found.values()):
        alike = [run for run in planned if _continues(run.checked, stored[folder])]
        if len(alike) == 1:
            found.setdefault(alike[0].hash, folder)
    return found


def _continues(config: schema.LoopConfig, stored: dict) -> bool:
    """Returns whether a run continues a stored one, by the fields that the stored one has."""
    planned = config.model_dump(mode="json")
    changed = differences(_shared(planned, stored), stored)
    return bool(stored) and not [name for name in changed if name not in config.continuable]


def _shared(planned: dict, stored: dict) -> dict:
    """Returns the fields of `planned` that `stored` has too."""
    return {
        name: _shared(value, stored[name])
        if isinstance(value, dict) and isinstance(stored[name], dict)
        else value
        for name, value in planned.items()
        if name in stored
    }


def _is_step(path: Path) -> bool:
    return path.name.isdecimal()
