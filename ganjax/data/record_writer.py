"""Writes a set in the format of `ganjax.data.records`, in threads; a killed process can go on."""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import PIL
from tqdm import tqdm

from ganjax.data.base import SPLITS, Source
from ganjax.data.records import (
    CHECKSUMS,
    LABELS,
    MANIFEST,
    format_of,
    sealed,
    settings_hash,
    shard_name,
    size_in,
)
from ganjax.errors import UserError
from ganjax.pictures import images, npz
from ganjax.runtime import regular, storage

# A group of one image lets each be read by itself; uncompressed records cost no time in training.
OPTIONS = "group_size:1,uncompressed"
# How many images a thread reads at a time.
READ_AT_ONCE = 64
SETTINGS = "settings.json"


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Holds a lock that keeps other processes from making the same set.

    The operating system releases it if the process is killed.

    Raises:
      UserError: another process is making the set.
    """
    path = out.with_name(f"{out.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(f"--out={out}: another process is making it; wait for it") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def write(
    sources: dict[str, Source],
    settings: dict[str, Any],
    out: Path,
    *,
    name: str,
    workers: int = 1,
) -> str:
    """Writes the images and labels of both splits. It must be called within `alone`.

    Args:
      sources: the source of each split, of images of settings["size"] and settings["channels"].
      settings: the settings that decide the content, apart from the source, of which `records`
        reads some.
      out: the folder to make, which does not exist yet.
      name: the name of the source, for the manifest.
      workers: the number of threads.

    Returns:
      A line that describes the set.
    """
    partial = out.with_name(f"{out.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        manifest = _fill(partial, sources, settings, name, workers)
    except BaseException:
        if not any(partial.glob("*.array_record")):  # There is nothing to continue from.
            shutil.rmtree(partial)
        raise
    os.replace(partial, out)
    storage.sync(out.parent)
    # Removed last: a kill before the rename would leave shards without their settings.
    (out / SETTINGS).unlink()
    for each in out.glob(_checksums("*")):
        each.unlink()
    return summary(out, manifest)


def _fill(
    partial: Path, sources: dict[str, Source], settings: dict[str, Any], name: str, workers: int
) -> dict[str, Any]:
    """Writes the files that a set still lacks, and returns its manifest."""
    features = {split: source.features() for split, source in sources.items()}
    _claim(partial, settings | {"content": _content(sources, features)})
    manifest = {
        "format": format_of(size_in(settings)),
        "source": name,
        "fingerprint": sources["train"].fingerprint,
        "transparent": sources["train"].transparent,
        "size": settings["size"],
        "channels": settings["channels"],
        "settings": settings,
        "settings_sha256": settings_hash(settings),
        "pillow": PIL.__version__,
        "labels": {name: list(each.names) for name, each in features["train"].items()},
        "skipped": [list(each) for each in sources["train"].skipped],
        "splits": _write_all(sources, settings, partial, workers),
    }
    arrays = {
        f"{split}/{name}": _smallest(labels.values)
        for split, labels_by_name in features.items()
        for name, labels in labels_by_name.items()
    }
    images.save_npz(partial / LABELS, arrays)
    storage.sync(partial / LABELS)
    shards = {name: part["shards"] for name, part in manifest["splits"].items()}
    images.save_npz(
        partial / CHECKSUMS,
        {
            split: np.concatenate(
                [np.zeros(0, np.uint32)]
                + [npz.read_array(partial / _checksums(each["file"])) for each in listed]
            )
            for split, listed in shards.items()
        },
    )
    storage.sync(partial / CHECKSUMS)
    storage.write_json(partial / MANIFEST, sealed(manifest))
    storage.sync(partial)
    return manifest


def _content(sources: dict[str, Source], features: dict) -> str:
    """Returns a hash of the source's content, which shows whether it has changed meanwhile."""
    digest = hashlib.sha256()
    for split, source in sources.items():
        digest.update(f"{split} {source.size} {source.skipped} {source.fingerprint}".encode())
        for name, each in features[split].items():
            digest.update(f"{name} {each.names}".encode() + each.values.tobytes())
    return digest.hexdigest()


