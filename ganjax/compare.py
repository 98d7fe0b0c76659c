"""`ganjax compare RUN ...`: draws curves and samples of one run or several in a picture.

    ganjax compare runs/wgan_gp
    ganjax compare runs/dcgan runs/wgan_gp
    ganjax compare runs/dcgan runs/wgan_gp --metrics=g_loss,kid_efflite0 --out=both.svg

Of one run, the picture has a panel for its losses, its accuracies, and each other metric, against
steps and epochs, and the command prints the last and the best of its figures.

Of several runs, the curves are plotted against the number of real images that D has seen, since
runs differ in their batch sizes and in the number of D's updates. The samples are those of the
averaged generators, from the same latents if the runs' latents have the same size. The command
prints the fields in which the runs' configs differ.

It needs matplotlib: pip install 'ganjax[experiments]'.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ganjax import cli, shared_flags
from ganjax.errors import UserError
from ganjax.runtime.limits import LARGEST

FORMATS = (".png", ".svg", ".pdf")
# The most runs beside the first that the picture's default name has.
MOST_NAMED = 3


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_list(
        "metrics",
        [],
        "Names in metrics.jsonl, with commas between; by default all of a single run, and of "
        "several runs the figures that all of them have, or their losses.",
    )
    flags.DEFINE_integer(
        "num",
        36,
        "Samples of each run; 0 leaves them out.",
        lower_bound=0,
        upper_bound=LARGEST,
    )
    flags.DEFINE_integer(
        "seed", 0, "The seed of the samples' latents.", lower_bound=0, upper_bound=2**32 - 1
    )
    flags.DEFINE_string(
        "which", None, f"{shared_flags.WHICH} By default both the best and the last."
    )
    shared_flags.define_trust()
    shared_flags.define_path(
        "out",
        None,
        "Where the picture goes: .png, .svg or .pdf; by default to the folder of the first run, as "
        "compare.png or, with others, compare_<others>.png.",
    )
    shared_flags.define_overwrite()


def default(folders: Sequence[Path]) -> Path:
    """Returns where the picture of runs goes by default, in the folder of the first one."""
    others = list(dict.fromkeys(each.name for each in folders if each != folders[0]))
    more = [f"and_{len(others) - MOST_NAMED}_more"] if len(others) > MOST_NAMED else []
    return folders[0] / f"{'_'.join(['compare', *others[:MOST_NAMED], *more])}.png"


def main(argv: list[str]) -> None:
    """Compares the runs whose folders the arguments name."""
    values = flags.FLAGS
    folders = [shared_flags.path(each) for each in argv[1:]]
    if not folders:
        raise UserError("name a run, or several: ganjax compare runs/a runs/b")
    out = Path(values.out) if values.out else default(folders)
    if values.out and (out.suffix not in FORMATS or not out.parent.is_dir()):
        raise UserError(
            f"--out={out}: end its name in {', '.join(FORMATS)}, in a folder that exists"
        )
    shared_flags.check_new("out", values.out, values.overwrite)
    if not values.out:
        shared_flags.check_writable(out.parent)

    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    from ganjax.analysis import comparison, progress
    from ganjax.pictures import curves

    options = values.metrics, values.num, values.seed, values.which, values.trust
    if len(set(folders)) == 1:
        plot, lines = progress.draw(folders[0], *options)
    else:
        plot, lines = comparison.compare(folders, *options)
    out = out if values.out else shared_flags.free(out, values.overwrite)
    curves.save(out, plot)
    cli.say(*lines, out)


if __name__ == "__main__":
    cli.run(main, define_flags, positional=True)
