"""`python -m ganjax.sample [command] --workdir=runs/<name>`: what the averaged generator makes.

Commands:
  grid         samples; this is what comes without a command.
  labels       one z a row, one class a column (a conditional model).
  interpolate  from z to z along a closed path: a row from each to the next (.png) or a film
               (--out=<name>.gif or .mp4).
  neighbours   samples, each with the training images nearest to it.
  resolutions  what a growing run made at every resolution: one z a row.
  arithmetic   --label=<class>: from samples without an attribute towards those that have it, by
               the difference of their mean latents (an unconditional model of data with labels).

--raw=<name>.npz writes the samples as arrays, instead of the picture or, with --out, besides it.
"""

from functools import partial
from pathlib import Path

import numpy as np
from absl import flags

from ganjax import cli
from ganjax.errors import UserError
from ganjax.pictures import interpolation
from ganjax.runtime import compiling

FILMS = (".gif", ".mp4")
# With how many samples, or rows of them, comes without --num.
COMMANDS = {
    "grid": 64,
    "labels": 8,
    "interpolate": 8,
    "neighbours": 8,
    "resolutions": 8,
    "arithmetic": 8,
}
# Commands with a text at every image or column, whatever the model is.
CAPTIONED = ("neighbours", "resolutions", "arithmetic")
# Flags that mean something to some commands alone.
OWN = {
    "frames": ("interpolate", "arithmetic"),
    "interpolation": ("interpolate",),
    "neighbours": ("neighbours",),
    "by": ("neighbours",),
    "columns": ("grid",),
    "samples": ("arithmetic",),
}


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_string("workdir", None, "The run's folder.")
    flags.DEFINE_string("which", "best", cli.WHICH)
    cli.define_seed_index()
    flags.DEFINE_integer(
        "num",
        None,
        "How many samples (64; neighbours: 8), rows (labels, resolutions, arithmetic: 8) or points "
        "of the path (interpolate: 8).",
        lower_bound=1,
    )
    flags.DEFINE_string(
        "out", None, "Where the picture goes; by default samples.png or <command>.png."
    )
    flags.DEFINE_string(
        "raw",
        None,
        "Where the samples go as arrays: an .npz of `image`, uint8 (N, H, W, C), `label` and "
        "`label_names` where there are classes, and `neighbour_*`.",
    )
    flags.DEFINE_integer(
        "seed",
        None,
        "Of the latents; by default the run's, which gives its own pictures' latents.",
        lower_bound=0,
        upper_bound=2**32 - 1,
    )
    flags.DEFINE_list(
        "label",
        [],
        "Which classes, by name or index, with commas between; by default all (interpolate "
        "keeps to one, by default the first).",
    )
    flags.DEFINE_integer(
        "frames",
        16,
        "interpolate: images between two points of the path; arithmetic: steps of a row.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "columns", None, "grid: images a row; by default as many as rows.", lower_bound=1
    )
    flags.DEFINE_integer(
        "samples", 512, "arithmetic: from how many the direction is taken.", lower_bound=2
    )
    flags.DEFINE_enum(
        "interpolation",
        "spherical",
        list(interpolation.METHODS),
        "interpolate: along the sphere or straight.",
    )
    flags.DEFINE_integer(
        "neighbours", 4, "neighbours: how many training images a sample.", lower_bound=1
    )
    flags.DEFINE_string(
        "by", "pixels", "neighbours: what is compared: pixels, or the features of a network."
    )


def sample(
    folder: Path, num: int, seed: int | None = None, which: str = "best", seed_index: int = 0
) -> np.ndarray:
    """Samples a checkpoint of a run, its classes in turn.

    Args:
      folder: the run's.
      num: how many.
      seed: of the latents; None takes the run's.
      which: checkpoint: "best", "last" or a step.
      seed_index: which of the run's config.num_seeds seeds, from 0.

    Returns:
      uint8 (num, H, W, C).

    Raises:
      ConfigError, CheckpointError: there is no run, or it has no checkpoint yet.
    """
    from ganjax.analysis.trained import Trained

    run = Trained(folder, which, seed_index=seed_index)
    return run.generate(*run.inputs(num, seed))


def main(argv: list[str]) -> None:
    """Makes what the command and its flags describe."""
    values = flags.FLAGS
    command = argv[1] if len(argv) > 1 else "grid"
    for flag, owners in OWN.items():
        if values[flag].present and command not in owners:
            raise UserError(
                f"--{flag} is a flag of {' and '.join(owners)}, not of {command}; leave it out"
            )
    out = values.out
    if out is None and values.raw is None:
        out = "samples.png" if command == "grid" else f"{command}.png"
    pictures_end = (".png", *FILMS) if command == "interpolate" else (".png",)
    out = out if out is None else _writable("out", out, pictures_end)
    raw = values.raw if values.raw is None else _writable("raw", values.raw, (".npz",))
    film = out is not None and out.suffix in FILMS

    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    from ganjax.analysis import run_pictures
    from ganjax.analysis.trained import Trained
    from ganjax.pictures import images

    compiling.keep_programs()
    run = Trained(Path(values.workdir), values.which, seed_index=values.seed_index)
    num = COMMANDS[command] if values.num is None else values.num
    if out is not None and not film:
        per_row = {
            "grid": 1,
            "labels": len(values.label) or run.algorithm.num_classes,
            "interpolate": values.frames + 2,
            "neighbours": values.neighbours + 1,
            "resolutions": len(run.algorithm.phases),
            "arithmetic": values.frames + 1,
        }[command]
        run_pictures.check_size(run, num, per_row, captioned=command in CAPTIONED)
    make = {
        "grid": partial(run_pictures.grid, columns=values.columns),
        "labels": run_pictures.labels,
        "interpolate": partial(
            run_pictures.interpolate, between=values.frames, method=values.interpolation
        ),
        "neighbours": partial(run_pictures.neighbours, k=values.neighbours, by=values.by),
        "resolutions": run_pictures.resolutions,
        "arithmetic": partial(run_pictures.arithmetic, steps=values.frames, samples=values.samples),
    }[command]
    made = make(run, num, values.seed, values.label)
    for line in made.report:
        print(line)
    if raw is not None:
        images.save_npz(raw, made.arrays)
        print(raw)
    if film:
        {".gif": images.save_gif, ".mp4": images.save_mp4}[out.suffix](out, made.frames())
    elif out is not None:
        images.save_png(out, made.picture())
    if out is not None:
        print(out)


def _writable(flag: str, value: str, suffixes: tuple[str, ...]) -> Path:
    """The path that a flag names; raises UserError if no such file can be made there."""
    path = Path(value)
    if path.suffix not in suffixes:
        raise UserError(f"--{flag}={value}: end its name in {' or '.join(suffixes)}")
    if not path.parent.is_dir() or path.is_dir():
        raise UserError(f"--{flag}={value}: no file can be made there; is {path.parent} a folder?")
    return path


if __name__ == "__main__":
    cli.run(main, define_flags, required="workdir", commands=tuple(COMMANDS))
