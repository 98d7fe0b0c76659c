"""Trained runs from Python: their samples, their discriminators, their curves."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from ganjax.analysis.classes import class_index
from ganjax.analysis.tagging import TrainedTagger
from ganjax.analysis.trained import Trained
from ganjax.api import arguments
from ganjax.api.measured import Curve, curves
from ganjax.api.tagging import TaggerRun
from ganjax.config import untyped
from ganjax.data.base import SPLITS
from ganjax.errors import UserError, naming_arguments
from ganjax.metrics.image_set import from_source
from ganjax.runtime import compiling
from ganjax.training import domain
from ganjax.training import workdir as workdir_
from ganjax.training.tags import Tags

# A class by its index or name, or those of all images.
Label = int | str | Sequence[int] | Sequence[str] | np.ndarray | jax.Array


class Run:
    """A checkpoint of a trained run, as `ganjax.load` and `ganjax.train` return it.

    >>> run = ganjax.load("runs/cwgan_gp")
    >>> run
    <Run runs/cwgan_gp at step ...: 32x32x1, 10 classes>

    Attributes:
      folder: the run's folder.
      step: the number of train steps at the checkpoint.
      seed: the seed that it was trained with.
    """

    def __init__(self, trained: Trained):
        """Wraps a run that was read from its folder; `ganjax.load` reads it."""
        self._trained = trained
        self.folder, self.step, self.seed = trained.folder, trained.step, trained.seed

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.image_shape))
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        return f"<Run {self.folder} at step {self.step}: {shape}{classes}>"

    @property
    def config(self) -> Any:
        """A copy of the run's config, a ConfigDict whose fields can be set to train another run.

        >>> ganjax.load("runs/cwgan_gp").config.loss
        'wasserstein'
        """
        return untyped(self._trained.config.model_dump())

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of its images.

        >>> ganjax.load("runs/cwgan_gp").image_shape
        (32, 32, 1)
        """
        return self._trained.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, by index; () for an unconditional run.

        >>> ganjax.load("runs/cwgan_gp").class_names[:3]
        ('0', '1', '2')
        """
        return self._trained.class_names

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of both networks, as trees of arrays.

        >>> params = ganjax.load("runs/cwgan_gp").params
        >>> sorted(params)
        ['discriminator', 'generator']

        Those of the generator are the ones that samples are drawn with, of its moving average.
        Variables that are no parameters, BatchNorm's averages, are not among them.
        """
        return jax.device_get(self._trained.params)

    @naming_arguments
    def sample(
        self, num: int, *, seed: int | None = None, label: Label | None = None
    ) -> UInt8[np.ndarray, "n h w c"]:
        """Draws samples from the averaged generator.

        >>> ganjax.load("runs/cwgan_gp").sample(16, seed=0, label=3).shape
        (16, 32, 32, 1)

        They are those of `ganjax sample` with the same --num, --seed and --label.

        Args:
          num: the number of samples, N.
          seed: the seed of their latents, from 0 to 2**32 - 1; by default the run's, which gives
            the latents of the pictures in its folder.
          label: the class by index or name, or N of them; by default all classes in turn.

        Returns:
          The samples, uint8 (N, H, W, C).

        Raises:
          UserError: there is no such class, or the memory does not hold so many samples.
        """
        z = self.latents(num, seed)
        return self._trained.generate(z, self._labels(label, len(z)))

    @naming_arguments
    def latents(self, num: int, seed: int | None = None) -> Float32[np.ndarray, "n ..."]:
        """Draws the latents that `sample` generates images from.

        >>> ganjax.load("runs/cwgan_gp").latents(2, seed=0).shape
        (2, 32)

        Args:
          num: the number of latents, N.
          seed: their seed, from 0 to 2**32 - 1; by default the run's.
        """
        num = arguments.whole("num", num)
        if seed is not None:
            seed = arguments.whole("seed", seed, 0, 2**32 - 1)
        return self._trained.inputs(num, seed)[0]

    @naming_arguments
    def generate(self, z: Any, label: Label | None = None) -> UInt8[np.ndarray, "n h w c"]:
        """Generates the images of given latents by the averaged generator.

        >>> run = ganjax.load("runs/cwgan_gp")
        >>> ends = run.latents(2, seed=0)
        >>> run.generate(np.linspace(*ends, num=5), label=3).shape
        (5, 32, 32, 1)

        Args:
          z: the latents, (N, Z); `latents` draws some.
          label: the class by index or name, or N of them; by default all classes in turn.

        Returns:
          The images, uint8 (N, H, W, C).

        Raises:
          UserError: the latents have another shape, or there is no such class.
        """
        z, shape = np.asarray(z), self._trained.latent_shape
        if z.shape[1:] != shape or not z.size or z.dtype.kind not in "fiu":
            raise UserError(
                f"z is {z.dtype} {z.shape}: the run's latents are float32 {_rows(shape)}; "
                "run.latents(N) draws some"
            )
        return self._trained.generate(z.astype(np.float32), self._labels(label, len(z)))

    @naming_arguments
    def discriminate(self, images: Any, label: Label | None = None) -> Float32[np.ndarray, " n"]:
        """Computes the discriminator's scores of images, which are larger for reals.

        >>> run = ganjax.load("runs/cwgan_gp")
        >>> run.discriminate(run.sample(4, label=3), label=3).shape
        (4,)

        The discriminator is in inference mode, as in `ganjax sample scores`; docs/runs.md says what
        the scores of each loss mean.

        Args:
          images: uint8 (N, H, W, C), of the run's own size.
          label: the class of each image, or of all of them; a conditional run needs it.

        Raises:
          UserError: the images are others, or there is no such class.
        """
        images, shape = np.asarray(images), self.image_shape
        if images.dtype != np.uint8:
            raise UserError(
                f"images are {images.dtype}: give uint8, levels from 0 to 255; of floats x from "
                "-1 to 1 these are np.uint8(np.rint(127.5 * (x + 1)))"
            )
        if images.shape[1:] != shape or not images.size:
            raise UserError(f"images are {images.shape}: the run's are {_rows(shape)}")
        if label is None and self._trained.algorithm.num_classes > 1:
            raise UserError(
                "label is missing: the run's discriminator scores an image as one of its classes; "
                "give the class of each image, or of all"
            )
        return self._trained.scores(images, self._labels(label, len(images)))

    @naming_arguments
    def reals(
        self, num: int | None = None, split: str = "validation"
    ) -> UInt8[np.ndarray, "n h w c"]:
        """Reads real images of the run, at the size of its samples.

        >>> ganjax.load("runs/cwgan_gp").reals(8).shape
        (8, 32, 32, 1)

        Args:
          num: the number of images, in a random order that is always the same; by default all.
          split: "validation", the held-out images, or "train".

        Raises:
          UserError: the images can no longer be read, or there are fewer.
        """
        if split not in SPLITS:
            raise UserError(f"split={split!r}: there are {' and '.join(map(repr, SPLITS))}")
        source = self._trained.images_of(split)
        if num is not None and arguments.whole("num", num) > source.size:
            raise UserError(f"num={num}: the split {split!r} has {source.size} images")
        return from_source(split, source, source.size if num is None else num).array()

    def metrics(self) -> dict[str, Curve]:
        """Reads what was measured while the run was trained, also after the checkpoint.

        >>> steps, losses = ganjax.load("runs/cwgan_gp").metrics()["d_loss"]
        >>> len(steps) == len(losses)
        True

        Returns:
          The curve of each metric by name, in the order of metrics.jsonl. An evaluation's figures
          have fewer points than losses.
        """
        return curves(self.folder)

    def _labels(self, label: Label | None, num: int) -> np.ndarray:
        """Returns the class of each of `num` images, int32 (num,)."""
        classes = self._trained.algorithm.num_classes
        if label is None:
            return np.arange(num, dtype=np.int32) % classes
        given = np.asarray(label)
        if given.shape not in ((), (num,)):
            raise UserError(f"label is {given.shape}: give one class, or {num}, one for each image")
        if classes == 1:
            raise UserError(f"label={label!r}: the run has no classes; leave label out")
        if given.dtype.kind == "U":
            index = [class_index(text, self.class_names) for text in given.ravel().tolist()]
            given = np.array(index).reshape(given.shape)
        if given.dtype.kind not in "iu":
            raise UserError(f"label is {given.dtype}: give indices or names of classes")
        if given.size and not 0 <= given.min() <= given.max() < classes:
            wrong = given[(given < 0) | (given >= classes)].flat[0]
            raise UserError(
                f"label={wrong}: there is no such class; indices are from 0 to {classes - 1}"
            )
        return np.broadcast_to(given, (num,)).astype(np.int32)


