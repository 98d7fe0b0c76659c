"""The progress of a sweep as a table with a row for each cell and a column for each seed."""

import time
from collections.abc import Sequence

from rich.table import Table

from experiments.tools import runs
from experiments.tools.design import Sweep
from experiments.tools.runs import Progress, Run

SECONDS = 5.0  # The time between two readings of the table.


class Board:
    """The progress of a sweep's runs, which is read only once for runs that are over.

    Args:
      sweep: the sweep.
      planned: the runs of the sweep.
    """

    def __init__(self, sweep: Sweep, planned: Sequence[Run]):
        self._sweep, self._runs = sweep, planned
        self._known: dict[str, Progress] = {}
        self._read = 0.0

    def progress(self, run: Run) -> Progress:
        """Returns the progress of a run."""
        if run.hash not in self._known or self._known[run.hash].state not in runs.OVER:
            self._known[run.hash] = runs.progress(run)
        return self._known[run.hash]

    def is_old(self) -> bool:
        """Returns whether `SECONDS` have passed since the last call that returned True."""
        if time.monotonic() - self._read < SECONDS:
            return False
        self._read = time.monotonic()
        return True

    def table(self) -> Table:
        """Reads the progress of all runs and returns the table."""
        progress = {run.hash: self.progress(run) for run in self._runs}
        over = sum(each.state in runs.OVER for each in progress.values())
        table = Table(title=f"{over} of {len(progress)} runs are over", title_justify="left")
        for axis in self._sweep.cells[0].levels:
            table.add_column(axis)
        for seed in range(self._sweep.seeds):
            table.add_column(f"seed {seed}")
        for cell in self._sweep.cells:
            own = [run for run in self._runs if run.cell == cell]
            states = [self._text(run, progress[run.hash]) for run in own for _ in run.seeds]
            table.add_row(*cell.levels.values(), *states)
        return table

    def failures(self) -> list[str]:
        """Returns a line for each run that failed or diverged, with the end of its error."""
        progress = [(run, self.progress(run)) for run in self._runs]
        return [
            f"{run.label}: {each.state} at step {each.step}: {each.error}"
            for run, each in progress
            if each.state in (runs.FAILED, runs.DIVERGED)
        ]

    def _text(self, run: Run, progress: Progress) -> str:
        if progress.state == runs.STOPPED:
            return f"{progress.step}/{run.checked.total_steps}"
        return progress.state
