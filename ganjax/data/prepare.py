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

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import PIL
from absl import flags
from tqdm import tqdm

from ganjax import cli, images, signals
from ganjax.config import DataConfig
from ganjax.data import records, tfds
from ganjax.data.base import SPLITS, Source
from ganjax.data.fit import FITS
from ganjax.data.sources import open_source
from ganjax.errors import UserError

# One image a group, so that any is read alone; compression would cost a training step more
# than the disk it saves, a few percent of photographs.
OPTIONS = "group_size:1,uncompressed"
SHARD_BYTES = 16 << 20
# Images read at once.
CHUNK = 64
SETTINGS = "settings.json"


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
    data: DataConfig, size: int, out: Path, *, workers: int = 1, shard_bytes: int = SHARD_BYTES
) -> str:
    """Makes the set, or the rest of it.

    Args:
      data: the source, and how its images become `size` x `size`; no labels are chosen.
      size: pixels a side.
      out: the folder to make.
      workers: threads.
      shard_bytes: of a shard, at most (one image at least).

    Returns:
      A line on what there is now.

    Raises:
      DataError: the source cannot be had, or one of its images.
      UserError: `out` is something else already, or another process makes it.
    """
    settings = _settings(data, size, shard_bytes)
    if out.exists():
        return _finished(out, settings)
    sources = {split: open_source(data, split, image_size=size) for split in SPLITS}
    return write(sources, settings, out, workers=workers)


def write(
    sources: dict[str, Source], settings: dict[str, Any], out: Path, *, workers: int = 1
) -> str:
    """Writes the images and labels of both splits; see `prepare`.

    Args:
      sources: by split, of images of settings["size"] and settings["channels"].
      settings: what decides the content; `records` reads some of it.
      out: the folder to make, not there yet.
      workers: threads.
    """
    partial = out.with_name(f"{out.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(partial / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(f"--out={out}: another process is making it; wait for it") from None
    try:
        features = {split: source.features() for split, source in sources.items()}
        _claim(partial, settings | {"content": _content(sources, features)})
        manifest = {
            "format": records.FORMAT,
            "source": settings["source"],
            "size": settings["size"],
            "channels": settings["channels"],
            "settings": settings,
            "settings_sha256": records.settings_hash(settings),
            "pillow": PIL.__version__,
            "labels": {name: list(each.names) for name, each in features["train"].items()},
            "skipped": [list(each) for each in sources["train"].skipped],
            "splits": _write_all(sources, settings, partial, workers),
        }
        arrays = {
            f"{split}/{name}": _smallest(each.values)
            for split, labels in features.items()
            for name, each in labels.items()
        }
        images.save_npz(partial / records.LABELS, arrays)
        _write_json(partial / records.MANIFEST, manifest)
    finally:
        lock.release()
    (partial / ".lock").unlink(missing_ok=True)
    os.replace(partial, out)
    _sync(out.parent)
    (out / SETTINGS).unlink()  # Not before: a kill in between would leave shards of no settings.
    return _summary(out, manifest)


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
                f"--source=tfds:{name}: to prepare it, TFDS needs {error.name}: "
                "pip install 'ganjax[tf]', or pip install that"
            ) from error
        except Exception as error:  # Of the network, of the disk, of the set's own code.
            raise UserError(
                f"--source=tfds:{name}: TFDS could not prepare it under {builder.data_dir} "
                f"({type(error).__name__}: {error})"
            ) from error
    return f"tfds:{name} is prepared in {builder.data_dir}: --config.data.source=tfds:{name}"


def _settings(data: DataConfig, size: int, shard_bytes: int) -> dict[str, Any]:
    """What decides the content of the shards."""
    chosen = ("source", "fit", "channels", "background", "labels_file", "min_side")
    settings = {name: getattr(data, name) for name in chosen}
    settings["background"] = list(data.background)
    return settings | {
        "size": size,
        "shard_bytes": shard_bytes,
        "resize": "area downwards, bicubic upwards",
        "format": records.FORMAT,
    }


def _content(sources: dict[str, Source], features: dict) -> str:
    """A hash by which a set that was changed after a kill is told from the one begun with."""
    digest = hashlib.sha256()
    for split, source in sources.items():
        digest.update(f"{split} {source.size} {source.skipped}".encode())
        for name, each in features[split].items():
            digest.update(f"{name} {each.names}".encode() + each.values.tobytes())
    return digest.hexdigest()


