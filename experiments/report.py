"""`ganjax report <name>[:<preset>]`: reports the results of a sweep.

    ganjax report ema_decay
    ganjax report ada_by_data_size --out=runs/elsewhere

It writes index.html, a page that needs no other file, curves_<metric>.png and .svg, samples.png and
table.md to the folder <out>/report. While runs are still training, it shows what they have written
so far. It needs pip install 'ganjax[experiments]'.
"""

import json
import time
from collections import Counter
from pathlib import Path

from absl import flags

from ganjax import cli, shared_flags
from ganjax.errors import UserError
from ganjax.runtime import storage

FOLDER = "report"
# The least width in pixels at which a grid of samples is shown.
WIDE = 320


def define_flags() -> None:
    """Defines this command's flags."""
    shared_flags.define_path(
        "sweep",
        None,
        "The name of a shipped sweep (ganjax configs lists them) or the path of a sweep's file, "
        "followed by :smoke or another of its presets if wanted.",
    )
    shared_flags.define_path(
        "out", None, "The folder of the sweep's runs; runs/<sweep> by default."
    )


def main(argv: list[str]) -> None:
    """Writes the report of the sweep that the flags name."""
    del argv
    values = flags.FLAGS
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise UserError("jinja2 is missing: pip install 'ganjax[experiments]'") from None
    import jax

    from experiments.tools import design

    # Accelerators and their memory are left to runs that may be training.
    jax.config.update("jax_platforms", "cpu")
    name, sweep, _ = design.load(values.sweep)
    out = Path(values.out or Path("runs") / name)
    if not out.is_dir():
        raise UserError(
            f"{out}: there is no such folder; set --out to that of the runs, or train them: "
            f"ganjax sweep {values.sweep}"
        )
    text = write_report(name, sweep, out, command=f"ganjax sweep {values.sweep}")
    print(text)
    print(out / FOLDER / "index.html")


def write_report(name: str, sweep, out: Path, command: str) -> str:
    """Writes a sweep's report, and returns its table as Markdown.

    Args:
      name: the name of the sweep.
      sweep: the sweep, a `design.Sweep`.
      out: the folder of its runs.
      command: the command that trains it.

    Raises:
      UserError: a cell's config cannot be run, or matplotlib is not installed.
    """
    from experiments.tools import design, page, plots, results, runs
    from ganjax.metrics.table import sign
    from ganjax.pictures import curves, images

    found = results.read(sweep, runs.plan(sweep, out))
    folder = out / FOLDER
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    drawn = []
    for metric in (sweep.metric, *sweep.also):
        plot = plots.draw_curves(sweep, found, metric)
        if plot is not None:
            for suffix in (".png", ".svg"):
                curves.save(folder / f"curves_{metric}{suffix}", plot)
            drawn.append(page.picture(folder / f"curves_{metric}.svg", metric))
    shown, sheet = [], []
    for best in results.best_runs(sweep, found):
        for which, step, path in plots.sample(best, folder / "samples"):
            value_of = results.last_value if which == "last" else results.best_value
            label, width = best.run.cell.label, plots.size(path)[0]
            measured = f"{sweep.metric} {value_of(best, sweep.metric):.4g}"
            caption = f"{which}: {measured}, seed {best.seed}, step {step}"
            shown.append(page.picture(path, label, caption, width * -(-WIDE // width)))
            sheet.append((path, f"{label}, {which}"))
    if sheet:
        images.save_png(folder / "samples.png", plots.sheet(*zip(*sheet, strict=True)))
    cells = page.cells_table(sweep, results.table(sweep, found))
    counts = Counter({each.run.hash: each.progress.state for each in found}.values())
    better = "more" if sign(sweep.metric) == 1 else "less"
    html = page.html(
        name=name,
        question=sweep.question,
        state=", ".join(f"{n} runs {state}" for state, n in counts.items()),
        better=f"Compared by {sweep.metric}: {better} is better",
        written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        metric=sweep.metric,
        baseline=", ".join(f"{axis} {level}" for axis, level in sweep.baseline.items()),
        cells=cells,
        curves=drawn,
        samples=shown,
        base=sweep.base,
        fields=page.fields_table(sweep),
        config=json.dumps(design.base_config(sweep), indent=1),
        runs=page.runs_table(sweep, found),
        environments=page.environments_table(found),
        command=command,
    )
    text = page.markdown(cells)
    for path, content in ((folder / "index.html", html), (folder / "table.md", text)):
        storage.write_text(path, content)
    return text


if __name__ == "__main__":
    cli.run(main, define_flags, required="sweep")
