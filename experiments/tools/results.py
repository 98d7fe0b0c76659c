"""What came of a sweep's runs: their figures, and cells compared over seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from experiments.tools import attempts, design, runs
from experiments.tools.design import Cell, Sweep
from experiments.tools.runs import Progress, Run
from ganjax.analysis.learning_curves import images_seen, learning_curve
from ganjax.metrics import figures
from ganjax.pictures.curves import Curve


class Result(NamedTuple):
    """What is known of one run.

    Attributes:
      run: which.
      progress: how far it is.
      curves: of the sweep's metric, and of those that are also shown, by name.
      images: the reals that D was trained on.
      wall_time: seconds, None before it began.
      attempts: the environments of its attempts, in order.
    """

    run: Run
    progress: Progress
    curves: dict[str, Curve]
    images: int
    wall_time: float | None
    attempts: list[dict]


class Spread(NamedTuple):
    """Values of a cell over its seeds.

    Attributes:
      mean: of them.
      deviation: the sample's standard deviation (of n - 1), None of one value.
      count: how many.
    """

    mean: float
    deviation: float | None
    count: int


class Difference(NamedTuple):
    """A cell less its baseline, seed by seed.

    Attributes:
      mean: of the differences.
      p: of a paired t-test (two-sided), None of fewer than two pairs, or where all
        differences are equal.
      adjusted: p, for as many tests as there are in the column, by the false discovery rate
        of Benjamini & Hochberg 1995; None as p.
      count: pairs.
    """

    mean: float
    p: float | None
    adjusted: float | None
    count: int


class Row(NamedTuple):
    """A cell's line of the table.

    Attributes:
      cell: which.
      finished: runs that came to their end, of which the rest is.
      diverged: runs that did not, by what is no number.
      best: of the metric's best value.
      last: of its last.
      best_difference: from the baseline's best; None of a baseline, or before there is a pair.
      last_difference: from its last.
      also: the last values of other metrics.
    """

    cell: Cell
    finished: int
    diverged: int
    best: Spread | None
    last: Spread | None
    best_difference: Difference | None
    last_difference: Difference | None
    also: dict[str, Spread | None]


def read(sweep: Sweep, planned: Sequence[Run]) -> list[Result]:
    """The results of all runs, those that have not begun among them."""
    results = []
    for run in planned:
        # One that was trained further counts as it was here.
        until = run.checked.total_steps
        rows = [row for row in runs.metrics(run.folder) if row["step"] <= until]
        found = runs.progress(run)
        lines = attempts.read(run.folder)
        results.append(
            Result(
                run=run,
                progress=found,
                curves={
                    name: learning_curve(rows, name, run.algorithm)
                    for name in (sweep.metric, *sweep.also)
                },
                images=images_seen(run.algorithm, min(found.step, until)),
                wall_time=attempts.wall_time(run.folder),
                attempts=[line for line in lines if line["event"] == "begin"],
            )
        )
    return results


def best_value(result: Result, metric: str) -> float:
    """The best of a run's curve; it must have a point."""
    values = result.curves[metric].values
    return float(values.max() if figures.sign(metric) > 0 else values.min())


def last_value(result: Result, metric: str) -> float:
    """The last of a run's curve; it must have a point."""
    return float(result.curves[metric].values[-1])


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and deviation, None of no values."""
    if not len(values):
        return None
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, len(values))


def difference(ours: dict[int, float], theirs: dict[int, float]) -> Difference | None:
    """Of two cells' values by seed; None without a seed that both have."""
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    a, b = (np.array([values[seed] for seed in seeds]) for values in (ours, theirs))
    p = None
    if len(seeds) > 1 and np.ptp(a - b) > 0:  # SciPy warns of a test that says nothing.
        p = float(stats.ttest_rel(a, b).pvalue)
    return Difference(float(np.mean(a - b)), p, None, len(seeds))


def adjust(found: Sequence[Difference | None]) -> list[Difference | None]:
    """The same with `adjusted`, for all of a column's tests."""
    tested = [i for i, each in enumerate(found) if each is not None and each.p is not None]
    adjusted = list(found)
    if tested:
        for i, p in zip(
            tested, stats.false_discovery_control([found[i].p for i in tested]), strict=True
        ):
            adjusted[i] = found[i]._replace(adjusted=float(p))
    return adjusted


def table(sweep: Sweep, results: Sequence[Result]) -> list[Row]:
    """A row a cell. Runs that are not finished count in no mean."""
    values = {"best": {}, "last": {}}
    for each in results:
        if each.progress.state == runs.FINISHED and len(each.curves[sweep.metric].values):
            key = each.run.cell.label
            seed = each.run.seed
            values["best"].setdefault(key, {})[seed] = best_value(each, sweep.metric)
            values["last"].setdefault(key, {})[seed] = last_value(each, sweep.metric)
    differences = {
        kind: adjust([_from_baseline(sweep, cell, by_cell) for cell in sweep.cells])
        for kind, by_cell in values.items()
    }
    rows = []
    for i, cell in enumerate(sweep.cells):
        own = [each for each in results if each.run.cell == cell]
        finished = [each for each in own if each.progress.state == runs.FINISHED]
        also = {
            name: [last_value(each, name) for each in finished if len(each.curves[name].values)]
            for name in sweep.also
        }
        rows.append(
            Row(
                cell=cell,
                finished=len(finished),
                diverged=sum(each.progress.state == runs.DIVERGED for each in own),
                best=spread(list(values["best"].get(cell.label, {}).values())),
                last=spread(list(values["last"].get(cell.label, {}).values())),
                best_difference=differences["best"][i],
                last_difference=differences["last"][i],
                also={name: spread(found) for name, found in also.items()},
            )
        )
    return rows


def best_runs(sweep: Sweep, results: Sequence[Result]) -> list[Result]:
    """Of each cell the run with the best value of the metric; none of a cell without any."""
    found = []
    for cell in sweep.cells:
        own = [
            each
            for each in results
            if each.run.cell == cell and len(each.curves[sweep.metric].values)
        ]
        if own:
            sign = figures.sign(sweep.metric)
            found.append(max(own, key=lambda each: sign * best_value(each, sweep.metric)))
    return found


def changed_fields(sweep: Sweep) -> list[str]:
    """The dotted names of the fields that cells set, in order, but for those that are axes."""
    names = dict.fromkeys(name for cell in sweep.cells for name in cell.overrides)
    return [name for name in names if name not in sweep.cells[0].levels]


def field(sweep: Sweep, cell: Cell, name: str):
    """What a cell's config has for a field; "" where its group has none such."""
    value = design.cell_config(sweep, cell, 0)
    for part in name.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return value


def _from_baseline(sweep: Sweep, cell: Cell, values: dict[str, dict]) -> Difference | None:
    baseline = design.baseline_of(sweep, cell)
    if baseline is None:
        return None
    return difference(values.get(cell.label, {}), values.get(baseline.label, {}))
