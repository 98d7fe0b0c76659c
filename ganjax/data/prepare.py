"""`ganjax prepare --source=... --size=64 --out=...`: decodes and resizes a set once.

Any source becomes a folder of ArrayRecord shards of uncompressed uint8 images and a manifest.
`--config.data.source=records:<out>` trains on it, at that size or a half, a quarter, ... of it. All
labels are kept. Images shrink by area and grow by Pillow's bicubic, as in training. If the command
is killed, the same command continues: it keeps the finished shards, in <out>.partial, and renames
that to <out> when the set is complete.

    ganjax prepare --source=folder:photos --size=64 --out=data/photos_64
    ganjax prepare --source=tfds:celeb_a --size=64 --out=data/celeb_a_64

A TFDS set that is not yet prepared is downloaded and prepared first, for which most sets need
TensorFlow (pip install 'ganjax[tf]'). Without --size and --out nothing else happens, and
`--config.data.source=tfds:<name>` reads the set.
"""

import os
from pathlib import Path
from typing import Any

from absl import flags, logging

from ganjax import cli, shared_flags
from ganjax.data import records
from ganjax.data.base import SPLITS
from ganjax.data.fields import DataFields
from ganjax.data.fit import FITS
from ganjax.data.record_writer import alone, summary, write
from ganjax.data.sources import kind_of, open_source
from ganjax.engine.sizes import ImageSize, parsed, size_of
from ganjax.errors import UserError
from ganjax.runtime import signals
from ganjax.runtime.limits import LARGEST

SHARD_BYTES = 16 << 20


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_string("source", None, "As config.data.source: tfds:<name>, folder:<path>, ...")
    flags.DEFINE(_SizeParser(), "size", None, "Pixels a side of square images, or height,width.")
    shared_flags.define_path("out", None, "The folder to make.")
    flags.DEFINE_enum("fit", "resize", list(FITS), "As config.data.fit.")
    flags.DEFINE_enum("channels", "3", ["1", "3"], "As config.data.channels.")
    flags.DEFINE_list("background", ["255", "255", "255"], "As config.data.background: R,G,B.")
    shared_flags.define_path("labels_file", "", "As config.data.labels_file.")
    flags.DEFINE_integer(
        "min_side", 1, "As config.data.min_side.", lower_bound=1, upper_bound=LARGEST
    )
    flags.DEFINE_integer(
        "max_skipped",
        0,
        "As config.data.max_skipped.",
        lower_bound=0,
        upper_bound=LARGEST,
    )
    shared_flags.define_share("held_out", 0.1, "As config.data.held_out.")
    flags.DEFINE_integer(
        "workers", os.cpu_count(), "How many threads.", lower_bound=1, upper_bound=1_024
    )


class _SizeParser(flags.ArgumentParser):
    """Parses a size, as "64" or as "96,128"."""

    syntactic_help = "pixels a side, or height,width"

    def flag_type(self) -> str:
        """Returns the name of the type."""
        return "size"

    def parse(self, argument: str) -> ImageSize:
        """Returns the size in the form of config.image_size."""
        return parsed(argument)


def prepare_set(
    data: DataFields,
    size: ImageSize,
    out: Path,
    *,
    workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
) -> str:
    """Prepares a set, or the part of it that an interrupted call has left out.

    Args:
      data: the source and how its images get to the size. It must select the whole set and no
        label, since all labels are kept.
      size: the side of square images in pixels, or (height, width).
      out: the folder to make.
      workers: the number of threads.
      shard_bytes: the most bytes of images in a shard, which holds at least one image.

    Returns:
      A line that describes the set.

    Raises:
      DataError: the source or one of its images cannot be read.
      UserError: `out` exists and is not this set, another process is making it, or `data` selects
        a subset or a label.
    """
    for field in ("num_examples", "fraction", "label"):
        default = DataFields.model_fields[field].default
        if getattr(data, field) != default:
            raise UserError(
                f"config.data.{field}={getattr(data, field)!r}: a prepared set holds all images "
                f"and labels, of which a run chooses; set {default!r}"
            )
    settings = settings_of(data, size, shard_bytes)
    if out.exists():
        _manifest(out, settings)  # Before anything is decoded.
    sources = {split: open_source(data, split, image_size=size) for split in SPLITS}
    for column, reason in sources["train"].no_labels:
        logging.warning("the column %r is no label and not kept: %s", column, reason)
    if out.exists():
        return _finished(out, settings, data.source, sources["train"].fingerprint)
    with alone(out):
        if out.exists():  # Another process has made it meanwhile.
            return _finished(out, settings, data.source, sources["train"].fingerprint)
        return write(sources, settings, out, name=data.source, workers=workers)


