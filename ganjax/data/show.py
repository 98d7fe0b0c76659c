"""`ganjax show <name>[:<preset>]`: shows what a run trains on.

The command writes the first training batch as a picture, with labels, and prints shapes, ranges
and counts: the first thing to look at before anything is trained.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from ganjax import cli, shared_flags
from ganjax.data.base import Source
from ganjax.data.scan import described
from ganjax.errors import UserError
from ganjax.pictures import images
from ganjax.training.schema import RunConfig, load

# The most images in the picture.
MOST_SHOWN = 256


def define_flags() -> None:
    """Defines this command's flags."""
    shared_flags.define_config()
    shared_flags.define_path(
        "out", None, "Where the picture goes; by default batch.png in this folder."
    )
    shared_flags.define_overwrite()


def first_batch(config: RunConfig, source: Source) -> dict[str, np.ndarray]:
    """Returns the first batch that a run of the config trains on.

    Args:
      config: the run's config.
      source: the training images.

    Returns:
      {"image": uint8 (batch_size, H, W, C), "label": int32 (batch_size,)}.
    """
    # Imported here, so that a wrong flag is answered, and a Ctrl-C obeyed, at once.
    import jax

    from ganjax.data.pipeline import train_batches
    from ganjax.engine.phases import Phase
    from ganjax.parallel.sharding import make_layout
    from ganjax.runtime import memory

    phase = Phase(0, 1, config.batch_size, config.image_size)
    held = config.batch_size * phase.size.pixels * config.data.channels
    memory.check(f"config.batch_size={config.batch_size}: its images", held, "set a smaller batch")
    batches = train_batches(
        source,
        phase,
        seed=config.seed,
        reals=1,
        start=0,
        sharding=make_layout(jax.local_devices()[:1]).batches,
        mirror=config.data.mirror,
    )
    return {name: np.asarray(leaf[0]) for name, leaf in next(batches).items()}


def describe(
    config: RunConfig, source: Source, held_out: Source, batch: dict[str, Any]
) -> list[str]:
    """Describes a set and its first batch: sizes, shapes, ranges, and images of each label.

    Args:
      config: the run's config.
      source: the training images.
      held_out: the held-out images.
      batch: a batch of training images.

    Returns:
      Lines of text.
    """
    image, label = batch["image"], batch["label"]
    mean, deviation = (
        " ".join(f"{value:.1f}" for value in each) for each in (image.mean((0, 1, 2)), _std(image))
    )
    lines = [
        f"{config.data.source}: {source.size} training images, {held_out.size} held out",
        f"image: {image.dtype} {image.shape}, {image.min()} .. {image.max()}; by channel, mean "
        f"{mean}, standard deviation {deviation}",
        f"label: {label.dtype} {label.shape}, {label.min()} .. {label.max()}",
    ]
    classes = config.data.num_classes
    if classes > 1:
        labels = [source.labels(), held_out.labels(), label]
        counts = [np.bincount(each, minlength=classes) for each in labels]
        names = class_names(source, classes)
        width = max(5, *map(len, names))
        lines.append(f"{'label':{width}}  {'training':>8}  {'held out':>8}  {'batch':>8}")
        lines += [
            f"{name:{width}}  " + "  ".join(f"{count[i]:8}" for count in counts)
            for i, name in enumerate(names)
        ]
    if source.skipped:
        lines.append(f"{len(source.skipped)} files skipped:")
        lines += [f"  {file}: {reason}" for file, reason in source.skipped]
    if source.ignored:
        lines.append(f"files that are not read: {described(dict(source.ignored))}")
    if source.no_labels:
        lines.append("columns that cannot be read as labels:")
        lines += [f"  {name}: {reason}" for name, reason in source.no_labels]
    return lines


def class_names(source: Source, classes: int) -> Sequence[str]:
    """Returns the name of each class, or its index where the set has no names."""
    return source.label_names or [str(i) for i in range(classes)]


def _std(image: np.ndarray) -> np.ndarray:
    """Returns the standard deviation of each channel of images (N, H, W, C)."""
    return image.std((0, 1, 2), dtype=np.float64)


def main(argv: list[str]) -> None:
    """Shows the data that a run of the config which the flags name trains on."""
    del argv
    given, overwrite = flags.FLAGS.out, flags.FLAGS.overwrite
    out = Path(given or "batch.png")
    if out.suffix != ".png" or not out.parent.is_dir():
        raise UserError(f"--out={out}: name a .png file in a folder that is there")
    shared_flags.check_new("out", given, overwrite)
    from ganjax.data.base import SPLITS
    from ganjax.training import domain
    from ganjax.training.images import Images

    about = domain.of(load(flags.FLAGS.config))
    if not isinstance(about, Images):
        lines, picture = about.shown(MOST_SHOWN)
        cli.say(*lines)
        if picture is not None:
            out = out if given else shared_flags.free(out, overwrite)
            images.save_png(out, picture)
            cli.say(shared_flags.told(out, given))
        return
    config = about.config
    source, held_out = (about.open(split, about.image_size) for split in SPLITS)
    batch = first_batch(config, source)
    cli.say(*describe(config, source, held_out, batch))
    shown, texts = batch["image"][:MOST_SHOWN], []
    if config.data.num_classes > 1:
        names = class_names(source, config.data.num_classes)
        texts = [names[int(i)] for i in batch["label"][:MOST_SHOWN]]
    out = out if given else shared_flags.free(out, overwrite)
    images.save_png(out, images.sheet(shown, above=texts))
    if len(batch["label"]) > MOST_SHOWN:
        cli.say(f"the first {MOST_SHOWN} images of the batch:")
    cli.say(shared_flags.told(out, given))


if __name__ == "__main__":
    cli.run(main, define_flags, required="config", check=cli.check_config)
