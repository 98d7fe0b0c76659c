"""`python -m ganjax.data.prepare --source=... --size=64 --out=...`: decode and resize once.

Any source becomes a folder of ArrayRecord shards, uint8, uncompressed, with a manifest, which
`--config.data.source=records:<out>` trains on at that size or a half, a quarter, ... of it. All
labels come along. Images shrink by area and grow by Pillow's bicubic, as in training. Killed at any
instant, the same command goes on: finished shards are kept, in <out>.partial, which gets the
name <out> when all is there.

    python -m ganjax.data.prepare --source=folder:photos --size=64 --out=data/photos_64
    python -m ganjax.data.prepare --source=tfds:celeb_a --size=64 --out=data/celeb_a_64

A TFDS set that is not yet prepared is downloaded and prepared first, for which most sets need
TensorFlow (pip install 'ganjax[tf]'). Without --size and --out that is all that happens, and
`--config.data.source=tfds:<name>` reads it.
"""

import os
from pathlib import Path
from typing import Any

from absl import flags

from ganjax import cli
from ganjax.data import records, tfds
from ganjax.data.base import SPLITS
from ganjax.data.fields import DataFields
from ganjax.data.fit import FITS
from ganjax.data.record_writer import alone, summary, write
from ganjax.data.sources import open_source
from ganjax.errors import UserError
from ganjax.runtime import signals

SHARD_BYTES = 16 << 20


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_string("source", None, "As config.data.source: tfds:<name>, folder:<path>, ...")
    flags.DEFINE_integer("size", None, "Pixels a side.", lower_bound=1)
    flags.DEFINE_string("out", None, "The folder to make.")
    flags.DEFINE_enum("fit", "resize", list(FITS), "As config.data.fit.")
    flags.DEFINE_enum("channels", "3", ["1", "3"], "As config.data.channels.")
    flags.DEFINE_list("background", ["255", "255", "255"], "As config.data.background: R,G,B.")
    flags.DEFINE_string("labels_file", "", "As config.data.labels_file.")
    flags.DEFINE_integer("min_side", 1, "As config.data.min_side.", lower_bound=1)
    flags.DEFINE_integer("max_skipped", 0, "As config.data.max_skipped.", lower_bound=0)
    flags.DEFINE_integer("workers", os.cpu_count(), "Threads.", lower_bound=1)


def prepare(
    data: DataFields, size: int, out: Path, *, workers: int = 1, shard_bytes: int = SHARD_BYTES
) -> str:
    """Makes the set, or the rest of it.

    Args:
      data: the source, and how its images become `size` x `size`; all of it, with every label.
      size: pixels a side.
      out: the folder to make.
      workers: threads.
      shard_bytes: of a shard, at most (one image at least).

    Returns:
      A line on what there is now.

    Raises:
      DataError: the source cannot be had, or one of its images.
      UserError: `out` is something else already, or another process makes it, or `data` chooses
        a subset or a label.
    """
    for field, every in (("num_examples", 0), ("fraction", 1.0), ("label", "")):
        if getattr(data, field) != every:
            raise UserError(
                f"config.data.{field}={getattr(data, field)!r}: a prepared set holds all images "
                f"and labels, of which a run chooses; set {every!r}"
            )
    settings = _settings(data, size, shard_bytes)
    if out.exists():
        _manifest(out, settings)  # Before anything is decoded.
    sources = {split: open_source(data, split, image_size=size) for split in SPLITS}
    if out.exists():
        return _finished(out, settings, data.source, sources["train"].fingerprint)
    with alone(out):
        if out.exists():  # Another process has made it meanwhile.
            return _finished(out, settings, data.source, sources["train"].fingerprint)
        return write(sources, settings, out, name=data.source, workers=workers)


def download(name: str) -> str:
    """Prepares a TFDS set for random access, where it is not yet.

    Raises:
      DataError: there is no such set.
      UserError: it could not be downloaded or prepared, TensorFlow being missing, say.
    """
    builder = tfds.make_builder(name)
    if not builder.is_prepared():
        try:
            builder.download_and_prepare()
        except ImportError as error:
            raise UserError(
                f"--source=tfds:{name}: to prepare it, TFDS needs {error.name or 'TensorFlow'}: "
                "pip install 'ganjax[tf]', or pip install that"
            ) from error
        except Exception as error:  # Of the network, of the disk, of the set's own code.
            raise UserError(
                f"--source=tfds:{name}: TFDS could not prepare it under {builder.data_dir} "
                f"({type(error).__name__}: {error})"
            ) from error
    return f"tfds:{name} is prepared in {builder.data_dir}: --config.data.source=tfds:{name}"


def _settings(data: DataFields, size: int, shard_bytes: int) -> dict[str, Any]:
    """What decides the content of the shards, besides the source, which has a fingerprint."""
    chosen = ("fit", "channels", "background", "min_side")
    settings = {name: getattr(data, name) for name in chosen}
    settings["background"] = list(data.background)
    return settings | {
        "size": size,
        "shard_bytes": shard_bytes,
        "resize": "area downwards, bicubic upwards",
        "format": records.FORMAT,
    }


def _manifest(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The manifest of what is there, if it was made with these settings."""
    if not (out / records.MANIFEST).is_file():
        raise UserError(f"--out={out} is there already and no prepared set; name another")
    manifest = records.read_manifest(out, f"--out={out}")
    changed = [n for n, value in settings.items() if manifest["settings"].get(n) != value]
    if changed:
        raise UserError(
            f"--out={out} holds a set with another {', '.join(changed)}; name another folder, or "
            "remove it"
        )
    return manifest


def _finished(out: Path, settings: dict[str, Any], source: str, fingerprint: str) -> str:
    manifest = _manifest(out, settings)
    # Of a set made before there were any, the source's name is all that is known.
    same = manifest.get("fingerprint") == fingerprint
    if not same and ("fingerprint" in manifest or manifest["source"] != source):
        raise UserError(
            f"--out={out} holds a set of other images or labels, made from {manifest['source']} "
            f"before it changed or from elsewhere, not from {source} as it is; name another "
            "folder, or remove it"
        )
    return summary(out, manifest)


def main(argv: list[str]) -> None:
    """Prepares what the flags name."""
    del argv
    values = flags.FLAGS
    kind, _, name = values.source.partition(":")
    if kind == "tfds" and name and values.out is None and values.size is None:
        print(download(name))
        return
    for flag in ("size", "out"):
        if not values[flag].value:
            raise UserError(f"--{flag} is missing")
    if not all(level.isdecimal() and int(level) < 256 for level in values.background) or (
        len(values.background) != 3
    ):
        raise UserError(
            f"--background={','.join(values.background)}: write R,G,B, each from 0 to 255"
        )
    data = DataFields(
        source=values.source,
        label="",
        num_classes=1,
        channels=int(values.channels),
        fit=values.fit,
        mirror=False,
        num_examples=0,
        fraction=1.0,
        subset_seed=0,
        background=tuple(int(level) for level in values.background),
        labels_file=values.labels_file,
        min_side=values.min_side,
        max_skipped=values.max_skipped,
        on_device=False,
    )
    signals.quit_at_once("finished shards are kept, and the same command goes on")
    if kind == "tfds" and name:
        download(name)
    print(prepare(data, values.size, Path(values.out).expanduser(), workers=values.workers))


if __name__ == "__main__":
    cli.run(main, define_flags, required="source")
