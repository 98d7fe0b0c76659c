"""Batches of images: sharded, prefetched, and sent to the devices as uint8.

A batch is a function of the seed and the step alone, so there is no iterator state to save: a
resumed run asks for the batches from its step on.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ganjax.data.base import Source
from ganjax.engine.phases import Phase
from ganjax.errors import DataError
from ganjax.parallel import distributed

Batch = dict[str, Any]

# Larger sets must be sent batch by batch, since an accelerator's memory is for the model.
ON_DEVICE_BYTES = 2 << 30
# Threads that read and decode images while the devices compute.
THREADS = min(16, os.cpu_count() or 1)
# How many images a thread reads at a time where a whole set is read.
READ_AT_ONCE = 256


@lru_cache(maxsize=32)
def _permutation(seed: int, start: int, epoch: int, size: int) -> np.ndarray:
    # RandomState, not Generator: NumPy promises its stream for all versions to come. Grain's own
    # shuffle is as good, but computed element by element (docs/speed.md).
    return np.random.RandomState([seed, start, epoch]).permutation(size)


def order(seed: int, start: int, size: int, first: int, count: int) -> np.ndarray:
    """Returns a stretch of the endless sequence of shuffled epochs.

    Every epoch is a permutation of all indices. Batches continue across its end, so that no image
    is ever left out.

    Args:
      seed: the run's seed.
      start: the phase's first step; every phase begins an epoch of its own.
      size: the number of images in the set.
      first: the first position of the stretch.
      count: the number of positions.

    Returns:
      (count,) indices of images.
    """
    return _endless(_permutation, seed, start, size, first, count)


def mirrored(seed: int, start: int, size: int, first: int, count: int) -> np.ndarray:
    """Returns whether the image at each position of `order` is flipped left to right.

    Each position has a fair coin of its own, so an image may be flipped in one epoch and not in
    the next. The arguments are those of `order`.

    Returns:
      bool (count,).
    """
    return _endless(_coins, seed, start, size, first, count)


@lru_cache(maxsize=32)
def _coins(seed: int, start: int, epoch: int, size: int) -> np.ndarray:
    # The seed has four numbers, so that this stream is not the permutation's.
    return np.random.RandomState([seed, start, epoch, 1]).randint(2, size=size).astype(bool)


def uniform(seed: int, start: int, size: int, first: int, count: int) -> np.ndarray:
    """Returns the number at each position of `order` by which a part of its real is drawn.

    The arguments are those of `order`.

    Returns:
      float64 (count,), independent and uniform on [0, 1).
    """
    return _endless(_numbers, seed, start, size, first, count)


@lru_cache(maxsize=32)
def _numbers(seed: int, start: int, epoch: int, size: int) -> np.ndarray:
    return np.random.RandomState([seed, start, epoch, 2]).random_sample(size)


def _endless(
    values_of_epoch: Callable, seed: int, start: int, size: int, first: int, count: int
) -> np.ndarray:
    """Returns elements first .. first + count - 1 of the epochs' values put end to end."""
    positions = np.arange(first, first + count)
    epochs = positions // size
    return np.concatenate(
        [
            values_of_epoch(seed, start, int(epoch), size)[positions[epochs == epoch] % size]
            for epoch in np.unique(epochs)
        ]
    )


def read_all(source: Source) -> Batch:
    """Reads the whole set, in threads, as one batch.

    Returns:
      {"image": uint8 (source.size, H, W, C), "label": int32 (source.size,)}.
    """
    starts = range(0, source.size, READ_AT_ONCE)
    chunks = [np.arange(i, min(i + READ_AT_ONCE, source.size)) for i in starts]
    first = source.fetch(chunks[0][:1])
    whole = {name: np.empty((source.size, *a.shape[1:]), a.dtype) for name, a in first.items()}

    def read(indices):
        for name, leaf in source.fetch(indices).items():
            whole[name][indices] = leaf

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(read, chunks):
            pass
    return whole


def check(source: Source, *, on_device: bool) -> None:
    """Reads one image, so that a fault of all images is found before a run begins.

    Args:
      source: the images.
      on_device: whether the set is to be kept on the devices.

    Raises:
      DataError: the image does not fit, or the set is larger than `ON_DEVICE_BYTES`.
    """
    size = source.size * sum(leaf.nbytes for leaf in source.fetch(np.arange(1)).values())
    if on_device and size > ON_DEVICE_BYTES:
        raise DataError(
            f"config.data.on_device=True: the set is {size / 2**30:.1f} GiB, more than "
            f"{ON_DEVICE_BYTES >> 30}; set config.data.on_device=False"
        )


