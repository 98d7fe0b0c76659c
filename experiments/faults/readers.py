"""The readers of files from elsewhere, each with files that it reads, for fuzzing."""

import csv
import io
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from experiments.faults import tag_files, weight_files
from ganjax import config_file, shipped
from ganjax.data import annotations, decode, png, prepare, records, sources
from ganjax.data.fields import DataFields
from ganjax.metrics import torch_files
from ganjax.pictures import npz
from ganjax.training import migrations, schema, stored, workdir, writer


class Reader(NamedTuple):
    """A reader, and how bytes become a file for it.

    Attributes:
      file: the name of the file.
      read: reads the file in a folder, and may raise a `UserError`.
      seeds: makes what else the folder holds, and returns contents that can be read.
      forms: functions from bytes to the content of a file; those of `seeds` are for the first.
        Others put bytes where a damaged file would not be looked at, for want of a checksum.
      mib: the most memory that reading may take.
      sized: whether a file must be as large as the first seed, or it is not looked into.
    """

    file: str
    read: Callable[[Path], object]
    seeds: Callable[[Path], Sequence[bytes]]
    forms: tuple[Callable[[bytes], bytes], ...] = (lambda content: content,)
    mib: int = 512
    sized: bool = False


def _plain(content: bytes) -> bytes:
    return content


def _zipped(entry: str, others: dict[str, bytes], method: int) -> Callable[[bytes], bytes]:
    """Returns a form that makes bytes an entry of a zip archive."""

    def form(content):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, each in {entry: content, **others}.items():
                archive.writestr(name, each)
        return file.getvalue()

    return form


def _weights(folder: Path) -> list[bytes]:
    del folder
    good = weight_files.GOOD
    return [
        *(make(good) for make in weight_files.FORMATS.values()),
        weight_files.pickled(good),
    ]


def _arrays(folder: Path) -> list[bytes]:
    del folder
    file, array = io.BytesIO(), io.BytesIO()
    images = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.savez_compressed(file, image=images, label=np.arange(2), name=np.array(["a", "bc"]))
    np.save(array, images)
    return [file.getvalue(), array.getvalue()]


def _read_arrays(path: Path) -> None:
    with npz.opened(path) as arrays:
        for name in arrays.names:
            arrays.header(name)
            arrays.read(name)


def _images(folder: Path) -> list[bytes]:
    del folder
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    colour = Image.fromarray(pixels)
    grey16 = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    found = []
    for image, options in (
        (colour, {"format": "png"}),
        (colour.quantize(8), {"format": "png", "transparency": 3}),
        (colour.convert("RGBA"), {"format": "png"}),
        (grey16, {"format": "png"}),
        (colour, {"format": "jpeg", "exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0"}),
        (colour, {"format": "jpeg", "progressive": True}),
        (colour, {"format": "webp"}),
        (colour, {"format": "webp", "lossless": True}),
        (colour, {"format": "bmp"}),
    ):
        file = io.BytesIO()
        image.save(file, **options)
        found.append(file.getvalue())
    return found


def _with_png_checksums(content: bytes) -> bytes:
    """Gives each chunk of a PNG file the checksum of its bytes."""
    parts, at = [png.SIGNATURE], len(png.SIGNATURE)
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        body = content[at + 4 : at + 8 + length]
        parts += [content[at : at + 4], body, struct.pack(">I", zlib.crc32(body))]
        at += 12 + length
    return b"".join(parts)


def _configs(folder: Path) -> list[bytes]:
    del folder
    found = []
    for name in ("wgan_gp", "progan", "ada", "cgan"):
        config = schema.load(config_file.load(str(shipped.config_file(name)))).config
        content = {migrations.KEY: migrations.FORMAT, **config.model_dump(mode="json")}
        found.append(json.dumps(content).encode())
    return found


def _checkpoint(folder: Path) -> list[bytes]:
    del folder
    ours = {
        migrations.KEY: migrations.FORMAT,
        stored.WINDOW: {"d_loss": [1.0, 2]},
        stored.FIGURES: {"kid_efflite0": 0.5},
        stored.STEP: 3,
        stored.CHECKSUMS: {"step": [[], "int32", [[[], 7]]]},
    }
    metadata = {"item_handlers": {}, "metrics": {}}
    return [
        json.dumps({**metadata, stored.OURS: each}).encode()
        for each in (stored.sealed(ours), {migrations.KEY: 1}, None)
    ]


