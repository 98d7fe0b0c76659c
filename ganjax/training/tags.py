"""Tags of images as what a run is about: features, word vectors, sheets of tags and their figures.

A run keeps the vectors of its words in its folder, since the skip-gram that makes them is an extra.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs

from ganjax.config import ConfigError
from ganjax.data import tags, word_vectors
from ganjax.data.base import Source
from ganjax.data.decode import decode_image
from ganjax.data.fields import DataFields
from ganjax.data.fit import Fitting
from ganjax.data.word_vectors import WordVectors
from ganjax.engine import step as steps
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.engine.sizes import ImageSize
from ganjax.errors import DataError, UserError
from ganjax.keys import fold
from ganjax.metrics import features
from ganjax.metrics import tags as tag_figures
from ganjax.metrics.fields import NO_FIGURE
from ganjax.parallel import distributed
from ganjax.parallel.sharding import Layout, make_layout
from ganjax.pictures import images, npz
from ganjax.training import checkpoint
from ganjax.training.domain import Bytes, Domain, Draw, Measure, Measured

if TYPE_CHECKING:
    from ganjax.training.setup import Run

# The file of word vectors in a run's folder.
VECTORS = "word_vectors.npz"
# The array of a file of features in the cache.
FEATURES = "feature"
# The side of an image in a sheet, in pixels, and the most tags that stand beside it.
SIDE, SHOWN = 128, 10
# The side in pixels to which larger images are reduced before a network sees them.
LARGEST = 224


class Tags(Domain):
    """The domain of runs that generate the word vectors of tags (`ganjax.training.domain.Domain`).

    Args:
      config: the run's config.
      folder: the run's folder, if it has one.
    """

    generates = "tags of images"
    instead = "ganjax tag"

    def __init__(self, config: Any, folder: Path | None = None):
        super().__init__(config)
        self._folder = folder
        self._tagger: tag_figures.Tagger | None = None

    @cached_property
    def tagged(self) -> tags.TaggedImages:
        """The images with their tags."""
        return tags.open_tagged(self.config.data)

    @cached_property
    def vectors(self) -> WordVectors:
        """The words with their vectors: those that the run keeps, if it has begun."""
        data = self.config.data
        if self._folder is not None and checkpoint.exist(self._folder):
            return self._kept(self._folder / VECTORS)
        if data.source != tags.EMBEDDED:
            return tags.given_vectors(data).centred()
        return word_vectors.skip_gram(
            self.tagged.of_training(),
            dim=data.vector_dim,
            window=data.window,
            min_count=data.min_count,
            epochs=data.epochs,
        ).centred()

    def _kept(self, path: Path) -> WordVectors:
        """Reads the vectors that a run keeps, which may have been downloaded with it."""
        found, dim = word_vectors.load(path), self.config.data.vector_dim
        if found.vectors.shape[1] != dim:
            raise DataError(
                f"{path} holds vectors of {found.vectors.shape[1]} numbers, and the run is of "
                f"config.data.vector_dim={dim}: restore it"
            )
        return found

    @cached_property
    def features(self) -> np.ndarray:
        """The features of all images, float32 (N, F)."""
        data = self.config.data
        if data.source != tags.EMBEDDED:
            return tags.given_features(data)
        found = cached_features(data.features, self.tagged.images)
        if found.shape[1] != data.feature_dim:
            raise ConfigError(
                f"config.data.feature_dim={data.feature_dim}: features of {data.features} have "
                f"{found.shape[1]} numbers; set as many"
            )
        return found

    def features_of(self, pictures: Iterable[np.ndarray]) -> np.ndarray:
        """Computes the features of images.

        Args:
          pictures: images as `ganjax.data.decode.decode_image` gives them, of any sizes.

        Returns:
          float32 (N, F).

        Raises:
          DataError: the run's features were given, and no network computes them.
        """
        data = self.config.data
        if data.source != tags.EMBEDDED:
            raise DataError(
                f"the features of this run were given ({data.source}): give those of your images, "
                f"as an .npy file of floats (N, {data.feature_dim})"
            )
        return _extract(data.features, [squared(each) for each in pictures])

    def open(self, split: str, image_size: ImageSize = 1) -> Source:
        del image_size
        return tags.tag_source(self.tagged, self.features, self.vectors, split)

    def count(self) -> int:
        data = self.config.data
        if data.source == tags.EMBEDDED:  # Its words are known before they have vectors.
            return len(self.tagged.with_tags("train", self.tagged.frequent(data.min_count)))
        return super().count()

    def check(self, compared: Iterable[Source] = (), holds_out: bool = True) -> None:
        del compared, holds_out
        known = [figure.name for figure in tag_figures.FIGURES if figure.better]
        evaluation = self.config.evaluation
        if evaluation.best not in (NO_FIGURE, *known):
            raise ConfigError(
                f"config.evaluation.best={evaluation.best!r}: there are {NO_FIGURE}, "
                f"{', '.join(known)}"
            )
        evaluation.check_patience()

    def keep(self, folder: Path) -> None:
        if not checkpoint.exist(folder):
            word_vectors.save(folder / VECTORS, self.vectors)

    def shapes(self, phase: Phase) -> dict[str, jax.ShapeDtypeStruct]:
        del phase
        data = self.config.data
        return {
            "feature": jax.ShapeDtypeStruct((data.feature_dim,), jnp.float32),
            "vector": jax.ShapeDtypeStruct((data.vector_dim,), jnp.float32),
        }

    def bytes(self, phase: Phase) -> Bytes:
        del phase
        data = self.config.data
        return Bytes(4 * (data.feature_dim + data.vector_dim), 4 * data.vector_dim)

    def with_tags(self, split: str) -> np.ndarray:
        """Returns the indices of the images of a split that have tags, known or not."""
        return np.array([i for i in self.tagged.splits[split] if self.tagged.tags[i]], np.int64)

    def tagger(self, algorithm: Algorithm, layout: Layout) -> tag_figures.Tagger:
        """Returns the function that lets a generator's samples vote on tags, always the same one.

        Args:
          algorithm: the algorithm, which samples.
          layout: the layout of the generator's arrays on the devices.
        """
        if self._tagger is None:
            sample = partial(steps.make_sampler(algorithm), phase=algorithm.phases[-1])
            self._tagger = tag_figures.Tagger(sample, self.vectors.vectors, layout.replicated)
        return self._tagger

    def latents(self, algorithm: Algorithm, key: jax.Array) -> np.ndarray:
        """Draws the latents of an image's samples, the same ones for each root key."""
        return np.asarray(algorithm.latent(fold(key, "tags"), tag_figures.SAMPLES))

    def named(self, votes: tag_figures.Votes) -> list[tuple[str, int]]:
        """Returns the tags that have won a vote, the best first, with their votes."""
        return [(self.vectors.words[i], int(votes.counts[i])) for i in votes.ranked()]

    def pictures(self, run: "Run") -> Draw | None:
        """Returns the function that draws a sheet of held-out images with their tags."""
        (height, columns), rows = self.config.sample_grid, self.with_tags("validation")
        spread = np.linspace(0, len(rows) - 1, min(height * columns, len(rows)))
        rows = rows[spread.astype(int)]  # Of all kinds, where neighbours are alike.
        shown = self.pixels(rows)
        if shown is None:
            return None
        tagger = self.tagger(run.algorithm, run.layout)
        latents = [self.latents(run.algorithm, key) for key in run.local_keys]

        def draw(generator, phase, index):
            del phase
            votes = tagger(generator, latents[index], self.features[rows])
            found = [self.named(each) for each in votes]
            return lambda: tag_sheet(shown, found, min(columns, len(shown)))

        return draw

    def measure(self, run: "Run") -> Measure:
        """Returns the function that measures the tags of held-out images."""
        rows = self.with_tags("validation")
        own = [self.tagged.tags[i] for i in rows]
        tagger = self.tagger(run.algorithm, run.layout)
        latents = [self.latents(run.algorithm, key) for key in run.local_keys]

        def measure(ema, phase, index):
            del phase
            votes = list(tagger(ema, latents[index], self.features[rows]))
            found = [[word for word, _ in self.named(each)] for each in votes]
            figures = tag_figures.score(found, own).figures()
            distinct = float(np.mean([each.distinct for each in votes]))
            figures = figures | {tag_figures.DISTINCT: distinct}
            return Measured(distributed.broadcast_from_primary(figures))

        return measure

    def shown(self, count: int) -> tuple[list[str], np.ndarray | None]:
        """Describes the images, tags and words for `ganjax show`."""
        tagged, vectors = self.tagged, self.vectors
        splits = {split: tagged.splits[split] for split in tags.SPLITS}
        known = set(vectors.words)
        counts = ", ".join(f"{len(rows)} {split}" for split, rows in splits.items())
        lines = [f"{self.config.data.source}: {counts}"]
        lines.append(f"feature: float32 {self.features.shape}")
        lines.append(f"words with a vector: {len(known)} of {vectors.vectors.shape[1]} numbers")
        for split, rows in splits.items():
            every = [tag for i in rows for tag in tagged.tags[i]]
            missing = sum(tag not in known for tag in every)
            lines.append(f"tags of {split}: {len(every)}, of them without a vector {missing}")
        rows = self.with_tags("train")[:count]
        pixels = self.pixels(rows)
        if pixels is None:
            return lines, None
        own = [[(tag, 0) for tag in tagged.tags[i] if tag in known] for i in rows]
        return lines, tag_sheet(pixels, own)

    def pixels(self, rows: np.ndarray) -> np.ndarray | None:
        """Returns some of the set's images for a sheet, or None where it has none to show."""
        given = self.tagged.images
        if given is None or not len(rows):
            return None
        if isinstance(given, np.ndarray):
            return for_sheet(given[rows])
        return for_sheet(squared(_decoded(given[i])) for i in rows)


