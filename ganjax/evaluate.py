"""`ganjax evaluate --workdir=runs/<name>`: measures the averaged generator's samples.

Samples are compared with the run's held-out images, by the metrics that --metrics names:
  kid, kid_batch, fid, is, precision_recall, density_coverage   quality
  perceptual_distance, neighbours                               collapse and memorisation
  pixel_neighbours, log_likelihood                              the same, of pixels
  swd                                                           textures, scale by scale
  modes                                                         classes that samples have

A growing run can be measured at the end of every resolution, each against reals of that size:
  ganjax evaluate --workdir=runs/progan --resolutions=all --metrics=kid,swd

Any two sets of images can be compared, such as another framework's samples with a data source:
  ganjax evaluate --real=embedded:mnist5k --fake=samples.npz
  ganjax evaluate --real=reals.npz --fake=a/folder

The figures are written to a JSON file, with their protocol and their floor: the figures of real
images in place of the generated ones. Those are taken from the other split of the run's data or of
the data source. Where the two sets differ in size or are not square, a line and the protocol say
so.
"""

from functools import partial
from pathlib import Path

from absl import flags

from ganjax import cli, shared_flags
from ganjax.errors import UserError
from ganjax.runtime import compiling, storage
from ganjax.runtime.limits import LARGEST

# The flags that belong to one of the command's two forms alone.
OF_RUNS = ("which", "seed_index", "trust", "num", "seed", "resolutions")
OF_SETS = ("fit",)


def define_flags() -> None:
    """Defines this command's flags."""
    shared_flags.define_path("workdir", None, "The run's folder.")
    flags.DEFINE_string("which", "best", shared_flags.WHICH)
    shared_flags.define_seed_index()
    shared_flags.define_trust()
    shared_flags.define_path(
        "real",
        None,
        "Instead of a run: an .npz, a folder of images, or a data source, of which --split is "
        "taken; folder:<path> is a data source, and <path> all images of the folder as they are.",
    )
    shared_flags.define_path(
        "fake", None, "Instead of a run: an .npz, or a folder of images, all of one size."
    )
    flags.DEFINE_list(
        "metrics", ["kid", "fid"], "Which, with commas between; see this command's docstring."
    )
    flags.DEFINE_string(
        "features", "efflite0", "The network: efflite0, inception[_clean], keras_inception, digits."
    )
    shared_flags.define_path("weights", None, "Its weight file, where it is not in the cache.")
    flags.DEFINE_integer(
        "num",
        None,
        "Samples; by default as many as there are reals.",
        lower_bound=1,
        upper_bound=LARGEST,
    )
    flags.DEFINE_enum(
        "split",
        "validation",
        ["validation", "train"],
        "The reals of a run or a data source: held out, or trained on.",
    )
    flags.DEFINE_enum(
        "fit", "resize", ["resize", "pad"], "How a data source's images get to the fakes' size."
    )
    flags.DEFINE_enum(
        "resolutions",
        "last",
        ["last", "all"],
        "Of a growing run: the checkpoint's resolution, or the ends of the lower ones too.",
    )
    flags.DEFINE_integer(
        "seed", None, "Of the latents; by default the run's.", lower_bound=0, upper_bound=2**32 - 1
    )
    shared_flags.define_path(
        "out",
        None,
        "Where the JSON goes; by default to <workdir>/evaluations, under a name that says the "
        "checkpoint, reals, samples and network; of two sets to evaluation.json in this folder.",
    )
    shared_flags.define_overwrite()


def main(argv: list[str]) -> None:
    """Measures the run or the sets of images that the flags name."""
    del argv
    values = flags.FLAGS
    _check_form(values)
    out = None if values.out is None else Path(values.out)
    if out is not None and (out.suffix != ".json" or not out.parent.is_dir()):
        raise UserError(f"--out={out}: name a .json file in a folder that exists")
    shared_flags.check_new("out", values.out, values.overwrite)

    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    from ganjax.analysis import image_sets, measurement
    from ganjax.metrics.table import METRICS

    compiling.keep_programs()
    measurement.check(values.metrics, values.features)
    params = measurement.load_network(values.metrics, values.features, values.weights)
    measure = partial(measurement.measure_sets, network=values.features, params=params)
    if values.workdir is None:
        default = Path("evaluation.json")
        options = {"split": values.split, "fit": values.fit}
        sets = image_sets.pair(values.real, values.fake, values.metrics, **options)
        result = measure(sets, values.metrics)
        _print(result)
    else:
        run, default = _run(values, measurement.uses_network(values.metrics))
        if values.resolutions == "last":
            result = measure(_sets_of(run, values), values.metrics)
            _print(result)
        else:
            result = {}
            for each in _resolutions(run):
                size = each.phase.size
                metrics = [name for name in values.metrics if METRICS[name].accepts(*size)]
                if metrics:
                    print(f"{size}, step {each.step}")
                    measured = measure(_sets_of(each, values), metrics)
                    _print(measured)
                    result[str(size)] = measured
    if out is None:
        default.parent.mkdir(exist_ok=True)
        out = shared_flags.free(default, values.overwrite)
    storage.write_json(out, result)
    print(shared_flags.told(out, values.out))


