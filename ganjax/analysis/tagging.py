"""A trained tagger that is loaded from its folder, and the tags that it finds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from ganjax.analysis.scores import named_images, no_images
from ganjax.analysis.trained import Trained
from ganjax.data.tags import read_features
from ganjax.errors import UserError
from ganjax.metrics.tags import Votes
from ganjax.training.tags import Tags, for_sheet, squared, tag_sheet

# The end of the name of a file of features.
ARRAY = ".npy"


class Found(NamedTuple):
    """The tags of an image.

    Attributes:
      name: the path of the image, or the place of its feature in a file.
      tags: the tags with their votes, the best first.
      distinct: the number of different words that are the nearest to one of the samples.
    """

    name: str
    tags: tuple[tuple[str, int], ...]
    distinct: int


class TrainedTagger(Trained):
    """The tagger of one of a run's checkpoints; see `Trained` for its arguments and attributes."""

    about = Tags
    domain: Tags

    def votes(self, features: np.ndarray) -> Iterator[Votes]:
        """Yields the votes for each image, given the features (N, F) of the images."""
        latents = self.domain.latents(self.algorithm, jax.random.key(self.seed))
        tagger = self.domain.tagger(self.algorithm, self._layout)
        return tagger(self._ema, latents, features)

    def tag(self, features: np.ndarray, names: Sequence[str]) -> list[Found]:
        """Finds the tags of images.

        Args:
          features: float32 (N, F), the features of the images.
          names: their names.
        """
        return [
            Found(name, tuple(self.domain.named(votes)), votes.distinct)
            for name, votes in zip(names, self.votes(features), strict=True)
        ]


class Given(NamedTuple):
    """Images that are to be tagged.

    Attributes:
      names: their names.
      features: float32 (N, F), their features.
      pictures: uint8 (N, H, W, 3), the images as a sheet shows them; None of features alone.
      notes: lines about what was left out.
      unreadable: lines about the files that are no images.
    """

    names: tuple[str, ...]
    features: np.ndarray
    pictures: np.ndarray | None
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def read(run: TrainedTagger, paths: Sequence[str]) -> Given:
    """Reads the images that paths name, or the features of .npy files.

    Raises:
      UserError: no image can be read, or the run cannot compute the features of images.
    """
    if not paths:
        raise UserError(
            "which images? name files or folders: ganjax tag --workdir=runs/tagging image.png"
        )
    arrays = [path for path in paths if path.endswith(ARRAY)]
    if arrays and len(arrays) < len(paths):
        raise UserError(f"{arrays[0]}: name images, or features ({ARRAY}), and not both")
    if arrays:
        dim = run.config.data.feature_dim
        read_ = {path: read_features(Path(path).expanduser(), dim) for path in arrays}
        names = tuple(f"{path}[{i}]" for path, each in read_.items() for i in range(len(each)))
        return Given(names, np.concatenate(list(read_.values())), None)
    notes: list[str] = []
    unreadable: list[str] = []
    found = list(named_images(paths, notes, unreadable))
    if not found:
        raise no_images(paths, notes, unreadable)
    names = tuple(name for name, _ in found)
    pictures = [squared(image) for _, image in found]
    features = run.domain.features_of(pictures)
    return Given(names, features, for_sheet(pictures), tuple(notes), tuple(unreadable))


def sheet(given: Given, found: Sequence[Found]) -> np.ndarray | None:
    """Draws the images with their tags, or returns None of features alone."""
    if given.pictures is None:
        return None
    return tag_sheet(given.pictures, [list(each.tags) for each in found])
