"""`ganjax sample [command] --workdir=runs/<name>`: draws from the averaged generator.

With --ema=false it draws from the generator itself.

Commands:
  grid         shows samples; this is the default command.
  labels       shows one latent in each row and one class in each column (a conditional run).
  interpolate  follows a closed path through latents, as rows from each latent to the next (.png)
               or as a film (--out=<name>.gif or .mp4).
  neighbours   shows samples, each beside the training images nearest to it.
  resolutions  shows one latent in each row, at every resolution of a growing run.
  arithmetic   moves samples without the attribute --label=<class> towards those that have it, by
               the difference of their mean latents (an unconditional run on data with labels); or
               from samples that --have_not names by number towards those that --have names.
  evolution    shows the grids that the run drew while it was trained, in rows or as a film.
  scores       shows given images with the discriminator's scores, or probabilities, of them:
               ganjax sample scores --workdir=runs/<name> image.png folder samples.npz

`grid --numbered` shows the numbers of samples.
--raw=<name>.npz writes the samples as arrays, instead of the picture or, with --out, besides it.
"""

from pathlib import Path

from absl import flags

from ganjax import cli, shared_flags
from ganjax.pictures import interpolation
from ganjax.runtime import compiling
from ganjax.runtime.limits import LARGEST
from ganjax.sample_commands import COMMANDS, FILMS, WITH_WORDS, check_options, given, options_of


def define_flags() -> None:
    """Defines this command's flags."""
    shared_flags.define_path("workdir", None, "The run's folder.")
    flags.DEFINE_string("which", "best", shared_flags.WHICH)
    shared_flags.define_seed_index()
    shared_flags.define_trust()
    flags.DEFINE_bool(
        "ema",
        True,
        "Whether samples are those of the generator's moving average; --ema=false takes the "
        "generator itself.",
    )
    flags.DEFINE_integer(
        "num",
        None,
        "The number of samples (64; neighbours: 8), rows (labels, resolutions, arithmetic: 8), "
        "points of the path (interpolate: 8), grids (evolution: 8, in a film all) or images "
        "(scores: all).",
        lower_bound=1,
        upper_bound=LARGEST,
    )
    shared_flags.define_path(
        "out",
        None,
        "Where the picture goes; by default to <workdir>/samples, under a name that says the "
        "command and the step.",
    )
    shared_flags.define_path(
        "raw",
        None,
        "Where the samples go as arrays: an .npz of `image`, uint8 (N, H, W, C), `label` and "
        "`label_names` where there are classes, and `neighbour_*`.",
    )
    shared_flags.define_overwrite()
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
        "Which classes, by name or index, with commas between; by default all (interpolate, "
        "without --cells, keeps to one, by default the first).",
    )
    flags.DEFINE_integer(
        "frames",
        16,
        "interpolate: images between two points of the path; arithmetic: steps of a row.",
        lower_bound=1,
        upper_bound=LARGEST,
    )
    flags.DEFINE_integer(
        "columns",
        None,
        "grid: images a row, by default as many as rows; evolution: grids a row, by default so "
        "many that the picture is about twice as wide as high.",
        lower_bound=1,
        upper_bound=LARGEST,
    )
    flags.DEFINE_bool("numbered", False, "grid: write the number of each sample above it.")
    flags.DEFINE_integer(
        "samples",
        512,
        "arithmetic: how many the direction is taken from.",
        lower_bound=2,
        upper_bound=LARGEST,
    )
    flags.DEFINE_list(
        "have",
        [],
        "arithmetic: samples that have the attribute, by number, with commas between (see "
        "`grid --numbered`).",
    )
    flags.DEFINE_list("have_not", [], "arithmetic: samples that do not have it, by number.")
    flags.DEFINE_list(
        "pick",
        [],
        "interpolate: the samples that the path leads through, by number, with commas between.",
    )
    flags.DEFINE_integer(
        "cells",
        1,
        "interpolate: how many paths are shown at once, as a grid.",
        lower_bound=1,
        upper_bound=LARGEST,
    )
    flags.DEFINE_enum(
        "interpolation",
        None,
        list(interpolation.METHODS),
        "interpolate: along the sphere, the default for normal latents, or straight.",
    )
    flags.DEFINE_integer(
        "neighbours",
        4,
        "neighbours: how many training images to each sample.",
        lower_bound=1,
        upper_bound=LARGEST,
    )
    flags.DEFINE_string(
        "by",
        None,
        "Compare pixels (neighbours: the default), or the features of a network (arithmetic: "
        "efflite0).",
    )


