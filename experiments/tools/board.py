"""The progress of a sweep as one table: a row a cell, a column a seed."""

import time
from collections.abc import Sequence

from rich.table import Table

from experiments.tools import runs
from experiments.tools.design import Sweep
from experiments.tools.runs import Progress, Run

SECONDS = 5.0  # For which the table is not read anew.


class Board:
    """Reads how far runs are; those that are over once only."""

    def __init__(self, sweep: Sweep, planned: Sequence[Run]):
        self._sweep, self._runs = sweep, planned
        self._known: dict[str, Progress] = {}
        self._read = 0.0

    def progress(self, run: Run) -> Progress:
        """How far a run is."""
        if run.hash not in self._known or self._known[run.hash].state not in runs.OVER:
            self._known[run.hash] = runs.progress(run)
        return self._known[run.hash]

    def is_due(self) -> bool:
        """Whether the table is old; if so, the next call comes after SECONDS."""
        if time.monotonic() - self._read < SECONDS:
            return False
        self._read = time.monotonic()
        return True

    def table(self) -> Table:
        """The table, read now."""
        found = {run.hash: self.progress(run) for run in self._runs}
        over = sum(each.state in runs.OVER for each in found.values())
        table = Table(title=f"{over} of {len(found)} runs are over", title_justify="left")
        for axis in self._sweep.cells[0].levels:
            table.add_column(axis)
        for seed in range(self._sweep.seeds):
            table.add_column(f"seed {seed}")
        for cell in self._sweep.cells:
            states = [self._text(run, found[run.hash]) for run in self._runs if run.cell == cell]
            table.add_row(*cell.levels.values(), *states)
        return table

    def failures(self) -> list[str]:
        """A line of each run that failed or diverged, with its own last line."""
        found = [(run, self.progress(run)) for run in self._runs]
        return [
            f"{run.label}: {each.state} at step {each.step}: {each.error}"
            for run, each in found
            if each.state in (runs.FAILED, runs.DIVERGED)
        ]

    def _text(self, run: Run, found: Progress) -> str:
        if found.state == runs.STOPPED:
            return f"{found.step}/{run.checked.total_steps}"
        return found.state