@naming_arguments
def load(
    workdir: str | Path,
    which: str | int = "best",
    *,
    resolution: int | None = None,
    seed_index: int = 0,
    trust: bool | Collection[str] = False,
    ema: bool = True,
) -> Run | Any:
    """Reads a trained run from its folder.

    >>> ganjax.load("runs/cwgan_gp", "last")
    <Run runs/cwgan_gp at step ...: 32x32x1, 10 classes>

    Args:
      workdir: the folder, which `ganjax train` or `ganjax.train` made.
      which: the checkpoint: "best", the best by config.evaluation.best or, where that names no
        figure, the last; "last"; or the number of a step.
      resolution: of a growing run: the side in pixels at whose end it is wanted; by default that of
        the checkpoint.
      seed_index: which of a run's config.num_seeds seeds, from 0.
      trust: whether the run's config.json may name code that is not ganjax's, such as an algorithm
        of your own, which is then executed; or the names that it may name (docs/security.md).
      ema: whether the generator is its moving average, or the one that is trained.

    Returns:
      The run, a `Run`; of a run that tags images a `TaggerRun`, for which the type is Any.

    Raises:
      UserError: there is no such run or checkpoint, or it names code that is not trusted.
    """
    keep_programs()
    path = Path(workdir).expanduser()
    if resolution is not None:
        resolution = arguments.whole("resolution", resolution)
    seed_index = arguments.whole("seed_index", seed_index, 0)
    options = {"seed_index": seed_index, "trust": trust, "ema": ema}
    if isinstance(domain.of(workdir_.read(path, trust), path), Tags):
        if resolution is not None:
            raise UserError(f"resolution={resolution}: {path} tags images; leave it out")
        return TaggerRun(TrainedTagger(path, str(which), **options))
    trained = Trained(path, str(which), **options)
    return Run(trained if resolution is None else trained.at_resolution(resolution))


def keep_programs() -> None:
    """Turns on JAX's cache of compiled programs on disk, unless the session has one."""
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        compiling.keep_programs()


def _rows(shape: Sequence[int]) -> str:
    return f"({', '.join(['N', *map(str, shape)])})"
