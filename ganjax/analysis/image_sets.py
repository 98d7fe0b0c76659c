"""Construction of sets of images for metrics, from data sources, runs, .npz files and folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ganjax.analysis.measurement import Sets, most_others
from ganjax.analysis.trained import Trained
from ganjax.data import records
from ganjax.data.base import SPLITS, Source
from ganjax.data.decode import decode_image
from ganjax.data.fields import DataFields
from ganjax.data.fit import central_crop, to_channels
from ganjax.data.scan import listing
from ganjax.data.sources import SOURCES, open_source
from ganjax.engine.sizes import Size
from ganjax.errors import DataError, UserError
from ganjax.metrics import features
from ganjax.metrics.image_set import ImageSet, from_source
from ganjax.pictures import npz
from ganjax.training import evaluation

# The names under which an .npz may hold its images: that of ganjax, then those of other tools.
ARRAYS = ("image", "images", "samples", "arr_0")


def from_run(run: Trained, name: str, num: int, seed: int | None = None) -> ImageSet:
    """Returns samples of a trained run as a set, with labels drawn by `evaluation.draw_labels`.

    Args:
      run: the trained run.
      name: the name of the set.
      num: the number of samples.
      seed: the seed of their latents; None takes the run's.
    """
    z, _ = run.inputs(num, seed)
    label = evaluation.draw_labels(run.images_of("train"), run.algorithm.num_classes, num)
    height, width = run.phase.size
    shape = (height, width, run.config.data.channels)
    record = {
        "seed": run.seed if seed is None else seed,
        "labels": "none"
        if run.algorithm.num_classes == 1
        else "of training images in a random order, which is fixed",
    }
    return ImageSet(
        name,
        num,
        shape,
        lambda: run.batches(z, label),
        labels=label,
        num_classes=run.algorithm.num_classes,
        record=record,
    )


def from_npz(path: Path) -> ImageSet:
    """Returns the images in an .npz file as a set.

    Args:
      path: the file; see `read_npz`.

    Raises:
      UserError: the file cannot be read, or holds no such array.
    """
    return _of_array(str(path), read_npz(path))


def from_array(name: str, images: np.ndarray) -> ImageSet:
    """Returns an array of images as a set.

    Args:
      name: the name of the set.
      images: uint8 (N, H, W, 1 or 3).

    Raises:
      UserError: it is another array, or has no image.
    """
    _check_images(name, images.dtype, images.shape)
    return _of_array(name, images)


def read_npz(path: Path) -> UInt8[np.ndarray, "n h w c"]:
    """Returns the images in an .npz file, in their order.

    Args:
      path: the file, with an array uint8 (N, H, W, 1 or 3) under one of the names in `ARRAYS`.

    Raises:
      UserError: the file cannot be read, or holds no such array.
    """
    with npz.opened(path) as arrays:
        name = next((name for name in ARRAYS if name in arrays.names), None)
        if name is None:
            raise UserError(f"{path}: none of its arrays is named {', '.join(ARRAYS)}")
        shape, dtype, _ = arrays.header(name)
        _check_images(f"{path}: {name!r}", dtype, shape)
        return arrays.read(name)


def pair(
    real: str | Path | np.ndarray,
    fake: str | Path | np.ndarray,
    metrics: Sequence[str],
    *,
    split: str = "validation",
    fit: str = "resize",
) -> Sets:
    """Returns two sets of images that are compared, and the other split of a data source.

    Args:
      real: an array, as `from_array` takes it; the path of an .npz file or a folder; or a data
        source, as config.data.source names it.
      fake: an array or a path, which may also be written folder:<path>.
      metrics: the names of the metrics, which say how many images of a source are needed.
      split: the images of a data source that are compared, "validation" or "train".
      fit: how a data source's images get to the fakes' size, "resize" or "pad".

    Raises:
      UserError: there are no such images.
    """
    fakes = _given("fake", fake)
    if isinstance(real, np.ndarray) or ":" not in str(real) or Path(real).exists():
        return Sets(_given("real", real), fakes, None)
    training = "real" if split == "train" else "other"
    (other,) = (each for each in SPLITS if each != split)
    most = {split: features.MOST, other: most_others(metrics, training, fakes.count)}
    reals, more = (
        from_named_source(str(real), each, fakes, fit, most[each]) for each in (split, other)
    )
    if reals is None:
        raise UserError(f"split={split!r}: {real} has no such images; take {other!r}")
    return Sets(reals, fakes, more, training)


def _given(role: str, images: str | Path | np.ndarray) -> ImageSet:
    """Returns the images of an array or a path as a set."""
    if isinstance(images, np.ndarray):
        return from_array(f"{role} images", images)
    path = Path(images)
    kind, colon, name = str(images).partition(":")
    if colon and kind in SOURCES and not path.exists():
        if kind != "folder":
            raise UserError(
                f"--{role}={images}: only real images come from a data source; write them to an "
                ".npz or a folder, or give them as the real ones"
            )
        path = Path(name).expanduser()
    if path.suffix == ".npz":
        return from_npz(path)
    if path.is_dir():
        return from_folder(path)
    raise UserError(f"--{role}={images}: there is no such folder, and it is no .npz")


def _of_array(name: str, images: np.ndarray) -> ImageSet:
    whole = Source(len(images), lambda i: {"image": images[i]}, ())
    return from_source(name, whole, len(images))


def _check_images(name: str, dtype: np.dtype, shape: Sequence[int]) -> None:
    """Raises a UserError unless an array has the form of images."""
    if dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3):
        raise UserError(
            f"{name} is {dtype} {shape}; images are uint8 (N, H, W, 1 or 3), levels from 0 to 255"
        )
    if 0 in shape:
        raise UserError(f"{name} is {shape}: no image is there")


def from_folder(path: Path) -> ImageSet:
    """Returns the images in a folder and its sub-folders, all of one size, as a set in RGB.

    They are found and read as the data source folder:<path> does it: without hidden ones, and
    through links; upright, with 16 bits rounded to 8, and transparent ones laid over white.

    Args:
      path: the folder.

    Raises:
      UserError: there are no images, or one cannot be read or has another size.
    """
    files, unreadable, others = listing(path, str(path))
    for name, reason in unreadable.items():
        raise UserError(f"{path / name} cannot be listed ({reason}); mend or remove it")

    def read(file: str) -> np.ndarray:
        try:
            return to_channels(decode_image(path / file), 3)
        except DataError as error:
            raise UserError(
                f"{path / file} is no image that can be read ({error}); remove it"
            ) from None

    shape = read(files[0]).shape

    def fetch(indices):
        images = [read(files[i]) for i in indices]
        for index, image in zip(indices, images, strict=True):
            if image.shape != shape:
                raise UserError(
                    f"{path / files[index]} is {image.shape[0]}x{image.shape[1]}, but {files[0]} "
                    f"{shape[0]}x{shape[1]}: bring all to one size, whose resizing you then know"
                )
        return {"image": np.stack(images)}

    whole = Source(len(files), fetch, (), ignored=tuple(others.items()))
    return from_source(str(path), whole, len(files))


def from_named_source(name: str, split: str, like: ImageSet, fit: str, num: int) -> ImageSet | None:
    """Returns images of a data source as a set, with the size and channels of another set.

    Args:
      name: the source, as config.data.source names it.
      split: "train" or "validation".
      like: the other set.
      fit: how images get to that size: a value of config.data.fit.
      num: the most images that are taken.

    Returns:
      The set, or None if the split holds no images.

    Raises:
      DataError: there is no such source.
    """
    *sides, channels = like.shape
    size = Size(*sides)
    data = DataFields.model_validate({"source": name, "channels": channels, "fit": fit})
    if name.startswith("records:"):  # Its transparent images lie over a background already.
        background = records.background_of(name.removeprefix("records:"))
        data = data.model_copy(update={"background": background})
    source = open_source(data, split, image_size=size.field)
    if not source.size:
        return None
    images = from_source(f"{name} {split} ({fit} to {size})", source, num)
    assert images.source is not None  # As of every data source.
    return images._replace(record={**images.record, **_fitted(images.source.native, size, fit)})


def _fitted(native: np.ndarray | None, size: Size, fit: str) -> dict[str, Any]:
    """Describes what was done to images that are not of the size that they are compared at.

    Args:
      native: int32 (N, 2), the images' own heights and widths, or None.
      size: the size that they were fitted to.
      fit: "resize" or "pad".

    Returns:
      "native", their own sizes in words, and the numbers of images that are "cropped" to its
      proportions, "padded", "shrunk" and "enlarged"; without those that are 0, and {} where
      nothing was done.
    """
    if native is None or (native == size).all():
        return {}
    sizes, counts = np.unique(native, axis=0, return_counts=True)
    text = (
        "x".join(map(str, sizes[0]))
        if len(sizes) == 1
        else f"{sizes.min()} to {sizes.max()} a side"
    )
    if fit == "pad":
        done = {"padded": (sizes < size).any(1)}
    else:
        kept = np.array([central_crop(height, width, size) for height, width in sizes.tolist()])
        done = {
            "cropped": (kept < sizes).any(1),
            "shrunk": (kept > size).any(1),
            "enlarged": (kept < size).any(1),
        }
    numbers = {name: int(counts[which].sum()) for name, which in done.items() if which.any()}
    return {"native": text, **numbers}
