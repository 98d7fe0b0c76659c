"""The report of a sweep, as a page that needs no other file and as a table in Markdown."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.tools import results
from experiments.tools.design import Sweep
from experiments.tools.results import Difference, Result, Row, Spread
from ganjax.runtime import regular

TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


class Value(NamedTuple):
    """An entry of a table: its text, and the number by which it is sorted, or None for the text."""

    text: str
    number: float | None = None


class Table(NamedTuple):
    """A table of the page: the names of its columns, and its rows."""

    columns: list[str]
    rows: list[list[Value]]


class Picture(NamedTuple):
    """A picture of the page: a data URI, a title above, a caption below, and a width in pixels."""

    source: str
    title: str
    caption: str
    width: int | None = None


def picture(path: Path, title: str, caption: str = "", width: int | None = None) -> Picture:
    """Reads a .png or .svg file into a picture of the page."""
    content = base64.b64encode(regular.read_bytes(path)).decode()
    return Picture(f"data:{TYPES[path.suffix]};base64,{content}", title, caption, width)


def cells_table(sweep: Sweep, rows: Sequence[Row]) -> Table:
    """Returns the table of cells: means and deviations over seeds, differences from baselines."""
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
    """Returns the table of runs."""
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
                Value(str(each.seed), each.seed),
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
    """Returns the table of the fields that cells set, with their values in each cell."""
    fields = results.changed_fields(sweep)
    lines = []
    for cell in sweep.cells:
        config = [results.field(sweep, cell, name) for name in fields]
        lines.append(
            [*(_level(level) for level in cell.levels.values()), *(_level(str(v)) for v in config)]
        )
    return Table([*sweep.cells[0].levels, *fields], lines)


def environments_table(found: Sequence[Result]) -> Table:
    """Returns the table of environments, with the number of runs that were trained in each."""
    counts = {}
    for each in found:
        for attempt in each.attempts:
            versions = ", ".join(f"{n} {v}" for n, v in attempt["versions"].items())
            key = (
                attempt["revision"],
                attempt["host"],
                attempt["devices"],
                str(attempt["cores"]),
                attempt["system"],
                f"python {attempt['python']}, {versions}",
            )
            counts.setdefault(key, set()).add(each.run.hash)
    columns = ["git revision", "host", "devices", "cores", "system", "versions", "runs"]
    return Table(
        columns,
        [[*(Value(v) for v in key), Value(str(len(n)), len(n))] for key, n in counts.items()],
    )


def markdown(table: Table) -> str:
    """Returns a table as Markdown."""
    lines = [table.columns, ["---"] * len(table.columns)]
    lines += [[value.text.replace("|", "\\|") for value in row] for row in table.rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def html(**content) -> str:
    """Returns the page, from the template page.html.

    Args:
      **content: the values of all variables of the template.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(**content)


def _level(text: str) -> Value:
    """Returns an entry that is sorted as a number if its text is one."""
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
