"""Batches as a function of (seed, step) alone: sharded, prefetched, uint8 to the device.

There is no iterator state to save: a resumed run asks for the batches from its step on.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from ganjax.data.base import Source
from ganjax.engine.phases import Phase
from ganjax.errors import DataError
from ganjax.parallel import distributed

Batch = dict[str, Any]

# An accelerator's memory is for the model; a larger set travels batch by batch.
ON_DEVICE_BYTES = 2 << 30
# What reads and decodes: images of files and TFDS sets are decoded while the step runs.
THREADS = min(16, os.cpu_count() or 1)
# Images that a thread reads at once where a whole set is read.
CHUNK = 256


@lru_cache(maxsize=32)
def _permutation(seed: int, start: int, epoch: int, size: int) -> np.ndarray:
    # RandomState, not Generator: NumPy promises its stream for all versions to come.
    # Grain's own shuffle is as good, but element by element: 5 ms a batch of 192 for 0.02.
    return np.random.RandomState([seed, start, epoch]).permutation(size)


def order(seed: int, start: int, size: int, first: int, count: int) -> np.ndarray:
    """Positions first .. first + count of the endless sequence of shuffled epochs.

    Every epoch is a permutation of all `size` indices; batches run across its end, so that
    no image is ever left out.

    Args:
      seed: the run's.
      start: the phase's first step; every phase begins an epoch of its own.
      size: of the set.
      first: the first position.
      count: how many.

    Returns:
      (count,) indices.
    """
    return _endless(_permutation, seed, start, size, first, count)


def mirrored(seed: int, start: int, size: int, first: int, count: int) -> np.ndarray:
    """Whether the image at each of the positions of `order` is flipped left to right.

    A fair coin for every position: an image is thrown for anew in every epoch.

    Returns:
      bool (count,).
    """
    return _endless(_coins, seed, start, size, first, count)


@lru_cache(maxsize=32)
def _coins(seed: int, start: int, epoch: int, size: int) -> np.ndarray:
    # Another stream than the permutation's, whose seed is a list of three.
    return np.random.RandomState([seed, start, epoch, 1]).randint(2, size=size).astype(bool)


def _endless(of_epoch, seed: int, start: int, size: int, first: int, count: int) -> np.ndarray:
    """Elements first .. first + count of of_epoch(.., 0, size), of_epoch(.., 1, size), ..."""
    positions = np.arange(first, first + count)
    epochs = positions // size
    return np.concatenate(
        [
            of_epoch(seed, start, int(epoch), size)[positions[epochs == epoch] % size]
            for epoch in np.unique(epochs)
        ]
    )


def read_all(source: Source) -> Batch:
    """The whole set as one batch, read in threads."""
    pieces = [np.arange(i, min(i + CHUNK, source.size)) for i in range(0, source.size, CHUNK)]
    whole: Batch = {}

    def read(indices):
        batch = source.fetch(indices)
        for name, leaf in batch.items():
            whole[name][indices] = leaf

    first = source.fetch(pieces[0][:1])
    whole = {name: np.empty((source.size, *a.shape[1:]), a.dtype) for name, a in first.items()}
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(read, pieces):
            pass
    return whole


def check(source: Source, *, on_device: bool) -> None:
    """Reads one image, so that what is wrong with all of them is known before a run begins.

    Raises:
      DataError: the image does not fit, or the set is larger than `ON_DEVICE_BYTES`.
    """
    size = source.size * sum(leaf.nbytes for leaf in source.fetch(np.arange(1)).values())
    if on_device and size > ON_DEVICE_BYTES:
        raise DataError(
            f"config.data.on_device=True: the set is {size / 2**30:.1f} GiB, more than "
            f"{ON_DEVICE_BYTES >> 30}; set it to False"
        )


class _Steps:
    """A random-access source, for grain, whose element is one train step's local batch."""

    def __init__(self, read: Callable[[int], Batch], stop: int):
        self._read = read
        self._stop = stop

    def __len__(self) -> int:
        return self._stop

    def __getitem__(self, step: int) -> Batch:
        return self._read(step)