def _decoded(file: Path) -> np.ndarray:
    """Decodes one of a set's images; an error names it."""
    try:
        return decode_image(file)
    except DataError as error:
        raise DataError(f"{file} cannot be read: {error}") from None


def for_sheet(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Returns images, uint8 (H, W, 3) of any sizes, as uint8 (N, SIDE, SIDE, 3) for a sheet."""
    fit = Fitting(DataFields(source="", fit="resize"), SIDE)
    return np.stack([fit(each) for each in pictures])


def tag_sheet(
    pictures: np.ndarray, found: list[list[tuple[str, int]]], columns: int | None = None
) -> np.ndarray:
    """Draws images, each with its tags below it, one a line, with their votes if there are any.

    Args:
      pictures: uint8 (N, H, W, 3).
      found: the tags of each image with their votes.
      columns: the number of images in a row.

    Returns:
      The picture, uint8 (H, W, 3).
    """
    width = pictures.shape[2]
    texts = [
        [f"{word} {votes}" if votes else word for word, votes in each[:SHOWN]] for each in found
    ]
    most = max(map(len, texts), default=0)
    strips = [
        images.text_strips([each[i] if i < len(each) else " " for each in texts], width, 3)
        for i in range(most)
    ]
    return images.grid(np.concatenate([pictures, *strips], axis=1), columns)


def cached_features(network: str, pictures: np.ndarray) -> np.ndarray:
    """Computes the features of images, or reads them from the user's cache.

    Args:
      network: a name in `ganjax.metrics.features.NETWORKS`.
      pictures: uint8 (N, H, W, 3).

    Returns:
      float32 (N, F).
    """
    weights = features.NETWORKS[network].file.hash if network in features.NETWORKS else ""
    digest = hashlib.sha256(f"{network} {weights} {pictures.shape}".encode() + pictures.tobytes())
    name = f"{digest.hexdigest()[:32]}.npz"
    path = Path(platformdirs.user_cache_dir("ganjax")) / "features" / name
    with contextlib.suppress(DataError), npz.opened(path) as arrays:
        if FEATURES in arrays.names:
            return arrays.read(FEATURES)
    found = _extract(network, pictures)  # They are not there yet, or damaged.
    # A cache that cannot be written does not keep a run from beginning.
    with contextlib.suppress(OSError, UserError):
        path.parent.mkdir(parents=True, exist_ok=True)
        images.save_npz(path, {FEATURES: found})
    return found


def _extract(network: str, pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Computes the features of images, uint8 (H, W, 3), of which those of one size go together."""
    layout = make_layout(jax.local_devices()[:1])
    extract = features.Extractor(network, features.load(network), ("features",), layout.batch)
    sizes: dict[tuple[int, ...], list[int]] = {}
    for i, picture in enumerate(pictures):
        sizes.setdefault(picture.shape, []).append(i)
    parts = {}
    for rows in sizes.values():
        together = np.stack([pictures[i] for i in rows])
        found = extract([together], len(rows), "features").features
        assert found is not None
        parts |= dict(zip(rows, found, strict=True))
    return np.stack([parts[i] for i in range(len(pictures))])


def squared(picture: np.ndarray) -> np.ndarray:
    """Returns an image of any size and mode as uint8 RGB, cropped to the central square."""
    side = min(picture.shape[:2])
    return Fitting(DataFields(source="", fit="resize"), min(side, LARGEST))(picture)