class _Steps:
    """The local batches of train steps, by the index of the step.

    Args:
      source: the images.
      phase: the phase that the steps belong to.
      seed: the run's seed.
      reals: the number of batches in a step.
      columns: the part of each batch that this process reads.
      mirror: whether images are flipped as `mirrored` says.
      indices_only: whether batches hold "index" and "mirror" instead of images.
    """

    def __init__(
        self,
        source: Source,
        phase: Phase,
        seed: int,
        reals: int,
        columns: slice,
        mirror: bool,
        indices_only: bool,
    ):
        self._source, self._phase, self._seed = source, phase, seed
        self._reals, self._columns = reals, columns
        self._mirror, self._indices_only = mirror, indices_only

    def __getitem__(self, index: int) -> Batch:
        """Returns the batch of the step `index`."""
        chosen = self._local(order, index)
        flips = self._local(mirrored, index) if self._mirror else None
        if self._indices_only:
            batch = {"index": chosen.astype(np.int32)}
            return batch if flips is None else batch | {"mirror": flips}
        if self._source.drawn is None:
            flat = self._source.fetch(chosen.reshape(-1))
        else:
            numbers = self._local(uniform, index)
            flat = self._source.drawn(chosen.reshape(-1), numbers.reshape(-1))
        if flips is not None:
            flips = flips.reshape(-1, 1, 1, 1)
            flat["image"] = np.where(flips, flat["image"][:, :, ::-1], flat["image"])
        return {name: leaf.reshape(*chosen.shape, *leaf.shape[1:]) for name, leaf in flat.items()}

    def _local(self, sequence: Callable, step: int) -> np.ndarray:
        """Returns this process's part of a step's stretch of `order`, `mirrored` or `uniform`."""
        batch_size, start = self._phase.batch_size, self._phase.start
        count = self._reals * batch_size
        values = sequence(self._seed, start, self._source.size, (step - start) * count, count)
        return values.reshape(self._reals, batch_size)[:, self._columns]


def train_batches(
    source: Source,
    phase: Phase,
    *,
    seed: int,
    reals: int,
    start: int,
    sharding: NamedSharding,
    on_device: Batch | None = None,
    mirror: bool = False,
    dispatches: Iterable[int] | None = None,
) -> Iterator[Batch]:
    """Returns an iterator over the batches of a phase's train steps, from step `start` on.

    Batches are read in threads and sent to the devices before they are asked for, those of one
    dispatch in one transfer.

    Args:
      source: the images.
      phase: the phase, with its steps and its batch size over all processes and devices.
      seed: the run's seed.
      reals: the number of batches in a step.
      start: the first step, anywhere in the phase; the last is phase.stop - 1.
      sharding: the sharding of (reals, batch_size, ...) arrays.
      on_device: the whole set, from `put_all`, where it is kept on the devices, so that only
        indices are sent there.
      mirror: whether images are flipped as `mirrored` says.
      dispatches: the numbers of steps whose batches are wanted together; None for each on its own.

    Yields:
      {"image": uint8 (reals, batch_size, H, W, C), "label": int32 (reals, batch_size)}; with
      dispatches, such arrays with a first axis of steps.
    """
    # Each process reads only those columns of the batch that its devices hold.
    columns = _local_columns(sharding, reals, phase.batch_size)
    local = _Steps(source, phase, seed, reals, columns, mirror, indices_only=bool(on_device))
    of_steps = _read_ahead(local, range(start, phase.stop))
    batches = of_steps
    if dispatches is not None:
        batches = (_stacked(list(islice(of_steps, count))) for count in dispatches)
        sharding = _of_steps(sharding)
    batches = (_put(each, sharding, phase.batch_size) for each in batches)
    return _ahead(map(_gather(on_device, sharding), batches) if on_device else batches)


def shapes(
    source: Source, phase: Phase, *, reals: int, count: int, sharding: NamedSharding
) -> Batch:
    """Returns the shapes of what `train_batches` yields for a dispatch of `count` steps.

    See `train_batches` for the other arguments.
    """
    sharding = _of_steps(sharding)
    one = np.zeros(1, np.int64)
    leaves = source.fetch(one) if source.drawn is None else source.drawn(one, np.zeros(1))
    return {
        name: jax.ShapeDtypeStruct(
            (count, reals, phase.batch_size, *leaf.shape[1:]),
            jax.dtypes.canonicalize_dtype(leaf.dtype),
            sharding=sharding,
        )
        for name, leaf in leaves.items()
    }


