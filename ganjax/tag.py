"""`ganjax tag --workdir=runs/tagging IMAGE ...`: finds the tags of images.

    ganjax tag --workdir=runs/tagging image.png more.jpg folder
    ganjax tag --workdir=runs/tagging image.png --json --out=tags.png

Of a run of `configs/tagging.py` it prints each image's tags with their votes, of 100 samples of the
generator, and writes a picture of the images with their tags. Images are of any size and mode; the
central square is what is looked at. A file that cannot be read is named at the end, with exit code
2, when the others are done. A run whose features were given takes those of other images:
.npy files, floats (N, F).
"""

import json
from pathlib import Path

from absl import flags

from ganjax import cli, shared_flags
from ganjax.errors import UserError
from ganjax.runtime import compiling


def define_flags() -> None:
    """Defines this command's flags."""
    shared_flags.define_path("workdir", None, "The run's folder.")
    flags.DEFINE_string("which", "best", shared_flags.WHICH)
    shared_flags.define_seed_index()
    shared_flags.define_trust()
    flags.DEFINE_bool("json", False, "Print a JSON object: for each image a list of [tag, votes].")
    shared_flags.define_path(
        "out", None, "Where the picture goes; by default to <workdir>/samples."
    )
    shared_flags.define_overwrite()


def main(argv: list[str]) -> None:
    """Prints the tags of the images that are named, and writes their sheet."""
    values = flags.FLAGS
    folder, out = Path(values.workdir), None
    if values.out is not None:
        out = Path(values.out)
        if out.suffix != ".png" or not out.parent.is_dir():
            raise UserError(f"--out={out}: name a .png file in a folder that is there")
        shared_flags.check_new("out", values.out, values.overwrite)
    elif not values.json:
        shared_flags.check_writable(folder)
    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    from ganjax.analysis import tagging
    from ganjax.pictures import images

    compiling.keep_programs()
    run = tagging.TrainedTagger(
        folder, values.which, seed_index=values.seed_index, trust=values.trust
    )
    given = tagging.read(run, argv[1:])
    found = run.tag(given.features, given.names)
    if values.json:
        print(json.dumps({each.name: each.tags for each in found}, ensure_ascii=False))
    else:
        for each in found:
            cli.say(f"{each.name}: {', '.join(f'{tag} {votes}' for tag, votes in each.tags)}")
        cli.say(*given.notes)
    picture = tagging.sheet(given, found)
    if picture is not None and (values.out or not values.json):
        out = out or shared_flags.free(
            shared_flags.sample_path(folder, "tags", run), values.overwrite
        )
        out.parent.mkdir(exist_ok=True)
        images.save_png(out, picture)
        if not values.json:
            cli.say(out)
    cli.fail_of(given.unreadable)


if __name__ == "__main__":
    cli.run(main, define_flags, required="workdir", positional=True)
