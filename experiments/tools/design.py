"""The design of a sweep: its question, its base config, what its cells change, and its seeds."""

import itertools
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments import ROOT
from experiments.tools import configs
from ganjax.configs import override
from ganjax.errors import UserError
from ganjax.shipped import sweep_file, sweep_names

SMOKE = "smoke"
# Overrides that bring any config with stages to 8x8 and two steps.
SMALL = {
    "total_steps": 2,
    "batch_size": 8,
    "image_size": 8,
    "data.fit": "resize",
    "generator.widths": (4,),
    "discriminator.widths": (4,),
    "log_every": 1,
    "sample_every": 2,
    "eval_every": 1,
    "checkpoint_every": 1,
    "evaluation.num_samples": 8,
}
# Overrides by which a config measures KID.
KID = {
    "evaluation.metrics": ("kid",),
    "evaluation.best": "kid_efflite0",
    "evaluation.num_samples": 500,
}


class Cell(NamedTuple):
    """One setting that a sweep tries.

    Attributes:
      levels: the name of the cell's choice on each axis of the sweep.
      overrides: values for fields of the config, by dotted name. A dict replaces a whole group. A
        field that says another kind of a part, such as discriminator.network, gives it the defaults
        of that kind, as the flag of a command does (`ganjax.config.take_kinds`).
    """

    levels: dict[str, str]
    overrides: dict[str, Any]

    @property
    def label(self) -> str:
        """The levels as text."""
        return ", ".join(f"{axis} {level}" for axis, level in self.levels.items())


class Sweep(NamedTuple):
    """A description of cells that are trained, each with several seeds, and compared.

    Attributes:
      question: the question that the sweep answers.
      base: the config file from which all cells start, followed by :<preset> for a preset. Its
        path is relative to the folder of configs/ and experiments/, or absolute.
      cells: the cells; see `axis`, `product`, `zip_` and `chain`.
      metric: the metric by which cells are compared, such as "kid_efflite0".
      baseline: levels of some axes. Each cell is compared with the cell that has these levels,
        and its own levels of the other axes.
      fixed: overrides of all cells, applied before a cell's own; a cell that says another kind of
        a part loses those of that part.
      seeds: the number of seeds, which are 0, 1, ...
      also: further metrics to show: any in metrics.jsonl, or one of
        `ganjax.analysis.learning_curves.DERIVED`.
      last: overrides of all cells, applied after a cell's own.
      together: whether the seeds of a cell, whose arrays have the same shapes, are trained in one
        program (config.num_seeds), which fills a GPU that one small run leaves idle.
    """

    question: str
    base: str
    cells: Sequence[Cell]
    metric: str
    baseline: Mapping[str, str]
    fixed: Mapping[str, Any] = {}
    seeds: int = 3
    also: Sequence[str] = ()
    last: Mapping[str, Any] = {}
    together: bool = False


def axis(name: str, choices: Sequence[Any] | Mapping[str, Mapping[str, Any]]) -> list[Cell]:
    """Makes cells that differ in one field, or in one choice between several overrides.

    Args:
      name: the name of the axis; if `choices` are values, the dotted name of their field.
      choices: values of that field, or the overrides of each choice by its name.
    """
    if isinstance(choices, Mapping):
        return [Cell({name: label}, dict(overrides)) for label, overrides in choices.items()]
    return [Cell({name: str(value)}, {name: value}) for value in choices]


def product(*factors: Sequence[Cell]) -> list[Cell]:
    """Combines every cell of the first factor with every cell of the second, and so on.

    Raises:
      UserError: two factors share an axis or set the same field.
    """
    return [_merge(cells) for cells in itertools.product(*factors)]


def zip_(*factors: Sequence[Cell]) -> list[Cell]:
    """Combines the first cells of all factors, then the second cells, and so on.

    Raises:
      UserError: the factors differ in length, share an axis or set the same field.
    """
    lengths = [len(cells) for cells in factors]
    if len(set(lengths)) > 1:
        raise UserError(f"zip_: {lengths} cells; it takes as many of each")
    return [_merge(cells) for cells in zip(*factors, strict=True)]


def chain(*factors: Sequence[Cell]) -> list[Cell]:
    """Concatenates lists of cells.

    Raises:
      UserError: the cells do not all have the same axes.
    """
    cells = [cell for factor in factors for cell in factor]
    for cell in cells:
        if list(cell.levels) != list(cells[0].levels):
            raise UserError(
                f"chain: axes {list(cells[0].levels)} and {list(cell.levels)}; give each cell a "
                "level of every axis"
            )
    return cells