def train_batches(
    source: Source,
    phase: Phase,
    *,
    seed: int,
    reals: int,
    start: int,
    sharding: NamedSharding,
    on_device: bool | Batch = False,
    mirror: bool = False,
) -> Iterator[Batch]:
    """The batches of train steps start .. phase.stop, on the devices ahead of their use.

    Args:
      source: the images.
      phase: its batch size (over all processes and devices) and steps.
      seed: the run's.
      reals: batches a step.
      start: the first step, anywhere in the phase.
      sharding: of (reals, batch_size, ...) arrays.
      on_device: whether to keep the whole set on the devices and send indices only; `put_all`'s
        arrays, where several runs share them.
      mirror: whether images are flipped as `mirrored` says.

    Yields:
      {"image": uint8 (reals, batch_size, S, S, C), "label": int32 (reals, batch_size)}.

    """
    # Each process reads the columns of the batch that its devices hold, and those alone.
    columns = _local_columns(sharding, reals, phase.batch_size)

    def places(of, step: int) -> np.ndarray:
        """What `order` or `mirrored` says of this process's part of a step's batches."""
        count = reals * phase.batch_size
        every = of(seed, phase.start, source.size, (step - phase.start) * count, count)
        return every.reshape(reals, phase.batch_size)[:, columns]

    def read(step: int) -> Batch:
        local = places(order, step)
        flat = source.fetch(local.reshape(-1))
        if mirror:
            flips = places(mirrored, step).reshape(-1, 1, 1, 1)
            flat["image"] = np.where(flips, flat["image"][:, :, ::-1], flat["image"])
        return {name: leaf.reshape(*local.shape, *leaf.shape[1:]) for name, leaf in flat.items()}

    def read_indices(step: int) -> Batch:
        batch = {"index": places(order, step).astype(np.int32)}
        return batch | {"mirror": places(mirrored, step)} if mirror else batch

    finish = lambda batch: batch  # noqa: E731
    if on_device:
        arrays = put_all(source, sharding) if on_device is True else on_device
        finish = _gather(arrays, sharding)
    steps = grain.MapDataset.source(_Steps(read_indices if on_device else read, phase.stop))[start:]
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=2 * THREADS)
    put = lambda batch: finish(_put(batch, sharding, phase.batch_size))  # noqa: E731
    return _ahead(map(put, steps.to_iter_dataset(options)))


def eval_batches(
    source: Source, batch_size: int, *, limit: int, sharding: NamedSharding
) -> Iterator[Batch]:
    """The first `limit` batches of a held-out split in its own order, as train_batches'.

    A split smaller than a batch is read round and round to fill one.
    """
    columns = _local_columns(sharding, 1, batch_size)
    for i in range(min(limit, max(1, source.size // batch_size))):
        indices = np.arange(i * batch_size, (i + 1) * batch_size)[columns] % source.size
        batch = {name: leaf[None] for name, leaf in source.fetch(indices).items()}
        yield _put(batch, sharding, batch_size)


def _local_columns(sharding: NamedSharding, reals: int, batch_size: int) -> slice:
    """The slice of the batch axis that this process's devices hold (a contiguous one)."""
    slices = sharding.addressable_devices_indices_map((reals, batch_size)).values()
    bounds = [s[1].indices(batch_size) for s in slices]
    return slice(min(b[0] for b in bounds), max(b[1] for b in bounds))


def _put(batch: Batch, sharding: NamedSharding, batch_size: int) -> Batch:
    return {
        name: jax.make_array_from_process_local_data(
            sharding, leaf, (leaf.shape[0], batch_size, *leaf.shape[2:])
        )
        for name, leaf in batch.items()
    }


def put_all(source: Source, sharding: NamedSharding) -> Batch:
    """The whole set on each of the devices of a sharding."""
    replicated = NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
    return distributed.put(read_all(source), replicated)


def _gather(arrays: Batch, sharding: NamedSharding) -> Callable[[Batch], Batch]:
    """Index batches -> image batches, from arrays that stay on every device."""

    def take(arrays, batch):
        taken = {n: jnp.take(a, batch["index"], axis=0) for n, a in arrays.items()}
        if "mirror" in batch:
            image = taken["image"]
            flips = jnp.expand_dims(batch["mirror"], (2, 3, 4))
            taken["image"] = jnp.where(flips, jnp.flip(image, axis=3), image)
        return taken

    take = jax.jit(take, out_shardings=sharding)
    return lambda batch: take(arrays, batch)


def _ahead(iterator: Iterable, depth: int = 2) -> Iterator:
    """Keeps `depth` elements begun, so that their transfer overlaps the step before."""
    queue = deque()
    for element in iterator:
        queue.append(element)
        if len(queue) == depth:
            yield queue.popleft()
    yield from queue
