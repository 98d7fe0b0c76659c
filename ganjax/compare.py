"""`python -m ganjax.compare RUN RUN ...`: curves and samples of several runs in one picture.

    python -m ganjax.compare runs/dcgan runs/wgan_gp
    python -m ganjax.compare runs/dcgan runs/wgan_gp --metrics=g_loss,kid_efflite0 --out=both.svg

Curves are against the reals that D has seen, since runs differ in batches and updates of D.
Samples are of the averaged generator, of the same latents wherever runs have as many. Prints in
which fields of their configs the runs differ. (pip install 'ganjax[experiments]')
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ganjax import cli
from ganjax.errors import UserError

FORMATS = (".png", ".svg", ".pdf")


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_list(
        "metrics",
        [],
        "Names in metrics.jsonl, with commas between; by default the figures that all runs have, "
        "or their losses.",
    )
    flags.DEFINE_integer("num", 36, "Samples of each run; 0 leaves them out.", lower_bound=0)
    flags.DEFINE_integer(
        "seed", 0, "Of the samples' latents.", lower_bound=0, upper_bound=2**32 - 1
    )
    flags.DEFINE_string("which", "best", cli.WHICH)
    flags.DEFINE_string("out", "compare.png", "Where the picture goes: .png, .svg or .pdf.")


def main(argv: list[str]) -> None:
    """Compares the runs that the arguments name."""
    values = flags.FLAGS
    folders = [Path(each) for each in argv[1:]]
    out = Path(values.out)
    if out.suffix not in FORMATS or not out.parent.is_dir():
        raise UserError(
            f"--out={out}: end its name in {', '.join(FORMATS)}, in a folder that exists"
        )
    if len(set(folders)) < 2:
        raise UserError("name two runs or more: python -m ganjax.compare runs/a runs/b")

    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    from ganjax.pictures import curves

    plot, lines = compare(folders, values.metrics, values.num, values.seed, values.which)
    curves.save(out, plot)
    for line in (*lines, out):
        print(line)


def compare(
    folders: Sequence[Path],
    metrics: Sequence[str] = (),
    num: int = 36,
    seed: int = 0,
    which: str = "best",
):
    """Curves of several runs above, a panel a metric; samples of each below.

    Args:
      folders: the runs'.
      metrics: names in metrics.jsonl, or of `ganjax.pictures.curves.DERIVED`; by default the figures that
        all runs have, or their losses.
      num: samples of each run, their classes in turn; 0 leaves them out.
      seed: of their latents.
      which: checkpoint: "best", "last" or a step.

    Returns:
      (a matplotlib Figure, a line for each field in which their configs differ).

    Raises:
      UserError: a folder holds no run, or one without such a metric, or no checkpoint yet;
        or matplotlib is not installed.
    """
    from ganjax.config import differences
    from ganjax.pictures import curves
    from ganjax.training import workdir

    loaded = [workdir.read(folder) for folder in folders]
    rows = [_rows(folder) for folder in folders]
    metrics = _metrics(metrics, rows, folders)
    names = _names(folders)
    plot = curves.figure(max(4.2 * len(metrics), 2.6 * len(folders)), 6.4 if num else 3.4)
    parts = plot.subfigures(2 if num else 1, 1, squeeze=False)[:, 0]
    panels = parts[0].subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for name, (config, module), lines in zip(names, loaded, rows, strict=True):
            found = curves.curve(lines, metric, module.build(config))
            curves.draw(axes, [found], label=name)
        axes.set_title(metric)
        axes.set_xlabel("images seen")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    if num:
        for axes, name, folder in zip(
            parts[1].subplots(1, len(folders), squeeze=False)[0], names, folders, strict=True
        ):
            picture, step = samples(folder, num, seed, which)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(f"{name}, step {step}", fontsize="small")
            axes.axis("off")
    configs = [config.model_dump(mode="json") for config, _ in loaded]
    changed = sorted({n for one in configs for other in configs for n in differences(one, other)})
    lines = [f"{n}: " + ", ".join(str(_field(each, n)) for each in configs) for n in changed]
    return plot, lines


def samples(folder: Path, num: int, seed: int, which: str):
    """(a grid of a run's samples, uint8 (H, W) or (H, W, 3); the checkpoint's step)."""
    from ganjax.analysis.trained import Trained
    from ganjax.pictures import images

    run = Trained(folder, which)
    made = run.generate(*run.inputs(num, seed))
    picture = images.grid(made, images.columns(num, run.algorithm.num_classes))
    return picture[..., 0] if picture.shape[-1] == 1 else picture, run.step


def _rows(folder: Path) -> list[dict]:
    from ganjax.training.writer import read_metrics

    path = folder / "metrics.jsonl"
    rows = read_metrics(path) if path.is_file() else []
    if not rows:
        raise UserError(f"{folder} has no metrics yet ({path}): wait for its first steps")
    return rows


def _metrics(
    wanted: Sequence[str], rows: Sequence[list[dict]], folders: Sequence[Path]
) -> list[str]:
    """The names of what is drawn."""
    from ganjax.metrics import figures
    from ganjax.pictures.curves import DERIVED

    known = [{name for row in lines for name in row} - {"step"} for lines in rows]
    shared = set.intersection(*known)
    for metric in wanted:
        for folder, names in zip(folders, known, strict=True):
            if metric not in (*names, *DERIVED):
                raise UserError(
                    f"--metrics={metric}: {folder} has none such; all runs have "
                    f"{', '.join(sorted(shared))}"
                )
    measured = sorted(name for name in shared if figures.sign(name) is not None)
    return list(wanted) or measured or ["d_loss", "g_loss"]


def _names(folders: Sequence[Path]) -> list[str]:
    """Their last parts, or whole where two have the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _field(config: dict, name: str):
    """A field by its dotted name; None where the config has none."""
    for part in name.split(".")[1:]:
        config = config.get(part) if isinstance(config, dict) else None
    return config


if __name__ == "__main__":
    cli.run(main, define_flags, positional=True)
