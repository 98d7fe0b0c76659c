"""Comparison of several runs: their learning curves, samples and configs side by side."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ganjax.analysis.learning_curves import DERIVED, images_seen, learning_curve, stretches
from ganjax.analysis.trained import Trained
from ganjax.analysis.views import check_size
from ganjax.config import differences
from ganjax.errors import UserError
from ganjax.metrics.fields import NO_FIGURE
from ganjax.metrics.table import sign
from ganjax.pictures import curves, images
from ganjax.training import checkpoint, domain, history, workdir
from ganjax.training.images import Images
from ganjax.training.writer import METRICS, read_metrics


def compare(
    folders: Sequence[Path],
    metrics: Sequence[str] = (),
    num: int = 36,
    seed: int = 0,
    which: str | None = None,
    trust: bool = False,
):
    """Draws learning curves of several runs, a panel for each metric, above samples of each run.

    Args:
      folders: the folders of the runs.
      metrics: names in metrics.jsonl or in `ganjax.analysis.learning_curves.DERIVED`; by default
        the figures that all runs have, or their losses.
      num: the number of samples of each run, which take the classes in turn; 0 leaves them out.
      seed: the seed of the samples' latents.
      which: the checkpoint: "best", "last" or a step; by default the best and the last.
      trust: whether the runs may name code that is not ganjax's (`ganjax.training.trust`).

    Returns:
      A matplotlib Figure, and a line for each field in which the configs differ or that changed
      while a run was trained.

    Raises:
      UserError: a folder holds no run, or a run without such a metric or without a checkpoint;
        or matplotlib is not installed.
    """
    loaded = [workdir.read(folder, trust) for folder in folders]
    runs = [stretches(folder, trust) for folder in folders]
    rows = [read_rows(folder) for folder in folders]
    metrics = _metrics(metrics, rows, folders)
    names = _names(folders)
    shown = [samples(folder, num, seed, which, trust) if num else [] for folder in folders]
    rows_of_grids = max(map(len, shown))
    heights = [3.4, *[3.0] * rows_of_grids]
    plot = curves.figure(max(4.2 * len(metrics), 2.6 * len(folders)), sum(heights))
    parts = plot.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    panels = parts[0].subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for i, (name, run, run_rows) in enumerate(zip(names, runs, rows, strict=True)):
            curves.draw(axes, [learning_curve(run_rows, metric, run)], label=name, color=f"C{i}")
            for start, _ in run[1:]:  # A field has changed.
                axes.axvline(images_seen(run, start), color=f"C{i}", linewidth=0.8, linestyle="--")
        axes.set_title(metric)
        axes.set_xlabel("images seen")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    for i, part in enumerate(parts[1:]):
        every = part.subplots(1, len(folders), squeeze=False)[0]
        for axes, name, grids in zip(every, names, shown, strict=True):
            if i < len(grids):
                curves.show(axes, grids[i].picture, f"{name}, {grids[i].title}")
            else:
                axes.set_visible(False)
    configs = [config.model_dump(mode="json") for config, _ in loaded]
    changed = sorted({n for one in configs for other in configs for n in differences(one, other)})
    fields = [name.removeprefix("config.") for name in changed]
    lines = [
        f"config.{n}: " + ", ".join(str(history.value_of(each, n)) for each in configs)
        for n in fields
    ]
    for name, folder in zip(names, folders, strict=True):
        lines += [f"{name} {change}" for change in workdir.read_history(folder).changes]
    return plot, lines


def best_and_last(
    folder: Path, trust: bool | Collection[str] = False, seed_index: int = 0
) -> dict[str, Trained]:
    """Returns a run at its best and at its last checkpoint, by what each of them is.

    It is one alone, "best and last", where these are the same; or "last" where
    config.evaluation.best names no figure.

    Args:
      folder: the folder of the run.
      trust: whether the run may name code that is not ganjax's, or what it may name.
      seed_index: the index, from 0, of one of the run's config.num_seeds seeds.

    Raises:
      UserError: the folder holds no run, or no checkpoint.
    """
    best = Trained(folder, "best", trust=trust, seed_index=seed_index)
    if best.config.evaluation.best == NO_FIGURE:
        return {"last": best}
    with checkpoint.open_checkpoints(folder) as checkpoints:
        latest = checkpoint.latest_step(checkpoints)
    if best.step == latest:
        return {"best and last": best}
    return {"best": best, "last": Trained(folder, "last", trust=trust, seed_index=seed_index)}


class Grid(NamedTuple):
    """Samples of a run at one of its checkpoints.

    Attributes:
      picture: a grid of the samples.
      title: the checkpoint, such as "best, step 100".
    """

    picture: UInt8[np.ndarray, "h w c"]
    title: str


def samples(
    folder: Path, num: int, seed: int, which: str | None = None, trust: bool = False
) -> list[Grid]:
    """Generates samples of a run, from the same latents at each checkpoint.

    Args:
      folder: the folder of the run.
      num: the number of samples.
      seed: the seed of their latents.
      which: the checkpoint: "best", "last" or a step; by default those of `best_and_last`.
      trust: whether the run may name code that is not ganjax's.

    Raises:
      UserError: the folder holds no run, or no such checkpoint.
    """
    if not isinstance(domain.of(workdir.read(folder, trust), folder), Images):
        return []  # What other runs generate is no picture.
    if which is None:
        runs = best_and_last(folder, trust)
    else:
        runs = {"" if which.isdecimal() else which: Trained(folder, which, trust=trust)}
    grids = []
    for name, run in runs.items():
        check_size(run, num, 1)
        generated = run.generate(*run.inputs(num, seed))
        picture = images.grid(generated, images.columns(num, run.algorithm.num_classes))
        grids.append(Grid(picture, ", ".join(filter(None, [name, f"step {run.step}"]))))
    return grids


def read_rows(folder: Path) -> list[dict]:
    """Reads the rows of a run's metrics.jsonl.

    Raises:
      UserError: the run has no metrics yet.
    """
    path = folder / METRICS
    rows = read_metrics(path) if path.is_file() else []
    if not rows:
        raise UserError(f"{folder} has no metrics yet ({path}): wait for its first steps")
    return rows


def _metrics(
    metrics: Sequence[str], rows: Sequence[list[dict]], folders: Sequence[Path]
) -> list[str]:
    """Returns the names of the metrics that are drawn.

    Raises:
      UserError: one of the runs has no such metric.
    """
    measured = [{name for row in run_rows for name in row} - {"step", "epoch"} for run_rows in rows]
    shared = set.intersection(*measured)
    for metric in metrics:
        for folder, names in zip(folders, measured, strict=True):
            if metric not in (*names, *DERIVED):
                raise UserError(
                    f"--metrics={metric}: {folder} has none such; all runs have "
                    f"{', '.join(sorted(shared))}"
                )
    comparable = sorted(name for name in shared if sign(name) is not None)
    return list(metrics) or comparable or ["d_loss", "g_loss"]


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns the folders' names, or their paths where two folders have the same name."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]