def _claim(partial: Path, settings: dict[str, Any]) -> None:
    """Removes shards that were made with other settings, and stores these."""
    path = partial / SETTINGS
    try:
        same = json.loads(regular.read_text(path)) == settings
    except (OSError, *storage.NOT_JSON):
        same = False
    if not same:
        for shard in partial.glob("*.array_record"):
            shard.unlink()
    for temporary in partial.glob(".*.tmp"):
        temporary.unlink()
    storage.write_json(path, settings)


def _write_all(
    sources: dict[str, Source], settings: dict[str, Any], folder: Path, workers: int
) -> dict[str, Any]:
    """Writes the shards that are missing, and returns a list of all of them by split."""
    image_bytes = size_in(settings).pixels * settings["channels"]
    per_shard = max(1, settings["shard_bytes"] // image_bytes)
    parts: dict[str, Any] = {}
    tasks: list[tuple[Source, int, int, Path]] = []
    for split, source in sources.items():
        bounds = [*range(0, source.size, per_shard), source.size]
        shards = []
        for i, (first, stop) in enumerate(itertools.pairwise(bounds)):
            name = shard_name(split, i, len(bounds) - 1)
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
            for future in as_completed([pool.submit(_write, *task, advance) for task in tasks]):
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
    storage.sync(folder)
    for part in parts.values():
        for shard in part["shards"]:
            shard["bytes"] = (folder / shard["file"]).stat().st_size
    return parts


def _write(source: Source, first: int, stop: int, path: Path, advance: Callable) -> None:
    """Writes one shard, completely or not at all, after its checksums; one that exists is kept."""
    checksums = path.with_name(_checksums(path.name))
    if path.exists() and checksums.exists():
        advance(stop - first)
        return
    # Imported here, so that a wrong flag is answered at once.
    from array_record.python.array_record_module import ArrayRecordWriter

    found = []
    with storage.replacing(path) as temporary:
        with _failures_named(path):
            writer = ArrayRecordWriter(str(temporary), OPTIONS)
        for i in range(first, stop, READ_AT_ONCE):
            indices = np.arange(i, min(i + READ_AT_ONCE, stop))
            records = [image.tobytes() for image in source.fetch(indices)["image"]]
            with _failures_named(path):
                for record in records:
                    writer.write(record)
            found += map(zlib.crc32, records)
            advance(len(indices))
        with _failures_named(path):
            writer.close()
        with storage.replacing(checksums) as other, other.open("wb") as file:
            np.save(file, np.array(found, np.uint32))


@contextlib.contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    """Replaces ArrayRecord's error about a write that has failed by that of the system."""
    try:
        yield
    except RuntimeError as error:
        number = errno.ENOSPC if storage.is_full(error) else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def _checksums(shard: str) -> str:
    """Returns the name of the file of a shard's checksums, which goes once the set is complete."""
    return f"{shard}.checksums.npy"


def _smallest(values: np.ndarray) -> np.ndarray:
    """Returns integers in the smallest type that holds them."""
    if not values.size:
        return values
    low, high = np.min_scalar_type(values.min()), np.min_scalar_type(values.max())
    return values.astype(np.result_type(low, high))


def summary(out: Path, manifest: dict[str, Any]) -> str:
    """Returns a line that describes a prepared set.

    Args:
      out: the folder of the set.
      manifest: the set's manifest.
    """
    train, held = (manifest["splits"][split] for split in SPLITS)
    shards = [*train["shards"], *held["shards"]]
    total = sum(shard["bytes"] for shard in shards)
    return (
        f"{out}: {train['count']} training and {held['count']} held-out images of "
        f"{size_in(manifest)}x{manifest['channels']} in {len(shards)} shards, "
        f"{total / 2**20:.1f} MiB; "
        f"{len(manifest['skipped'])} skipped: --config.data.source=records:{out}"
    )