def settings_of(data: DataFields, size: ImageSize, shard_bytes: int) -> dict[str, Any]:
    """Returns the settings that decide the content of the shards, given the source's images."""
    names = ("fit", "channels", "background", "min_side")
    settings = {name: getattr(data, name) for name in names}
    settings["background"] = list(data.background)
    if data.fit == "bounding_box":
        settings[records.CROP] = "rounded to nearest, halves to even"
    if data.held_out != DataFields.model_fields["held_out"].default:
        settings["held_out"] = data.held_out  # Earlier sets do not state the default.
    return settings | {
        "size": size if isinstance(size, int) else list(size),
        "shard_bytes": shard_bytes,
        "resize": "area downwards, bicubic upwards",
        "format": records.format_of(size_of(size)),
    }


def _manifest(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the manifest of the set in a folder.

    Raises:
      UserError: the folder has no manifest, or its set was made with other settings.
    """
    if not (out / records.MANIFEST).is_file():
        raise UserError(f"--out={out} is there already and no prepared set; name another")
    manifest = records.read_manifest(out, f"--out={out}")
    names = settings.keys() | (manifest["settings"].keys() & {"held_out"})
    changed = [n for n in sorted(names) if manifest["settings"].get(n) != settings.get(n)]
    if changed:
        raise UserError(
            f"--out={out} holds a set with another {', '.join(changed)}; name another folder, or "
            "remove it"
        )
    return manifest


def _finished(out: Path, settings: dict[str, Any], source: str, fingerprint: str) -> str:
    """Returns the line that describes a finished set.

    Raises:
      UserError: the set was made with other settings, or of other images.
    """
    manifest = _manifest(out, settings)
    # Sets of early versions have no fingerprint, only the source's name.
    same = manifest.get("fingerprint") == fingerprint
    if not same and ("fingerprint" in manifest or manifest["source"] != source):
        raise UserError(
            f"--out={out} holds a set of other images or labels, made from {manifest['source']} "
            f"before it changed or from elsewhere, not from {source} as it is; name another "
            "folder, or remove it"
        )
    return summary(out, manifest)


def main(argv: list[str]) -> None:
    """Prepares the set that the flags name."""
    del argv
    values = flags.FLAGS
    kind, name = kind_of(values.source)
    given = [flag for flag in ("size", "out") if values[flag].value is not None]
    if kind.download and not given:
        print(kind.download(name))
        return
    for flag in ("size", "out"):
        if not values[flag].value:
            raise UserError(f"--{flag} is missing")
    if values.held_out >= 1:
        raise UserError(
            f"--held_out={values.held_out}: no image would be left; set a share below 1"
        )
    data = DataFields.model_validate(
        {
            "source": values.source,
            "held_out": values.held_out,
            "channels": int(values.channels),
            "fit": values.fit,
            "background": _colour(values.background),
            "labels_file": values.labels_file,
            "min_side": values.min_side,
            "max_skipped": values.max_skipped,
        }
    )
    signals.quit_at_once("finished shards are kept, and the same command goes on")
    if kind.download:
        kind.download(name)
    print(prepare_set(data, values.size, Path(values.out), workers=values.workers))


def _colour(texts: list[str]) -> tuple[int, int, int]:
    """Parses the value of --background, an RGB colour.

    Raises:
      UserError: the value is not three numbers from 0 to 255.
    """
    if len(texts) != 3 or not all(text.isdecimal() and int(text) < 256 for text in texts):
        raise UserError(f"--background={','.join(texts)}: write R,G,B, each from 0 to 255")
    red, green, blue = (int(text) for text in texts)
    return red, green, blue


if __name__ == "__main__":
    cli.run(main, define_flags, required="source")