def _print(result: dict) -> None:
    """Prints the figures of one measurement with their floors."""
    from ganjax.data.scan import described

    for name, value in result["figures"].items():
        floor = result["floor"].get(name)
        beside = "no floor" if floor is None else f"real against real {floor:.6g}"
        print(f"{name} {value:.6g} ({beside})")
    for role in ("real", "fake"):
        images = result["protocol"][role]
        if "not_read" in images:
            left_out = described(images["not_read"])
            cli.say(f"{images['images']}: files that are not read: {left_out}")
    for caution in result["protocol"]["cautions"]:
        cli.say(f"caution: {caution}")
    protocols = result["protocol"]["metrics"]
    for metric, protocol in protocols.items():
        print(f"floor of {metric}: {protocol['floor']}")
    if result["images_per_second"]:
        print(f"{result['images_per_second']:.4g} images/s")


def _check_form(values) -> None:
    """Raises a UserError unless the flags name either a run or two sets of images."""
    pair = [name for name in ("real", "fake") if values[name].value is not None]
    if values.workdir is None and len(pair) != 2:
        raise UserError("name a run by --workdir, or two sets of images by --real and --fake")
    if values.workdir is not None and pair:
        raise UserError(f"--{pair[0]} is for sets of images without a run; leave out --workdir")
    for name in OF_SETS if values.workdir is not None else OF_RUNS:
        if values[name].present:
            other = "--real and --fake" if values.workdir is not None else "--workdir"
            raise UserError(f"--{name} goes with {other} only; leave it out")


def _run(values, uses_network: bool):
    """Returns the run that the flags name, and the default path of the JSON file."""
    import jax

    from ganjax.analysis.trained import Trained

    folder = Path(values.workdir)
    run = Trained(folder, values.which, jax.local_devices(), values.seed_index, values.trust)
    seed = run.seed if values.seed is None else values.seed
    num = values.num or _reals(run, values.split).count
    file = f"step_{run.step:08d}_{values.split}_{num}_seed_{seed}"
    file += f"_of_{run.seed}" if run.config.num_seeds > 1 else ""
    file += f"_{values.features}" if uses_network else ""
    file += "_resolutions.json" if values.resolutions == "all" else ".json"
    return run, folder / "evaluations" / file


def _reals(run, split: str):
    """Returns a run's images of a split, at most `MOST`, as a set."""
    from ganjax.metrics.features import MOST
    from ganjax.metrics.image_set import from_source

    source = run.images_of(split)
    if not source.size:
        raise UserError(
            f"--split={split}: {run.folder} has held out no images; compare with those that it was "
            "trained on, by --split=train"
        )
    return from_source(f"{run.config.data.source} {split}", source, MOST)


def _resolutions(run):
    """Returns the run at the end of each of its resolutions, of which there must be several."""
    found = run.resolutions()
    if len(found) == 1:
        raise UserError(
            f"--resolutions=all: {run.folder} at step {run.step} has one resolution, "
            f"{run.phase.size}; leave it out"
        )
    return found


def _sets_of(run, values):
    """Returns the sets of images to compare for a run."""
    from ganjax.analysis.image_sets import from_run
    from ganjax.analysis.measurement import Sets, most_others
    from ganjax.data.base import SPLITS
    from ganjax.metrics.image_set import from_source

    name = run.config.data.source
    split = values.split
    (other,) = (each for each in SPLITS if each != split)
    training = "real" if split == "train" else "other"
    real = _reals(run, split)
    num = values.num or real.count
    most = most_others(values.metrics, training, num)
    others = run.images_of(other)
    more = from_source(f"{name} {other}", others, most) if others.size else None
    of = f" seed {run.seed}" if run.config.num_seeds > 1 else ""
    fake = from_run(run, f"{run.folder} step {run.step} ({run.which}){of}", num, values.seed)
    if run.config.data.mirror and training == "real":
        real = real._replace(mirrored=True)
    elif more is not None and run.config.data.mirror:
        more = more._replace(mirrored=True)
    return Sets(real, fake, more, training)


if __name__ == "__main__":
    cli.run(main, define_flags)