def _read_checkpoint(path: Path) -> None:
    stored.figures(path.parent)
    stored.read(path.parent)


def _rows(folder: Path) -> list[bytes]:
    del folder
    rows = [{"step": step, "epoch": 0.5, "d_loss": 1.5, "text": "é"} for step in range(4)]
    return ["".join(json.dumps(row) + "\n" for row in rows).encode()]


def _tables(folder: Path) -> list[bytes]:
    del folder
    file = io.StringIO()
    csv.writer(file).writerows(
        [["file", "label", "ymin"], ["a.png", "1", "0.5"], ["b/c.png", 'x, "y"', ""]]
    )
    return [file.getvalue().encode(), "file\tlabel\na.png\t-1\n".encode("utf-8-sig")]


def _json_labels(folder: Path) -> list[bytes]:
    del folder
    contents: list[Any] = [
        {"a.png": 1, "b.png": {"label": "x", "ymin": 0.5, "ok": True, "none": None}},
        [["a.png", 1], ["b.png", "x"]],
        {"labels": [["a.png", 1], ["b.png", 2]]},
    ]
    return [json.dumps(each).encode() for each in contents]


def _read_labels(path: Path) -> None:
    found = annotations.read_annotations(path)
    for features in found.values():
        annotations.box(features)
    for name in {name for features in found.values() for name in features}:
        annotations.encode(name, {file: each.get(name) for file, each in found.items()})


def _prepared(file: str) -> Callable[[Path], list[bytes]]:
    """Returns a function that prepares a set in a folder, and returns the content of a file."""

    def make(folder):
        images = folder.parent / f"{folder.name}_images"
        for i in range(24):
            (images / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
            pixels = np.full((8, 8, 3), i * 9, np.uint8)
            Image.fromarray(pixels).save(images / "ab"[i % 2] / f"{i:02}.png")
        shutil.rmtree(folder)
        prepare.prepare_set(DataFields(source=f"folder:{images}", label=""), 8, folder)
        content = (folder / file).read_bytes()
        if file == records.MANIFEST:  # Without the seal, as of an early version, more is looked at.
            manifest = json.loads(content)
            del manifest[records.SEAL]
            return [content, json.dumps(manifest).encode()]
        return [content]

    return make


def _read_prepared(path: Path) -> None:
    data = DataFields(source=f"records:{path.parent}", label="label", num_classes=2)
    for split in ("train", "validation"):
        source = sources.open_source(data, split, image_size=4)
        source.fetch(np.arange(source.size))


def _tagged(file: str, folder: Path) -> list[bytes]:
    return tag_files.write(folder)[file]


SHARD = records.shard_name("train", 0, 1)

READERS = {
    ".pth": Reader(
        "a.pth",
        torch_files.read,
        _weights,
        (
            _plain,
            _zipped("a/data.pkl", {"a/data/0": weight_files.NUMBERS.tobytes()}, 0),
            _zipped("a/data.pkl", {"a/data/0": weight_files.NUMBERS.tobytes()}, 8),
        ),
    ),
    ".npz": Reader(
        "a.npz",
        _read_arrays,
        _arrays,
        (_plain, _zipped("image.npy", {}, 0), _zipped("image.npy", {}, 8)),
    ),
    # An image of decode.MAX_PIXELS takes 341 MiB in colour with alpha, and is held three times.
    "image": Reader("a.png", decode.decode_image, _images, (_plain, _with_png_checksums), 1_500),
    "config.json": Reader("config.json", lambda path: workdir.read(path.parent), _configs),
    "metrics.jsonl": Reader("metrics.jsonl", writer.read_metrics, _rows),
    "checkpoint": Reader(stored.METADATA, _read_checkpoint, _checkpoint),
    "labels.csv": Reader("labels.csv", _read_labels, _tables),
    "labels.json": Reader("labels.json", _read_labels, _json_labels),
    "manifest": Reader(records.MANIFEST, _read_prepared, _prepared(records.MANIFEST)),
    "shard": Reader(SHARD, _read_prepared, _prepared(SHARD), sized=True),
    "record labels": Reader(records.LABELS, _read_prepared, _prepared(records.LABELS)),
    **{file: Reader(file, read, partial(_tagged, file)) for file, read in tag_files.READ.items()},
}
