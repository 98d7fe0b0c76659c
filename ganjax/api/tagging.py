"""Trained taggers from Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ganjax.analysis import tagging
from ganjax.api.measured import Curve, curves
from ganjax.config import untyped
from ganjax.errors import UserError, naming_arguments


class TaggerRun:
    """A checkpoint of a run of `configs/tagging.py`, as `ganjax.load` returns it.

    Attributes:
      folder: the run's folder.
      step: the number of train steps at the checkpoint.
      seed: the seed that it was trained with.
    """

    def __init__(self, trained: tagging.TrainedTagger):
        """Wraps a run that was read from its folder; `ganjax.load` reads it."""
        self._trained = trained
        self.folder, self.step, self.seed = trained.folder, trained.step, trained.seed

    def __repr__(self) -> str:
        words = len(self._trained.domain.vectors.words)
        return f"<TaggerRun {self.folder} at step {self.step}: {words} words>"

    @property
    def config(self) -> Any:
        """A copy of the run's config, a ConfigDict whose fields can be set."""
        return untyped(self._trained.config.model_dump())

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of both networks, as trees of arrays."""
        return jax.device_get(self._trained.params)

    @naming_arguments
    def tag(self, paths: Sequence[str | Path]) -> list[list[tuple[str, int]]]:
        """Finds the tags of images, as `ganjax tag` does.

        Args:
          paths: files and folders of images, or .npy files of features.

        Returns:
          For each image its tags with their votes, the best first.

        Raises:
          UserError: an image cannot be read.
        """
        given = tagging.read(self._trained, [str(path) for path in paths])
        if given.unreadable:
            raise UserError("; ".join(given.unreadable))
        return [list(each.tags) for each in self._trained.tag(given.features, given.names)]

    @naming_arguments
    def tag_features(self, features: Any) -> list[list[tuple[str, int]]]:
        """Finds the tags of images by their features, float (N, F).

        Raises:
          UserError: the features are no such array.
        """
        dim = self._trained.config.data.feature_dim
        try:
            array = np.asarray(features, np.float32)
        except (TypeError, ValueError) as error:
            raise UserError(f"features: {error}; give floats (N, {dim})") from None
        if array.ndim != 2 or array.shape[1] != dim or not np.isfinite(array).all():
            raise UserError(f"features {array.shape}: give finite floats (N, {dim})")
        names = [str(i) for i in range(len(array))]
        return [list(each.tags) for each in self._trained.tag(array, names)]

    def metrics(self) -> dict[str, Curve]:
        """Reads what was measured while the run was trained, as `Run.metrics` does."""
        return curves(self.folder)
