"""What a trained run's discriminator thinks of given images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float32, UInt8

from ganjax.analysis.image_sets import read_npz
from ganjax.analysis.trained import Trained
from ganjax.analysis.views import View, check_size, names_of
from ganjax.data.decode import decode_image
from ganjax.data.fit import Fitting
from ganjax.data.scan import described, listing
from ganjax.errors import DataError, UserError
from ganjax.objectives.losses import LOSSES
from ganjax.pictures import images

# How many training images, and samples, the given images are compared with.
COMPARED = 64


class _Given(NamedTuple):
    """The images that a user named.

    Attributes:
      names: where each image is from.
      image: the images, as large as the run's are in its phase.
      notes: lines for the user about how they were read.
      unreadable: lines about the files that are no images.
    """

    names: list[str]
    image: UInt8[np.ndarray, "n s s c"]
    notes: list[str]
    unreadable: list[str]


def show_scores(
    run: Trained,
    num: int | None,
    classes: Sequence[str] = (),
    *,
    paths: Sequence[str],
) -> View:
    """Shows given images with the discriminator's scores of them.

    The discriminator is that of the checkpoint, in inference mode: BatchNorm uses its running
    averages, dropout and augmentations do not act. A score is shown as a probability only where the
    run's loss makes it one; else it is shown as it is. Training images and samples are scored too,
    since most scores say nothing without these.

    An image that has the size of the run's is taken as it is, and others are fitted to it as the
    run's images were. Those that cannot be fitted so, for want of a bounding box or because
    they are larger than what they would be padded to, are cropped and resized.

    The view's arrays are "image", "name" and "score", float32 (N,); "probability" where there is
    one. A conditional discriminator scores each image with each class, so that "score" is (N, K),
    and "class" has the K names.

    Args:
      run: the trained run.
      num: the number of images, the first; None takes all.
      classes: the names or indices of classes that the images are scored as; by default all.
      paths: image files, folders of images, and .npz files of images.

    Raises:
      UserError: there is no such file, image or class, the picture would be too large, or the run's
        algorithm scores no single images.
    """
    given = _read(run, paths, num)
    chosen = run.classes(classes)
    names, image = given.names, given.image
    found = run.scores(image.repeat(len(chosen), axis=0), np.tile(chosen, len(image)))
    reading = _Reading.of(run)
    texts = [f"{value:.4g}" for value in reading.figures(found)]
    of_classes = names_of(run, chosen)

    def picture():
        columns = len(chosen) if of_classes else images.columns(len(image), 1)
        rows = len(image) if of_classes else -(-len(image) // columns)
        check_size(run, rows, columns, captioned=True)
        cells = image.repeat(len(chosen), axis=0)
        above = of_classes * len(image) or [Path(name).name for name in names]
        return images.sheet(cells, columns, above=above, below=texts)

    report = [*given.notes, reading.meaning, *_compared(run, reading)]
    rows = np.array(texts).reshape(len(image), len(chosen))
    for name, row in zip(names, rows, strict=True):
        figures = (
            [" ".join(each) for each in zip(of_classes, row, strict=True)] if of_classes else row
        )
        report.append(f"{name}: {', '.join(figures)}")
    arrays = {"image": image, "name": np.array(names)}
    values = {"score": found}
    if reading.probability:
        values["probability"] = reading.figures(found)
    if of_classes:
        values = {name: array.reshape(rows.shape) for name, array in values.items()}
        arrays["class"] = np.array(of_classes)
    return View(arrays | values, picture, report=report, unreadable=given.unreadable)


class _Reading(NamedTuple):
    """How the scores of a run are read.

    Attributes:
      meaning: a line that says what is shown.
      probability: whether that is the scores' sigmoid.
    """

    meaning: str
    probability: bool

    @classmethod
    def of(cls, run: Trained) -> "_Reading":
        """Returns how the scores of a run are read, which follows from its loss."""
        which = f"{run.folder} step {run.step}"
        loss = LOSSES.get(getattr(run.config, "loss", ""))
        if loss is None:
            return cls(f"{which}: D's output; the run's loss is its algorithm's own", False)
        if loss.gives_probability:
            meaning = "D's probability that the image is real, the sigmoid of its score"
            return cls(f"{which}: {meaning}", True)
        return cls(f"{which}: D's score, which is no probability ({loss.meaning})", False)

    def figures(self, scores: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
        """Returns what is shown of scores."""
        return scipy.special.expit(scores) if self.probability else scores


def _compared(run: Trained, reading: _Reading) -> list[str]:
    """Returns lines on the scores of training images and of samples."""
    sets = {}
    try:
        source = run.training_images()
        chosen = np.random.RandomState(0).permutation(source.size)[:COMPARED]
        batch = source.fetch(chosen)
        sets["training images"] = batch["image"], batch["label"]
    except DataError:  # Moved away; other images can be scored without them.
        pass
    z, label = run.inputs(COMPARED)
    sets["samples"] = run.generate(z, label), label
    lines = []
    for name, (image, label) in sets.items():
        values = reading.figures(run.scores(image, label))
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
        lines.append(
            f"for comparison, {len(values)} {name}: half of them above {middle:.4g}, four fifths "
            f"from {low:.4g} to {high:.4g}"
        )
    return lines


def _read(run: Trained, paths: Sequence[str], num: int | None) -> _Given:
    """Reads the images that paths name, at the run's size."""
    if not paths:
        raise UserError(
            "scores: of which images? name files or folders after the flags: "
            "ganjax sample scores --workdir=runs/dcgan image.png folder"
        )
    data, size = run.config.data, run.phase.size
    fit, resize = Fitting(data, size), Fitting(data.model_copy(update={"fit": "resize"}), size)
    names, read, resized, notes, unreadable = [], [], 0, [], []
    for name, array in named_images(paths, notes, unreadable):
        if num is not None and len(names) == num:
            break
        try:
            # An image of the run's own size needs no box and no crop.
            fitting = resize if array.shape[:2] == size else fit
            image = fitting(array)
        except DataError:
            image, resized = resize(array), resized + 1
        names.append(name)
        read.append(image)
    if resized:
        notes.append(
            f"{resized} of {len(names)} images were cropped and resized: "
            f"config.data.fit={data.fit!r} cannot take them"
        )
    if not read:
        raise no_images(paths, notes, unreadable)
    return _Given(names, np.stack(read), notes, unreadable)


