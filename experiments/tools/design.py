"""A sweep as data: a base config, what its cells set in it, seeds, and the question it answers."""

import difflib
import itertools
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ganjax.errors import UserError

ROOT = Path(__file__).parent.parent.parent
SMOKE = "smoke"
# Any config of stages, at 8x8 and two steps.
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
# Overrides of a config that measures nothing by itself.
KID = {
    "evaluation.metrics": ("kid",),
    "evaluation.best": "kid_efflite0",
    "evaluation.num_samples": 500,
}


class Cell(NamedTuple):
    """One setting that is tried.

    Attributes:
      levels: by axis, the name of what it takes there.
      overrides: by the dotted name of a config's field, its value. A dict takes the place of
        a whole group, such as an `augment` of another policy.
    """

    levels: dict[str, str]
    overrides: dict[str, Any]

    @property
    def label(self) -> str:
        """The levels, as text."""
        return ", ".join(f"{axis} {level}" for axis, level in self.levels.items())


class Sweep(NamedTuple):
    """Cells to be trained, with some seeds each, and compared.

    Attributes:
      question: that it answers.
      base: a config file under the repository's root, with :<preset> behind it if wanted.
      cells: what is tried; see `axis`, `product`, `zip_` and `chain`.
      metric: the figure that cells are compared by, such as "kid_efflite0".
      baseline: levels. Each cell is compared with the one that has these and else its own.
      fixed: overrides of all cells, before their own.
      seeds: how many; they are 0, 1, ...
      also: other metrics to be shown: any of metrics.jsonl, or one of
        `ganjax.analysis.learning_curves.DERIVED`.
      last: overrides of all cells, after their own.
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


def axis(name: str, choices: Sequence[Any] | Mapping[str, Mapping[str, Any]]) -> list[Cell]:
    """Cells that differ in one thing.

    Args:
      name: of a config's field, if `choices` are its values; else any.
      choices: values, or overrides by what they are called.
    """
    if isinstance(choices, Mapping):
        return [Cell({name: label}, dict(overrides)) for label, overrides in choices.items()]
    return [Cell({name: str(value)}, {name: value}) for value in choices]


def product(*factors: Sequence[Cell]) -> list[Cell]:
    """Every cell of the first with every one of the second, and so on.

    Raises:
      UserError: two factors have one axis, or set one field.
    """
    return [_merge(cells) for cells in itertools.product(*factors)]


def zip_(*factors: Sequence[Cell]) -> list[Cell]:
    """The first cells of all in one, the second ones in one, and so on.

    Raises:
      UserError: there are not as many of each, or two have one axis, or set one field.
    """
    lengths = [len(cells) for cells in factors]
    if len(set(lengths)) > 1:
        raise UserError(f"zip_: {lengths} cells; it takes as many of each")
    return [_merge(cells) for cells in zip(*factors, strict=True)]


def chain(*factors: Sequence[Cell]) -> list[Cell]:
    """All cells, one after another.

    Raises:
      UserError: they have not all the same axes.
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
    """Overrides: a run of as many steps, evaluated, pictured and saved as often."""
    every = steps // evaluations
    names = ("eval_every", "sample_every", "checkpoint_every")
    return {"total_steps": steps} | dict.fromkeys(names, every)


def override(config: dict, overrides: Mapping[str, Any], of: str) -> None:
    """Sets fields of a nested dict.

    Args:
      config: changed in place.
      overrides: see `Cell`.
      of: what the config is, for errors.

    Raises:
      UserError: there is no such field.
    """
    for name, value in overrides.items():
        *groups, field = name.split(".")
        group = config
        for part in groups:
            group = group.get(part)
            if not isinstance(group, dict):
                raise UserError(f"override {name}={value!r}: {of} has no group {part}")
        if field not in group:
            close = difflib.get_close_matches(field, group, 1)
            mend = f"did you mean {close[0]}?" if close else f"there are {', '.join(group)}"
            raise UserError(f"override {name}={value!r}: {of} has no such field; {mend}")
        group[field] = dict(value) if isinstance(value, Mapping) else value


def base_config(sweep: Sweep) -> dict:
    """The base config with what is fixed in it before the cells.

    Raises:
      UserError: there is no such file or field.
    """
    path, _, preset = sweep.base.partition(":")
    if not (ROOT / path).is_file():
        raise UserError(f"sweep.base={sweep.base!r}: there is no file {ROOT / path}")
    config = runpy.run_path(str(ROOT / path))["get_config"](preset).to_dict()
    override(config, sweep.fixed, sweep.base)
    return config


def cell_config(sweep: Sweep, cell: Cell, seed: int) -> dict:
    """The config of one cell and seed.

    Raises:
      UserError: the cell sets a field that is not there.
    """
    config = base_config(sweep)
    override(config, cell.overrides, sweep.base)
    override(config, sweep.last, sweep.base)
    config["seed"] = seed
    return config


def baseline_of(sweep: Sweep, cell: Cell) -> Cell | None:
    """The cell that `cell` is compared with; None for a baseline itself.

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
    """The same with its last cell that has a baseline, and that; one seed, two steps at 8x8.

    Args:
      sweep: whose smallest form.
      overrides: of all cells, beyond what makes them small.
    """
    last = [cell for cell in sweep.cells if baseline_of(sweep, cell) is not None][-1]
    chosen = [last, baseline_of(sweep, last)]
    return sweep._replace(
        cells=[cell for cell in sweep.cells if cell in chosen],
        seeds=1,
        last={**SMALL, **(overrides or {})},
    )


def load(named: str) -> tuple[str, Sweep, tuple[str, ...]]:
    """The sweep that a file describes: (its name, the sweep, the file's own presets).

    Args:
      named: "experiments/<name>.py", or any such file, with :<preset> behind it: one of the
        file's PRESETS, or "smoke".

    Raises:
      UserError: there is no such file or preset, or it describes no sweep.
    """
    path, _, preset = named.partition(":")
    if not Path(path).is_file():
        raise UserError(f"--sweep={named}: there is no file {path}; there are {_shipped()}")
    found = runpy.run_path(path)
    if not isinstance(found.get("SWEEP"), Sweep):
        raise UserError(f"--sweep={named}: {path} has no SWEEP; there are {_shipped()}")
    own = found.get("PRESETS", {})
    presets = {"": found["SWEEP"], SMOKE: smoke(found["SWEEP"]), **own}
    if preset not in presets:
        raise UserError(
            f"--sweep={named}: there is no preset {preset!r}, but "
            f"{', '.join(filter(None, presets))}"
        )
    name = "_".join(filter(None, (Path(path).stem, preset)))
    return name, presets[preset], tuple(own)


def shipped() -> list[Path]:
    """The files of experiments/ that describe a sweep."""
    files = sorted((ROOT / "experiments").glob("*.py"))
    return [path for path in files if "\nSWEEP = " in path.read_text(encoding="utf-8")]


def _shipped() -> str:
    return ", ".join(str(path.relative_to(ROOT)) for path in shipped())
