"""Sets of images for metrics: of a known number, and read in batches, never all held at once.

`ganjax.analysis.image_sets` makes such sets from runs, files and folders.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from ganjax.data.base import Source, take
from ganjax.runtime import memory

# The most images that are read at once, and the most bytes of them.
BATCH = 500
BATCH_BYTES = 32 << 20


class ImageSet(NamedTuple):
    """A set of images, which can be read any number of times.

    Attributes:
      name: a description of the images, for the record of a measurement.
      count: the number of images.
      shape: (H, W, C) of each image.
      batches: returns an iterator of uint8 (n, H, W, C) arrays, `count` images in all.
      source: the same images by index; None for samples, which are generated anew each time.
      labels: int32 (count,), the labels that samples were generated with; None of other images.
      num_classes: the number of classes of these labels.
      mirrored: whether a generator was also trained on their mirror images, copies of which are
        copies too.
      record: for the record of a measurement, how samples were generated, how many files of a
        folder are not read ("not_read") or cannot be ("skipped"), or how images were brought to the
        others' size.
    """

    name: str
    count: int
    shape: tuple[int, int, int]
    batches: Callable[[], Iterator[np.ndarray]]
    source: Source | None = None
    labels: np.ndarray | None = None
    num_classes: int = 1
    mirrored: bool = False
    record: Mapping[str, Any] = MappingProxyType({})

    def part(self, start: int, stop: int) -> "ImageSet":
        """Returns the images from `start` to `stop` - 1, or to the last one if it comes before."""
        stop = min(stop, self.count)
        if (start, stop) == (0, self.count):
            return self
        source = None if self.source is None else take(self.source, np.arange(start, stop))
        return self._replace(
            count=stop - start,
            batches=lambda: _between(self.batches(), start, stop),
            source=source,
            labels=None if self.labels is None else self.labels[start:stop],
        )

    def array(self) -> UInt8[np.ndarray, "n h w c"]:
        """Returns all images in one array.

        Raises:
          UserError: the memory does not hold them.
        """
        held = self.count * math.prod(self.shape)
        memory.check(f"{self.name}: {self.count} images", held, "ask for fewer")
        images, done = np.empty((self.count, *self.shape), np.uint8), 0
        for batch in self.batches():
            images[done : done + len(batch)] = batch
            done += len(batch)
        assert done == self.count
        return images


def from_source(
    name: str, source: Source, num: int | None, shape: tuple[int, int, int] | None = None
) -> ImageSet:
    """Returns a set of images of a source.

    Args:
      name: the name of the set.
      source: the source of the images.
      num: the most images, which `choose` draws; None takes all, in the source's own order.
      shape: (H, W, C) of each image; None reads one image to find it.
    """
    own = source if num is None else take(source, choose(source, num))
    if shape is None:
        shape = own.fetch(np.arange(1))["image"].shape[1:]
    left_out = {"not_read": dict(source.ignored), "skipped": len(source.skipped)}
    record = {role: files for role, files in left_out.items() if files}
    return ImageSet(name, own.size, shape, lambda: _read(own), own, record=record)


def choose(source: Source, num: int) -> Int[np.ndarray, " n"]:
    """Draws images of a source, the same ones each time.

    Args:
      source: the source of the images.
      num: the most images that are drawn.

    Returns:
      The indices of min(num, source.size) different images, in a random order.
    """
    return np.random.RandomState(0).permutation(source.size)[:num]


def rebatched(batches: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yields the images of batches in batches of `size`, the last of which may be smaller."""
    held = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= size:
            images = np.concatenate(held)
            whole = len(images) // size * size
            yield from np.split(images[:whole], whole // size)
            held = [images[whole:]]
    if sum(map(len, held)):
        yield np.concatenate(held)


def _read(source: Source) -> Iterator[np.ndarray]:
    """Yields all images of a source, in order: uint8 (n, H, W, C)."""
    first, size = 0, 1  # The first image shows how many bytes one takes.
    while first < source.size:
        indices = np.arange(first, min(first + size, source.size))
        images = source.fetch(indices)["image"]
        yield images
        first += size
        size = max(1, min(BATCH, BATCH_BYTES // images[0].nbytes))


def _between(batches: Iterable[np.ndarray], start: int, stop: int) -> Iterator[np.ndarray]:
    """Yields images `start` to `stop` - 1 of batches, and asks for no later batch."""
    first = 0
    for batch in batches:
        part = batch[max(start - first, 0) : stop - first]
        if len(part):
            yield part
        first += len(batch)
        if first >= stop:
            return