def named_images(
    paths: Sequence[str], notes: list[str], unreadable: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields every image that paths name, with its name.

    Args:
      paths: image files, folders of images, and .npz files of images.
      notes: lines to which what is left out of folders is added.
      unreadable: lines to which each file that is no image is added, with the reason.

    Raises:
      UserError: there is no such file or folder.
    """
    for path in (Path(each).expanduser() for each in paths):
        if path.is_dir():
            found = listing(path, str(path))
            if found.others or found.unreadable:
                left_out = filter(None, [described(found.others), *found.unreadable])
                notes.append(f"{path}: not read: {', '.join(left_out)}")
            files = [path / file for file in found.files]
        elif path.is_file():
            files = [path]
        elif path.exists():
            raise UserError(f"{path}: it is neither a file nor a folder, but a pipe or a device")
        else:
            raise UserError(f"{path}: there is no such file or folder")
        for file in files:
            try:
                if file.suffix == ".npz":
                    found = [(f"{file}[{i}]", image) for i, image in enumerate(read_npz(file))]
                else:
                    found = [(str(file), decode_image(file))]
            except DataError as error:
                unreadable.append(f"{file} is no image that can be read ({error})")
            except UserError as error:  # It names the file.
                unreadable.append(str(error))
            else:
                yield from found


def no_images(paths: Sequence[str], notes: Sequence[str], unreadable: Sequence[str]) -> UserError:
    """Returns the error for paths that name no image that can be read."""
    reasons = "; ".join((*unreadable, *notes))
    return UserError(f"{', '.join(paths)}: there is no image{reasons and f'; {reasons}'}")
