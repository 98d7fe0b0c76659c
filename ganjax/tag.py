"""`ganjax tag --workdir=runs/tagging IMAGE ...`: finds the tags of images.

    ganjax tag --workdir=runs/tagging image.png more.jpg folder
    ganjax tag --workdir=runs/tagging image.png --json --out=tags.png

Of a run of `configs/tagging.py` it prints each image's tags with their votes, of 100 samples of the
generator, and writes a picture of the images with their tags. Images are of any size and mode; the
central square is what is looked at. A run whose features were given takes those of other images:
.npy files, floats (N, F).
"""

import json
from pathlib import Path

from absl import flags

from ganjax import cli
from ganjax.errors import UserError
from ganjax.runtime import compiling


def define_flags() -> None:
    """Defines this command's flags."""
    cli.define_path("workdir", None, "The run's folder.")
    flags.DEFINE_string("which", "best", cli.WHICH)
    cli.define_seed_index()
    cli.define_trust()
    flags.DEFINE_bool("json", False, "Print a JSON object: for each image a list of [tag, votes].")
    cli.define_path("out", None, "Where the picture goes; by default tags.png.")
    cli.define_overwrite()


def main(argv: list[str]) -> None:
    """Prints the tags of the images that are named, and writes their sheet."""
    values = flags.FLAGS
    out = Path(values.out or "tags.png")
    if out.suffix != ".png" or not out.parent.is_dir():
        raise UserError(f"--out={out}: name a .png file in a folder that is there")
    cli.refuse_existing("out", values.out, values.overwrite)
    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    from ganjax.analysis import tagging
    from ganjax.pictures import images

    compiling.keep_programs()
    run = tagging.TrainedTagger(
        Path(values.workdir), values.which, seed_index=values.seed_index, trust=values.trust
    )
    given = tagging.read(run, argv[1:])
    found = run.tag(given.features, given.names)
    if values.json:
        print(json.dumps({each.name: each.tags for each in found}, ensure_ascii=False))
    else:
        for each in found:
            print(f"{each.name}: {', '.join(f'{tag} {votes}' for tag, votes in each.tags)}")
        print(*given.notes, sep="\n", end="\n" if given.notes else "")
    picture = tagging.sheet(given, found)
    if picture is not None and (values.out or not values.json):
        out = out if values.out else cli.free(out, values.overwrite)
        images.save_png(out, picture)
        if not values.json:
            print(out)


if __name__ == "__main__":
    cli.run(main, define_flags, required="workdir", positional=True)