def _merge(cells: Sequence[Cell]) -> Cell:
    merged = Cell({}, {})
    for cell in cells:
        for axis_ in cell.levels:
            if axis_ in merged.levels:
                raise UserError(f"axis {axis_!r} comes twice in a cell; take it once")
        for field in cell.overrides:
            for other in merged.overrides:
                if f"{field}.".startswith(f"{other}.") or f"{other}.".startswith(f"{field}."):
                    raise UserError(f"{other} and {field} are both set in a cell; set one")
        merged = Cell(merged.levels | cell.levels, merged.overrides | cell.overrides)
    return merged


def length(steps: int, evaluations: int) -> dict[str, int]:
    """Returns overrides that set a run's steps, and those between evaluations, samples and saves.

    Args:
      steps: the number of train steps.
      evaluations: the number of evaluations, pictures and checkpoints.
    """
    every = steps // evaluations
    names = ("eval_every", "sample_every", "checkpoint_every")
    return {"total_steps": steps} | dict.fromkeys(names, every)


def base_config(sweep: Sweep) -> dict:
    """Returns the base config of a sweep, with the overrides that are fixed for all cells.

    Raises:
      UserError: there is no such file, preset or field.
    """
    path, _, preset = sweep.base.partition(":")
    if not (ROOT / path).is_file():
        raise UserError(f"sweep.base={sweep.base!r}: there is no file {ROOT / path}")
    config = configs.from_file(ROOT / path, preset, f"sweep.base={sweep.base!r}").to_dict()
    override(config, sweep.fixed, sweep.base)
    return config


def cell_config(sweep: Sweep, cell: Cell, seed: int) -> dict:
    """Returns the config of one cell and seed.

    Raises:
      UserError: the cell sets a field that the config does not have.
    """
    config = base_config(sweep)
    override(config, cell.overrides, sweep.base)
    override(config, sweep.last, sweep.base)
    config["seed"] = seed
    return config


def baseline_of(sweep: Sweep, cell: Cell) -> Cell | None:
    """Returns the cell that `cell` is compared with, or None for a cell that is a baseline.

    Raises:
      UserError: there is no such cell.
    """
    levels = cell.levels | dict(sweep.baseline)
    if levels == cell.levels:
        return None
    for other in sweep.cells:
        if other.levels == levels:
            return other
    raise UserError(f"sweep.baseline={dict(sweep.baseline)}: no cell has {levels}")


def smoke(sweep: Sweep, overrides: Mapping[str, Any] | None = None) -> Sweep:
    """Returns a sweep's smallest form: its last cell that has a baseline, and that baseline.

    Both are trained with one seed for two steps at 8x8.

    Args:
      sweep: the sweep.
      overrides: further overrides of all cells.
    """
    last = [cell for cell in sweep.cells if baseline_of(sweep, cell) is not None][-1]
    chosen = [last, baseline_of(sweep, last)]
    return sweep._replace(
        cells=[cell for cell in sweep.cells if cell in chosen],
        seeds=1,
        last={**SMALL, **(overrides or {})},
    )


def load(named: str) -> tuple[str, Sweep, tuple[str, ...]]:
    """Reads the sweep that a file describes.

    Args:
      named: the name of a shipped sweep, "experiments/<name>.py" or the path of any such file, with
        :<preset> after it for a preset: one of the file's PRESETS, or "smoke". A relative path is
        looked up from the current folder, and then from the folder of configs/ and experiments/.

    Returns:
      The name of the sweep, the sweep, and the file's own presets.

    Raises:
      UserError: there is no such file or preset, or it describes no sweep.
    """
    path, _, preset = named.partition(":")
    file = sweep_file(path)
    if file is None:
        raise UserError(f"--sweep={named}: there is no file {path}; there are {_shipped()}")
    variables = runpy.run_path(str(file))
    if not isinstance(variables.get("SWEEP"), Sweep):
        raise UserError(f"--sweep={named}: {path} has no SWEEP; there are {_shipped()}")
    own = variables.get("PRESETS", {})
    presets = {"": variables["SWEEP"], SMOKE: smoke(variables["SWEEP"]), **own}
    if preset not in presets:
        raise UserError(
            f"--sweep={named}: there is no preset {preset!r}, but "
            f"{', '.join(filter(None, presets))}"
        )
    name = "_".join(filter(None, (Path(path).stem, preset)))
    return name, presets[preset], tuple(own)


def shipped() -> list[Path]:
    """Returns the files in experiments/ that describe a sweep."""
    return [ROOT / "experiments" / f"{name}.py" for name in sweep_names()]


def _shipped() -> str:
    return ", ".join(sweep_names())