def eval_batches(
    source: Source, batch_size: int, *, limit: int, sharding: NamedSharding
) -> Iterator[Batch]:
    """Yields the first batches of a held-out split, in its own order.

    A split that is smaller than a batch is repeated to fill one.

    Args:
      source: the held-out images.
      batch_size: the number of images in a batch, over all processes and devices.
      limit: the number of batches at most.
      sharding: the sharding of (1, batch_size, ...) arrays.

    Yields:
      {"image": uint8 (1, batch_size, H, W, C), "label": int32 (1, batch_size)}.
    """
    columns = _local_columns(sharding, 1, batch_size)
    for i in range(min(limit, max(1, source.size // batch_size))):
        indices = np.arange(i * batch_size, (i + 1) * batch_size)[columns] % source.size
        batch = {name: leaf[None] for name, leaf in source.fetch(indices).items()}
        yield _put(batch, sharding, batch_size)


def put_all(source: Source, sharding: NamedSharding) -> Batch:
    """Puts a copy of the whole set on each device.

    Args:
      source: the images.
      sharding: any sharding over these devices.

    Returns:
      The arrays of `read_all`, replicated.
    """
    replicated = NamedSharding(sharding.mesh, PartitionSpec())
    return distributed.device_put(read_all(source), replicated)


def _local_columns(sharding: NamedSharding, reals: int, batch_size: int) -> slice:
    """Returns the contiguous part of the batch axis that this process's devices hold."""
    slices = sharding.addressable_devices_indices_map((reals, batch_size)).values()
    bounds = [s[1].indices(batch_size) for s in slices if s is not None]
    return slice(min(b[0] for b in bounds), max(b[1] for b in bounds))


def _of_steps(sharding: NamedSharding) -> NamedSharding:
    """Returns the sharding of arrays that have an axis of steps before those of a sharding."""
    return NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec))


def _stacked(batches: Sequence[Batch]) -> Batch:
    """Stacks batches along a new first axis; a single one is not copied."""
    if len(batches) == 1:
        return {name: leaf[None] for name, leaf in batches[0].items()}
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def _put(batch: Batch, sharding: NamedSharding, batch_size: int) -> Batch:
    """Puts this process's part of a batch on its devices, as part of the global arrays.

    The last axis that the sharding names is that of the batch.
    """
    if sharding.num_devices == 1:
        return _sender(sharding)(batch)
    if sharding.is_fully_addressable:  # One call for all arrays takes a third of the host's time.
        return jax.device_put(batch, sharding)
    axis = len(sharding.spec) - 1
    return {
        name: jax.make_array_from_process_local_data(
            sharding, leaf, (*leaf.shape[:axis], batch_size, *leaf.shape[axis + 1 :])
        )
        for name, leaf in batch.items()
    }


@lru_cache
def _sender(sharding: NamedSharding) -> Callable[[Batch], Batch]:
    """Returns the program that only sends arrays, for a seventh of the work of device_put."""
    return jax.jit(lambda batch: batch, out_shardings=sharding)


def _gather(arrays: Batch, sharding: NamedSharding) -> Callable[[Batch], Batch]:
    """Returns the function from batches of indices to batches of images of `arrays`."""

    def take(arrays, batch):
        taken = {n: jnp.take(a, batch["index"], axis=0) for n, a in arrays.items()}
        if "mirror" in batch:
            image = taken["image"]
            flips = jnp.expand_dims(batch["mirror"], (-3, -2, -1))
            taken["image"] = jnp.where(flips, jnp.flip(image, axis=-2), image)
        return taken

    take = jax.jit(take, out_shardings=sharding)
    return lambda batch: take(arrays, batch)


def _read_ahead(steps: _Steps, indices: Iterable[int]) -> Iterator[Batch]:
    """Yields the batches of steps, in order, which threads read before they are asked for."""
    # Not by grain, whose bookkeeping takes longer than to read a batch of a set in memory.
    pool, waiting = ThreadPoolExecutor(THREADS, "reading"), deque()
    try:
        for index in indices:
            waiting.append(pool.submit(steps.__getitem__, index))
            if len(waiting) > 2 * THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ahead(iterator: Iterable, depth: int = 2) -> Iterator:
    """Yields an iterator's elements, always asking for `depth - 1` more than were yielded.

    A batch is thereby sent to the devices while they compute the step before.
    """
    queue = deque()
    for element in iterator:
        queue.append(element)
        if len(queue) == depth:
            yield queue.popleft()
    yield from queue