def _claim(partial: Path, settings: dict[str, Any]) -> None:
    """Removes what was begun with other settings, and notes these."""
    path = partial / SETTINGS
    try:
        same = json.loads(path.read_text(encoding="utf-8")) == settings
    except (OSError, ValueError):
        same = False
    if not same:
        for shard in partial.glob("*.array_record"):
            shard.unlink()
    for temporary in partial.glob(".*.tmp"):
        temporary.unlink()
    _write_json(path, settings)


def _finished(out: Path, settings: dict[str, Any]) -> str:
    if not (out / records.MANIFEST).is_file():
        raise UserError(f"--out={out} is there already and no prepared set; name another")
    manifest = records.read_manifest(out, f"--out={out}")
    if manifest["settings"] != settings:
        changed = [n for n, value in settings.items() if manifest["settings"].get(n) != value]
        raise UserError(
            f"--out={out} holds a set with another {', '.join(changed)}; name another folder, or "
            "remove it"
        )
    return _summary(out, manifest)


def _write_all(
    sources: dict[str, Source], settings: dict[str, Any], folder: Path, workers: int
) -> dict[str, Any]:
    """Writes the shards that are not there, and lists all of them by split."""
    image_bytes = settings["size"] ** 2 * settings["channels"]
    per_shard = max(1, settings["shard_bytes"] // image_bytes)
    parts: dict[str, Any] = {}
    tasks = []
    for split, source in sources.items():
        bounds = [*range(0, source.size, per_shard), source.size]
        shards = []
        for i, (first, stop) in enumerate(itertools.pairwise(bounds)):
            name = records.shard_name(split, i, len(bounds) - 1)
            shards.append({"file": name, "count": stop - first})
            tasks.append((source, first, stop, folder / name))
        parts[split] = {"count": source.size, "shards": shards}
    total = sum(source.size for source in sources.values())
    guard = threading.Lock()
    with tqdm(total=total, desc="images", disable=None, unit="") as bar:

        def advance(count):
            with guard:
                bar.update(count)

        pool = ThreadPoolExecutor(workers)
        try:
            for done in as_completed([pool.submit(_write, *task, advance) for task in tasks]):
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)
    _sync(folder)
    for part in parts.values():
        for shard in part["shards"]:
            shard["bytes"] = (folder / shard["file"]).stat().st_size
    return parts


def _write(source: Source, first: int, stop: int, path: Path, advance: Callable) -> None:
    """Writes one shard, whole or not at all; one that is there is whole."""
    if path.exists():
        advance(stop - first)
        return
    # Imported here, so that a wrong flag is answered at once.
    from array_record.python.array_record_module import ArrayRecordWriter

    temporary = path.with_name(f".{path.name}.tmp")
    writer = ArrayRecordWriter(str(temporary), OPTIONS)
    for i in range(first, stop, CHUNK):
        indices = np.arange(i, min(i + CHUNK, stop))
        for image in source.fetch(indices)["image"]:
            writer.write(image.tobytes())
        advance(len(indices))
    writer.close()
    _sync(temporary)
    os.replace(temporary, path)


def _smallest(values: np.ndarray) -> np.ndarray:
    low, high = np.min_scalar_type(values.min()), np.min_scalar_type(values.max())
    return values.astype(np.result_type(low, high))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _sync(temporary)
    os.replace(temporary, path)


def _sync(path: Path) -> None:
    """Waits until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _summary(out: Path, manifest: dict[str, Any]) -> str:
    size, channels = manifest["size"], manifest["channels"]
    train, held = (manifest["splits"][split] for split in SPLITS)
    shards = [*train["shards"], *held["shards"]]
    total = sum(shard["bytes"] for shard in shards)
    return (
        f"{out}: {train['count']} training and {held['count']} held-out images of "
        f"{size}x{size}x{channels} in {len(shards)} shards, {total / 2**20:.1f} MiB; "
        f"{len(manifest['skipped'])} skipped: --config.data.source=records:{out}"
    )


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
    data = DataConfig(
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
    print(prepare(data, values.size, Path(values.out), workers=values.workers))


if __name__ == "__main__":
    cli.run(main, define_flags, required="source")
