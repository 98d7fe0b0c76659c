"""`records:<path>`: a set that `ganjax.data.prepare` made, of ArrayRecord shards and a manifest.

A record is an image's height * width * channels bytes. Labels are stored in a file of their own, so
that they can be read without any image. So are the CRC-32s of all images, by which each is checked
when it is read; sets of early versions have none.

    manifest.json
    labels.npz                                "<split>/<feature>": int (count,)
    checksums.npz                             "<split>": uint32 (count,)
    <split>-00000-of-00008.array_record
"""

import contextlib
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from ganjax.config import Level, NonNegativeInt, PositiveInt
from ganjax.data.base import Kind, Labels, Opened, Source, chosen_labels, warn_once
from ganjax.data.fields import DataFields
from ganjax.data.fit import area, to_channels
from ganjax.engine.sizes import ImageSize, Size, checked, size_of
from ganjax.errors import DataError
from ganjax.pictures import npz
from ganjax.runtime import regular, storage

MANIFEST, LABELS, CHECKSUMS = "manifest.json", "labels.npz", "checksums.npz"
# The entry of the manifest that is a hash of all others.
SEAL = "sha256"
# The setting that says how boxes are cropped; sets of version 0.1.0, whose crops were truncated to
# whole pixels, lack it.
CROP = "crop"
# Sets of squares are of format 1, of which `size` is a number; others of format 2, of which it is a
# pair. An older version refuses those in one line.
FORMATS = {True: 1, False: 2}


class _Form(pydantic.BaseModel):
    """What is read of a part of a manifest; other entries may be there."""

    model_config = pydantic.ConfigDict(extra="ignore", strict=True)


class _Shard(_Form):
    # A name alone, so that a set from elsewhere leads to no other folder.
    file: Annotated[str, pydantic.Field(pattern=r"^[\w-]+\.array_record$")]
    count: PositiveInt
    bytes: PositiveInt


class _Split(_Form):
    count: NonNegativeInt
    shards: list[_Shard]


class _Splits(_Form):
    train: _Split
    validation: _Split


class _Settings(_Form):
    fit: str
    background: Annotated[list[Level], pydantic.Field(min_length=3, max_length=3)]


class _Manifest(_Form):
    fingerprint: str = ""  # Sets of early versions have none.
    size: ImageSize
    channels: Literal[1, 3]
    settings: _Settings
    labels: dict[str, list[str]]
    skipped: list[Annotated[list[str], pydantic.Field(min_length=2, max_length=2)]]
    splits: _Splits


def settings_hash(settings: dict[str, Any]) -> str:
    """Returns a SHA-256, in hexadecimal, of the settings that decide the content of a set."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns a manifest with the hash of its entries."""
    return manifest | {SEAL: settings_hash(manifest)}


def format_of(size: Size) -> int:
    """Returns the number of the format of sets of images of a size."""
    return FORMATS[size.is_square]


def shard_name(split: str, index: int, count: int) -> str:
    """Returns the file name of shard `index` of the `count` shards of a split."""
    return f"{split}-{index:05}-of-{count:05}.array_record"


def open_records(name: str, split: str, data: DataFields, image_size: ImageSize) -> Opened:
    """Opens a split of a prepared set, at its own size or a half, a quarter, ... of it.

    Smaller images are means by area. See `ganjax.data.base.Opener` for the arguments and the
    result.

    Raises:
      DataError: the set does not exist or is not complete, or does not fit `data`.
    """
    field = f"config.data.source={data.source!r}"
    root = Path(name).expanduser()
    manifest = read_manifest(root, field)
    size, channels, new = size_in(manifest), manifest["channels"], size_of(image_size)
    _check_settings(manifest, data, size, new, field)
    count, paths = manifest["splits"][split]["count"], _shards(root, split, manifest, field)
    features = _features(root, split, manifest, field)
    checksums = _checksums(root, split, count, manifest, field)
    chosen = chosen_labels(features, data.label, count, data.source)
    # Imported here: embedded data need not wait for it.
    from grain.sources import ArrayRecordDataSource

    with _damage_named(field):
        # Any: a type checker sees the empty class that grain defines for Windows.
        records: Any = ArrayRecordDataSource([str(path) for path in paths]) if paths else ()
        found = len(records)
    if found != count:
        raise DataError(
            f"{field}: its shards hold {found} images, its manifest says {count}; "
            "prepare the set again"
        )

    def fetch(indices):
        with _damage_named(field):
            raw = records.__getitems__([int(i) for i in indices])
            if checksums is not None:
                _check(raw, indices, checksums)
            image = np.frombuffer(b"".join(raw), np.uint8).reshape(len(raw), *size, channels)
        if new != size:
            # Stacked images are one tall image, of which whole cells are averaged.
            tall = image.reshape(len(raw) * size.height, size.width, channels)
            image = area(tall, len(raw) * new.height, new.width)
            image = image.reshape(len(raw), *new, channels)
        if channels != data.channels:
            image = np.stack([to_channels(each, data.channels) for each in image])
        return {"image": image, "label": chosen.values[indices]}

    source = Source(
        size=count,
        fetch=fetch,
        label_names=chosen.names,
        labels=lambda: chosen.values,
        features=lambda: features,
        skipped=tuple((file, reason) for file, reason in manifest["skipped"]),
        # The path that the set was made from does not matter, and earlier versions had no seal.
        fingerprint=settings_hash(
            {name: each for name, each in manifest.items() if name not in ("source", SEAL)}
        ),
        transparent=bool(manifest.get("transparent")),
    )
    return Opened(source, is_split=True)


