"""The results of a sweep's runs, and the comparison of its cells over seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from experiments.tools import design, runs
from experiments.tools.design import Cell, Sweep
from experiments.tools.runs import Progress, Run
from ganjax.analysis.learning_curves import images_seen, learning_curve
from ganjax.metrics.table import sign
from ganjax.pictures.curves import Curve
from ganjax.training import attempts
from ganjax.training.window import SEED


class Result(NamedTuple):
    """The results of one seed of a cell.

    Attributes:
      run: the run that trains it.
      seed: the seed.
      progress: the progress of the run.
      curves: the curves of the sweep's metric and of the others that are shown, by name.
      images: the number of real images that D was trained on.
      wall_time: the seconds of all attempts, or None before the first.
      attempts: the environments of the attempts, in order.
    """

    run: Run
    seed: int
    progress: Progress
    curves: dict[str, Curve]
    images: int
    wall_time: float | None
    attempts: list[dict]


class Spread(NamedTuple):
    """A summary of a cell's values over its seeds.

    Attributes:
      mean: the mean of the values.
      deviation: their standard deviation, with n - 1 in its denominator; None for one value.
      count: the number of values.
    """

    mean: float
    deviation: float | None
    count: int


class Difference(NamedTuple):
    """The difference between a cell and its baseline, seed by seed.

    Attributes:
      mean: the mean of the differences.
      p: the p-value of a paired, two-sided t-test; None for fewer than two pairs, or if all
        differences are equal.
      adjusted: p adjusted for the number of tests in its column by the false discovery rate
        (Benjamini & Hochberg 1995); None if p is None.
      count: the number of pairs.
    """

    mean: float
    p: float | None
    adjusted: float | None
    count: int


class Row(NamedTuple):
    """The row of a cell in the table, over its finished runs.

    Attributes:
      cell: the cell.
      finished: the number of finished runs.
      diverged: the number of runs that ended with a value that is not finite.
      best: the best values of the metric.
      last: the last values of the metric.
      best_difference: the difference of the best values from the baseline's; None for a
        baseline, or while there is no pair of runs.
      last_difference: the same difference of the last values.
      also: the last values of the other metrics that are shown.
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
    """Reads the results of all runs, including those that have not begun."""
    results = []
    for run in planned:
        # Of a run that was trained for longer, only the steps up to this one count.
        until = run.checked.total_steps
        rows = [row for row in runs.metrics(run.folder) if row["step"] <= until]
        progress = runs.progress(run)
        lines = attempts.read(run.folder)
        for seed in run.seeds:
            results.append(
                Result(
                    run=run,
                    seed=seed,
                    progress=progress,
                    curves={
                        name: learning_curve(rows, _of_seed(name, run, seed), run.algorithm)
                        for name in (sweep.metric, *sweep.also)
                    },
                    images=images_seen(run.algorithm, min(progress.step, until)),
                    wall_time=attempts.wall_time(run.folder),
                    attempts=[line for line in lines if line["event"] == "begin"],
                )
            )
    return results


def _of_seed(name: str, run: Run, seed: int) -> str:
    """Returns the name that a metric of a seed has in the run's metrics."""
    return f"{name}{SEED}{seed}" if len(run.seeds) > 1 else name


def best_value(result: Result, metric: str) -> float:
    """Returns the best value of a run's curve, which must have a point."""
    values = result.curves[metric].values
    return float(values.max() if sign(metric) == 1 else values.min())


def last_value(result: Result, metric: str) -> float:
    """Returns the last value of a run's curve, which must have a point."""
    return float(result.curves[metric].values[-1])


def spread(values: Sequence[float]) -> Spread | None:
    """Summarises values, or returns None if there are none."""
    if not len(values):
        return None
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, len(values))


def difference(cell: dict[int, float], baseline: dict[int, float]) -> Difference | None:
    """Compares the values of a cell with those of its baseline, seed by seed.

    Args:
      cell: the cell's values by seed.
      baseline: the baseline's values by seed.

    Returns:
      The difference, not adjusted yet, or None if no seed has both values.
    """
    seeds = sorted(set(cell) & set(baseline))
    if not seeds:
        return None
    a, b = (np.array([values[seed] for seed in seeds]) for values in (cell, baseline))
    p = None
    if len(seeds) > 1 and np.ptp(a - b) > 0:  # SciPy warns if all are equal.
        p = float(scipy.stats.ttest_rel(a, b).pvalue)
    return Difference(float(np.mean(a - b)), p, None, len(seeds))


def adjust(found: Sequence[Difference | None]) -> list[Difference | None]:
    """Returns the differences of a column with `adjusted` filled in for all tests."""
    tested = {i: each for i, each in enumerate(found) if each is not None and each.p is not None}
    adjusted = list(found)
    if tested:
        controlled = scipy.stats.false_discovery_control([each.p for each in tested.values()])
        for (i, each), p in zip(tested.items(), controlled, strict=True):
            adjusted[i] = each._replace(adjusted=float(p))
    return adjusted


def table(sweep: Sweep, results: Sequence[Result]) -> list[Row]:
    """Makes the row of each cell, from finished runs only."""
    values = {"best": {}, "last": {}}
    for each in results:
        if each.progress.state == runs.FINISHED and len(each.curves[sweep.metric].values):
            key = each.run.cell.label
            seed = each.seed
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
    """Returns the run with the metric's best value in each cell that has a value."""
    found = []
    for cell in sweep.cells:
        own = [
            each
            for each in results
            if each.run.cell == cell and len(each.curves[sweep.metric].values)
        ]
        if own:
            direction = sign(sweep.metric) or 1
            found.append(max(own, key=lambda each: direction * best_value(each, sweep.metric)))
    return found


def changed_fields(sweep: Sweep) -> list[str]:
    """Returns the dotted names of the fields that cells set, in order.

    Fields are left out that are axes, and whose values are therefore the levels. An axis may also
    have the name of a field and levels that stand for several overrides.
    """
    names = dict.fromkeys(name for cell in sweep.cells for name in cell.overrides)
    return [name for name in names if not _is_axis(sweep, name)]


def _is_axis(sweep: Sweep, name: str) -> bool:
    """Returns whether every cell's level of an axis is its value of the field of that name."""
    return all(
        name in cell.levels and cell.levels[name] == str(cell.overrides.get(name))
        for cell in sweep.cells
    )


def field(sweep: Sweep, cell: Cell, name: str):
    """Returns the value of a field in a cell's config, or "" if it has no such field."""
    value = design.cell_config(sweep, cell, 0)
    for part in name.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return value


def _from_baseline(sweep: Sweep, cell: Cell, values: dict[str, dict]) -> Difference | None:
    baseline = design.baseline_of(sweep, cell)
    if baseline is None:
        return None
    return difference(values.get(cell.label, {}), values.get(baseline.label, {}))
