"""`records:<path>`: a set that `ganjax.data.prepare` made: ArrayRecord shards and a manifest.

A record is an image's size * size * channels bytes. Labels lie beside them, so that they are
known without reading any image.

    manifest.json
    labels.npz                                "<split>/<feature>": int (count,)
    <split>-00000-of-00008.array_record
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ganjax.data.base import Labels, Source, chosen_labels
from ganjax.data.fields import DataFields
from ganjax.data.fit import area, to_channels
from ganjax.errors import DataError

MANIFEST, LABELS = "manifest.json", "labels.npz"
FORMAT = 1


def settings_hash(settings: dict[str, Any]) -> str:
    """SHA-256 of what decides the content of a set."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def shard_name(split: str, index: int, count: int) -> str:
    """The file of one shard."""
    return f"{split}-{index:05}-of-{count:05}.array_record"


def open_records(name: str, split: str, data: DataFields, image_size: int) -> Source:
    """Opens a split of a prepared set, at its size or a half, a quarter, ... of it by area.

    Raises:
      DataError: the set is not there or not whole, or not what the config says.
    """
    field = f"config.data.source='records:{name}'"
    root = Path(name).expanduser()
    manifest = read_manifest(root, field)
    size, channels = manifest["size"], manifest["channels"]
    factor = size // image_size
    if factor * image_size != size or factor & (factor - 1):
        raise DataError(
            f"{field} has images of {size}x{size}, which are read at that size, a half, a quarter "
            f"and so on, not at config.image_size={image_size}"
        )
    if data.fit != manifest["settings"]["fit"]:
        raise DataError(
            f"config.data.fit={data.fit!r}: {field} was prepared with "
            f"{manifest['settings']['fit']!r}; set that"
        )
    background = manifest["settings"]["background"]
    if manifest.get("transparent") and list(data.background) != background:
        raise DataError(
            f"config.data.background={data.background}: {field} has transparent images, which "
            f"were laid over {tuple(background)}; set that"
        )
    part = manifest["splits"][split]
    paths = [root / shard["file"] for shard in part["shards"]]
    for path, shard in zip(paths, part["shards"], strict=True):
        have = path.stat().st_size if path.is_file() else None
        if have != shard["bytes"]:
            wrong = "is missing" if have is None else f"has {have} bytes, not {shard['bytes']}"
            raise DataError(f"{field}: {path.name} {wrong}; prepare the set again")
    features = _features(root, split, manifest, field)
    chosen = chosen_labels(features, data.label, part["count"], f"records:{name}")
    # Imported here: embedded data need not wait for it.
    from grain.sources import ArrayRecordDataSource

    with _whole(field):
        records = ArrayRecordDataSource([str(path) for path in paths])
        count = len(records)
    if count != part["count"]:
        raise DataError(
            f"{field}: its shards hold {count} images, its manifest says {part['count']}; "
            "prepare the set again"
        )

    def fetch(indices):
        with _whole(field):
            raw = records.__getitems__([int(i) for i in indices])
            image = np.frombuffer(b"".join(raw), np.uint8).reshape(len(raw), size, size, channels)
        if factor > 1:
            # Images on top of each other are one high image, of which whole cells are averaged.
            tall = image.reshape(len(raw) * size, size, channels)
            image = area(tall, len(raw) * image_size, image_size)
            image = image.reshape(len(raw), image_size, image_size, channels)
        if channels != data.channels:
            image = np.stack([to_channels(each, data.channels) for each in image])
        return {"image": image, "label": chosen.values[indices]}

    skipped = tuple((file, reason) for file, reason in manifest["skipped"])
    return Source(
        part["count"],
        fetch,
        chosen.names,
        lambda: chosen.values,
        lambda: features,
        skipped,
        # How the path to what it was made of was written does not matter.
        settings_hash({name: each for name, each in manifest.items() if name != "source"}),
        bool(manifest.get("transparent")),
    )


@contextlib.contextmanager
def _whole(field: str) -> Iterator[None]:
    """Says in one line what the reader of ArrayRecord says of a damaged file in many."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{field}: a shard is damaged ({reason}); prepare the set again") from None


def read_manifest(root: Path, field: str) -> dict[str, Any]:
    """The manifest of a set.

    Raises:
      DataError: there is none, or it is damaged, or of another version.
    """
    path = root / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        intact = (
            manifest["format"] == FORMAT
            and manifest["settings_sha256"] == settings_hash(manifest["settings"])
            and all(
                part["count"] == sum(shard["count"] for shard in part["shards"])
                for part in manifest["splits"].values()
            )
        )
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{field}: no prepared set is there ({path} is missing); make one with: "
            f"python -m ganjax.data.prepare --source=<source> --size=<pixels> --out={root}"
        ) from None
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise DataError(f"{field}: {path} is damaged or of another version; prepare the set again")
    return manifest


def _features(root: Path, split: str, manifest: dict, field: str) -> dict[str, Labels]:
    try:
        with np.load(root / LABELS, allow_pickle=False) as arrays:
            return {
                name: Labels(arrays[f"{split}/{name}"].astype(np.int32), tuple(names))
                for name, names in manifest["labels"].items()
            }
    except (OSError, ValueError, KeyError):
        raise DataError(f"{field}: {LABELS} is missing or damaged; prepare the set again") from None
