"""Sets of images to be measured: data sources, samples of a run, .npz files and folders."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ganjax.analysis.trained import Trained
from ganjax.data.base import Source, take
from ganjax.data.decode import SUFFIXES, decode
from ganjax.data.fields import DataFields
from ganjax.data.fit import to_channels
from ganjax.data.records import read_manifest
from ganjax.data.sources import open_source
from ganjax.errors import DataError, UserError
from ganjax.training import evaluation

# Names of the array of images in an .npz: ours, and others'.
ARRAYS = ("image", "images", "samples", "arr_0")


class Images(NamedTuple):
    """A set of images, which can be read again and again.

    Attributes:
      name: what they are, for the record.
      count: how many.
      shape: (H, W, C) of each.
      batches: () -> uint8 (n, H, W, C) arrays, `count` images in all.
      source: the same by index; None for samples, which are made anew each time.
      record: how they were made, where they were.
    """

    name: str
    count: int
    shape: tuple[int, int, int]
    batches: Callable[[], Iterator[np.ndarray]]
    source: Source | None = None
    record: dict[str, Any] = {}  # noqa: RUF012, which takes it for an attribute of the class.

    def first(self, count: int) -> np.ndarray:
        """uint8 (min(count, self.count), H, W, C)."""
        return np.concatenate(list(self.firsts(count)))

    def firsts(self, count: int) -> Iterator[np.ndarray]:
        """Yields the same, batch by batch."""
        for batch in self.batches():
            yield batch[:count]
            count -= len(batch)
            if count <= 0:
                return


def _whole(name: str, source: Source, shape: tuple[int, int, int]) -> Images:
    every = np.arange(source.size)
    return Images(name, source.size, shape, lambda: evaluation.read(source, every), source)


def of_source(name: str, source: Source, num: int) -> Images:
    """`num` images of a source at random, or all in a random order."""
    own = take(source, evaluation.choose(source, num))
    return _whole(name, own, own.fetch(np.arange(1))["image"].shape[1:])


def of_run(run: Trained, name: str, num: int, seed: int | None = None) -> Images:
    """Samples of a trained run, labelled by `ganjax.training.evaluation.draw_labels`."""
    z, _ = run.inputs(num, seed)
    label = evaluation.draw_labels(run.images_of("train"), run.algorithm.num_classes, num)
    side = run.phase.image_size
    shape = (side, side, run.config.data.channels)
    record = {
        "seed": run.seed if seed is None else seed,
        "labels": "none"
        if run.algorithm.num_classes == 1
        else "of training images in a random order, which is fixed",
    }
    return Images(name, num, shape, lambda: run.batches(z, label), record=record)


def of_npz(path: Path) -> Images:
    """The images in an .npz: uint8 (N, H, W, 1 or 3), named as one of `ARRAYS`.

    Raises:
      UserError: there are none.
    """
    try:
        with zipfile.ZipFile(path):
            pass  # np.load takes other files too, by their content.
        with np.load(path, allow_pickle=False) as arrays:
            name = next((name for name in ARRAYS if name in arrays), None)
            if name is None:
                raise UserError(f"{path}: none of its arrays is named {', '.join(ARRAYS)}")
            images = arrays[name]
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read as an .npz of arrays ({error})") from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"{path}: {name!r} is {images.dtype} {images.shape}; images are uint8 (N, H, W, 1 or "
            "3), levels from 0 to 255"
        )
    if not images.size:
        raise UserError(f"{path}: {name!r} is {images.shape}: no image is there")
    whole = Source(len(images), lambda i: {"image": images[i]}, ())
    return of_source(str(path), whole, len(images))


def of_folder(path: Path) -> Images:
    """The images in a folder and the folders in it, all of one size, as RGB.

    Read as the data source folder:<path> reads them: upright, 16 bits rounded to 8, over white.

    Raises:
      UserError: there are none, or one cannot be read or has another size.
    """
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{path}: no image is there ({', '.join(SUFFIXES)})")

    def open_one(file: Path) -> np.ndarray:
        try:
            return to_channels(decode(file), 3)
        except DataError as error:
            raise UserError(f"{file} is no image that can be read ({error}); remove it") from None

    shape = open_one(files[0]).shape

    def fetch(indices):
        images = [open_one(files[i]) for i in indices]
        for index, image in zip(indices, images, strict=True):
            if image.shape != shape:
                raise UserError(
                    f"{files[index]} is {image.shape[0]}x{image.shape[1]}, but {files[0]} "
                    f"{shape[0]}x{shape[1]}: bring all to one size, whose resizing you then know"
                )
        return {"image": np.stack(images)}

    return of_source(str(path), Source(len(files), fetch, ()), len(files))


def unlabelled(source: str, channels: int, fit: str) -> DataFields:
    """The images of a data source as they are, without labels."""
    return DataFields(
        source=source,
        label="",
        num_classes=1,
        channels=channels,
        fit=fit,
        mirror=False,
        num_examples=0,
        fraction=1.0,
        subset_seed=0,
        background=(255, 255, 255),
        labels_file="",
        min_side=1,
        max_skipped=0,
        on_device=False,
    )


def of_named_source(name: str, split: str, like: Images, fit: str, num: int) -> Images:
    """At most `num` images of a config.data.source, at the size and with the channels of `like`.

    Raises:
      DataError: there is no such set.
      UserError: the images of `like` are not square.
    """
    side, width, channels = like.shape
    if side != width:
        raise UserError(
            f"{like.name} has images of {side}x{width}, but a data source gives square ones: make "
            "them square, or give --real as an .npz or a folder"
        )
    data = unlabelled(name, channels, fit)
    if name.startswith("records:"):  # As they were made: there is no other background of them.
        manifest = read_manifest(Path(name.removeprefix("records:")).expanduser(), name)
        background = tuple(manifest["settings"]["background"])
        data = data.model_copy(update={"background": background})
    source = open_source(data, split, image_size=side)
    return of_source(f"{name} {split} ({fit} to {side}x{side})", source, num)