KIND = Kind(open_records, usage="<path>")


def background_of(name: str) -> tuple[int, int, int]:
    """Returns the RGB colour that the transparent images of a prepared set were laid over.

    Args:
      name: the path of the set.

    Raises:
      DataError: there is no such set.
    """
    manifest = read_manifest(Path(name).expanduser(), f"records:{name}")
    red, green, blue = manifest["settings"]["background"]
    return red, green, blue


def read_manifest(root: Path, field: str) -> dict[str, Any]:
    """Reads the manifest of a set.

    Args:
      root: the folder of the set.
      field: what an error begins with: config.data.source and its value.

    Raises:
      DataError: there is no manifest, or it is damaged or of another version.
    """
    path = root / MANIFEST
    try:
        manifest = json.loads(regular.read_text(path))
        _Manifest.model_validate(manifest)
        intact = (
            manifest["format"] == format_of(size_in(manifest))
            and manifest["settings_sha256"] == settings_hash(manifest["settings"])
            and manifest.get(SEAL) in (None, _seal(manifest))
            and all(
                part["count"] == sum(shard["count"] for shard in part["shards"])
                for part in manifest["splits"].values()
            )
        )
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{field}: no prepared set is there ({path} is missing); make one with: "
            f"ganjax prepare --source=<source> --size=<pixels> --out={root}"
        ) from None
    except (*storage.NOT_JSON, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise DataError(f"{field}: {path} is damaged or of another version; prepare the set again")
    return manifest


def size_in(manifest: dict[str, Any]) -> Size:
    """Returns the size of a set's images, given its manifest."""
    return size_of(checked(manifest["size"]))


def _check_settings(manifest: dict, data: DataFields, size: Size, new: Size, field: str) -> None:
    """Raises a DataError if a config's fields differ from how the set was prepared."""
    settings, factor = manifest["settings"], size.height // new.height
    if (factor * new.height, factor * new.width) != size or factor & (factor - 1):
        raise DataError(
            f"{field} has images of {size}, which are read at that size, a half, a quarter "
            f"and so on, not at config.image_size={new.field}"
        )
    if data.fit != settings["fit"]:
        raise DataError(
            f"config.data.fit={data.fit!r}: {field} was prepared otherwise; set "
            f"config.data.fit={settings['fit']!r}"
        )
    if data.fit == "bounding_box" and CROP not in settings:
        warn_once(
            f"{field} was prepared by an early version, most of whose crops around bounding boxes "
            "are a pixel off; prepare the set again for a new run"
        )
    background = settings["background"]
    if manifest.get("transparent") and list(data.background) != background:
        raise DataError(
            f"config.data.background={data.background}: {field} has transparent images, which "
            f"were laid over another colour; set config.data.background={tuple(background)}"
        )


def _shards(root: Path, split: str, manifest: dict, field: str) -> list[Path]:
    """Returns the files of a split.

    Raises:
      DataError: one of them is missing or has another size than when it was made.
    """
    shards = manifest["splits"][split]["shards"]
    paths = [root / shard["file"] for shard in shards]
    for path, shard in zip(paths, shards, strict=True):
        size = path.stat().st_size if path.is_file() else None
        if size != shard["bytes"]:
            wrong = "is missing" if size is None else f"has {size} bytes, not {shard['bytes']}"
            raise DataError(f"{field}: {path.name} {wrong}; prepare the set again")
    return paths


def _features(root: Path, split: str, manifest: dict, field: str) -> dict[str, Labels]:
    """Reads every feature of a split that can serve as labels."""
    try:
        with npz.opened(root / LABELS) as arrays:
            return {
                name: Labels(arrays.read(f"{split}/{name}").astype(np.int32), tuple(names))
                for name, names in manifest["labels"].items()
            }
    except (DataError, ValueError, KeyError):
        raise DataError(f"{field}: {LABELS} is missing or damaged; prepare the set again") from None


def _checksums(root: Path, split: str, count: int, manifest: dict, field: str) -> np.ndarray | None:
    """Reads the checksums of a split's images; None for a set that an early version has made."""
    if SEAL not in manifest:
        return None
    try:
        with npz.opened(root / CHECKSUMS) as arrays:
            found = arrays.read(split)
    except (DataError, ValueError, KeyError):
        found = np.zeros(0)
    if found.shape != (count,):
        raise DataError(f"{field}: {CHECKSUMS} is missing or damaged; prepare the set again")
    return found


def _check(raw: Sequence[bytes], indices: np.ndarray, checksums: np.ndarray) -> None:
    """Raises a ValueError if the content of an image is not what was written."""
    for index, each in zip(indices, raw, strict=True):
        if zlib.crc32(each) != checksums[index]:
            raise ValueError(f"image {index} is not as it was written")


def _seal(manifest: dict[str, Any]) -> str:
    return settings_hash({name: each for name, each in manifest.items() if name != SEAL})


@contextlib.contextmanager
def _damage_named(field: str) -> Iterator[None]:
    """Replaces the many lines of ArrayRecord's errors about a damaged file by one."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{field}: a shard is damaged ({reason}); prepare the set again") from None