def main(argv: list[str]) -> None:
    """Writes the picture, film or arrays that the command and its flags ask for."""
    values = flags.FLAGS
    name, *words = argv[1:] or ["grid"]
    command = COMMANDS[name]
    check_options(values, name)
    out = given("out", (".png", *FILMS) if command.film else (".png",))
    raw = given("raw", (".npz",))
    is_film = out is not None and out.suffix in FILMS
    in_folder = out is None and raw is None
    if in_folder:
        folder = Path(values.workdir)
        into = folder / shared_flags.SAMPLES
        shared_flags.check_writable(into if into.is_dir() else folder)

    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    from ganjax.pictures import images

    compiling.keep_programs()
    shown = "film" if is_film else "picture" if out is not None or in_folder else None
    view, run = _view(name, words, values, shown)
    cli.say(*view.report)
    if raw is not None:
        images.save_npz(raw, view.arrays)
        cli.say(raw)
    if in_folder:
        named = name if values.ema else f"{name}_raw"
        default = shared_flags.sample_path(Path(values.workdir), named, run)
        out = shared_flags.free(default, values.overwrite)
        out.parent.mkdir(exist_ok=True)
    if out is not None:
        if is_film:
            save = {".gif": images.save_gif, ".mp4": images.save_mp4}[out.suffix]
            assert view.frames is not None  # As it is of the commands that make films.
            save(out, view.frames(), view.milliseconds)
        else:
            assert view.picture is not None  # It is left out only where none is asked for.
            images.save_png(out, view.picture())
        cli.say(out)
    cli.fail_of(view.unreadable)


def _view(name: str, words: list[str], values, shown: str | None):
    """Returns the `ganjax.analysis.views.View` that a command makes, and the run that it has read.

    Args:
      name: the command.
      words: its arguments that are not flags.
      values: the flags' values.
      shown: what is made of it: "picture", "film" or None.
    """
    from ganjax.analysis import attributes, grids, latents, progress, scores, views
    from ganjax.analysis.trained import Trained

    command, folder = COMMANDS[name], Path(values.workdir)
    options = options_of(command, values)
    shared = {flag: values[flag].value for flag in ("seed_index", "trust", "ema")}
    if name == "evolution":  # It needs no checkpoint, so that a run can be looked at early.
        return progress.evolution(folder, values.num, **shared, **options), None
    run = Trained(folder, values.which, **shared)
    if name == "scores":
        return scores.show_scores(run, values.num, values.label, paths=words), run
    num = values.num or command.num
    assert num is not None  # The commands without a default have returned.
    columns = command.columns(values, run)
    if name == "grid":
        options["stream"] = shown is None
    else:
        run.check_memory(num * columns)
    if shown is not None:
        captioned = command.captioned or bool(options.get("numbered"))
        views.check_size(run, num, columns, captioned=captioned, film=shown == "film")
    make_view = {
        "grid": grids.grid,
        "labels": grids.class_grid,
        "interpolate": latents.interpolate,
        "neighbours": grids.neighbour_grid,
        "resolutions": grids.resolution_grid,
        "arithmetic": attributes.arithmetic,
    }[name]
    return make_view(run, num, values.seed, values.label, **options), run


if __name__ == "__main__":
    cli.run(main, define_flags, required="workdir", commands=tuple(COMMANDS), positional=WITH_WORDS)
