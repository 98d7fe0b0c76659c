"""A sweep's report: a page that needs nothing but itself, and a table for a README."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.tools import design, results
from experiments.tools.design import Sweep
from experiments.tools.results import Difference, Result, Row, Spread

TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


class Value(NamedTuple):
    """What stands in a table: its text, and the number that it is sorted by, None of a text."""

    text: str
    number: float | None = None


class Table(NamedTuple):
    """Of a page: `columns`, their names, and `rows`, a Value each."""

    columns: list[str]
    rows: list[list[Value]]


class Picture(NamedTuple):
    """Of a page: `source`, a data URI, the `title` above and the `caption` below."""

    source: str
    title: str
    caption: str
    width: int | None = None


def picture(path: Path, title: str, caption: str = "", width: int | None = None) -> Picture:
    """A picture with its content in the page."""
    content = base64.b64encode(path.read_bytes()).decode()
    return Picture(f"data:{TYPES[path.suffix]};base64,{content}", title, caption, width)


def cells_table(sweep: Sweep, rows: Sequence[Row]) -> Table:
    """A line a cell: mean and deviation over seeds, and the difference from the baseline."""
    axes = list(sweep.cells[0].levels)
    columns = [*axes, "runs"]
    for kind in ("best", "last"):
        columns += [f"{kind} {sweep.metric}", f"{kind}: - baseline", f"{kind}: p"]
    columns += [f"last {name}" for name in sweep.also]
    lines = []
    for row in rows:
        lost = f" ({row.diverged} diverged)" if row.diverged else ""
        line = [_level(level) for level in row.cell.levels.values()]
        line.append(Value(f"{row.finished}/{sweep.seeds}{lost}", row.finished))
        for value, change in (
            (row.best, row.best_difference),
            (row.last, row.last_difference),
        ):
            line += [_spread(value), _change(change), _p(change)]
        lines.append(line + [_spread(row.also[name]) for name in sweep.also])
    return Table(columns, lines)


def runs_table(sweep: Sweep, found: Sequence[Result]) -> Table:
    """A line a run."""
    columns = [*sweep.cells[0].levels, "seed", "state", "step", "images seen", "wall time, s"]
    columns += [f"best {sweep.metric}", f"last {sweep.metric}", "folder", "last line"]
    lines = []
    for each in found:
        measured = len(each.curves[sweep.metric].values) > 0
        numbers = (
            [results.best_value(each, sweep.metric), results.last_value(each, sweep.metric)]
            if measured
            else [None, None]
        )
        lines.append(
            [
                *(_level(level) for level in each.run.cell.levels.values()),
                Value(str(each.run.seed), each.run.seed),
                Value(each.progress.state),
                Value(str(each.progress.step), each.progress.step),
                Value(str(each.images), each.images),
                Value("" if each.wall_time is None else f"{each.wall_time:.0f}", each.wall_time),
                *(Value("" if n is None else f"{n:.4g}", n) for n in numbers),
                Value(each.run.folder.name),
                Value(each.progress.error),
            ]
        )
    return Table(columns, lines)


def fields_table(sweep: Sweep) -> Table:
    """A line a cell: the fields that cells set, and nothing else."""
    fields = results.changed_fields(sweep)
    lines = []
    for cell in sweep.cells:
        config = [results.field(sweep, cell, name) for name in fields]
        lines.append(
            [*(_level(level) for level in cell.levels.values()), *(_level(str(v)) for v in config)]
        )
    return Table([*sweep.cells[0].levels, *fields], lines)


def environments_table(found: Sequence[Result]) -> Table:
    """A line each environment that runs were trained in, and of how many runs."""
    counts = {}
    for each in found:
        for one in each.attempts:
            versions = ", ".join(f"{n} {v}" for n, v in one["versions"].items())
            key = (
                one["revision"],
                one["host"],
                one["devices"],
                str(one["cores"]),
                one["system"],
                f"python {one['python']}, {versions}",
            )
            counts.setdefault(key, set()).add(each.run.hash)
    columns = ["git revision", "host", "devices", "cores", "system", "versions", "runs"]
    return Table(
        columns,
        [[*(Value(v) for v in key), Value(str(len(n)), len(n))] for key, n in counts.items()],
    )


def markdown(table: Table) -> str:
    """A table as Markdown."""
    lines = [table.columns, ["---"] * len(table.columns)]
    lines += [[value.text.replace("|", "\\|") for value in row] for row in table.rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def html(**content) -> str:
    """The page.

    Args:
      content: name, question, state, tables, curves, samples, base, metric and the like: what
        page.html asks for.

    Raises:
      UserError: jinja2 is not installed.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = design.ROOT / "experiments" / "tools"
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return made.get_template("page.html").render(**content)


def _level(text: str) -> Value:
    """Sorted as a number where it is one."""
    try:
        return Value(text, float(text))
    except ValueError:
        return Value(text)


def _spread(found: Spread | None) -> Value:
    if found is None:
        return Value("")
    deviation = "" if found.deviation is None else f" ± {found.deviation:.2g}"
    return Value(f"{found.mean:.4g}{deviation}", found.mean)


def _change(found: Difference | None) -> Value:
    return Value("") if found is None else Value(f"{found.mean:+.3g}", found.mean)


def _p(found: Difference | None) -> Value:
    if found is None or found.p is None:
        return Value("")
    return Value(f"{found.p:.2g} ({found.adjusted:.2g})", found.p)
