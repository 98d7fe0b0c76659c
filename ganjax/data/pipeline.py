"""Batches as a function of (seed, step) alone: sharded, prefetched, uint8 to the device.

There is no iterator state to save: a resumed run asks for the batches from its step on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from ganjax.data.sources import DataError, Source
from ganjax.phases import Phase

Batch = dict[str, Any]

# An accelerator's memory is for the model; a larger set travels batch by batch.
ON_DEVICE_BYTES = 2 << 30


@lru_cache(maxsize=4)
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
    positions = np.arange(first, first + count)
    epochs = positions // size
    return np.concatenate(
        [
            _permutation(seed, start, int(epoch), size)[positions[epochs == epoch] % size]
            for epoch in np.unique(epochs)
        ]
    )


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
    on_device: bool = False,
) -> Iterator[Batch]:
    """The batches of train steps start .. phase.stop, on the devices ahead of their use.

    Args:
      source: the images.
      phase: its batch size (over all processes and devices) and steps.
      seed: the run's.
      reals: batches a step.
      start: the first step, anywhere in the phase.
      sharding: of (reals, batch_size, ...) arrays.
      on_device: whether to keep the whole set on the devices and send indices only.

    Yields:
      {"image": uint8 (reals, batch_size, S, S, C), "label": int32 (reals, batch_size)}.

    """
    # Each process reads the columns of the batch that its devices hold, and those alone.
    columns = _local_columns(sharding, reals, phase.batch_size)

    def indices(step: int) -> np.ndarray:
        count = reals * phase.batch_size
        first = (step - phase.start) * count
        every = order(seed, phase.start, source.size, first, count)
        return every.reshape(reals, phase.batch_size)[:, columns]

    def read(step: int) -> Batch:
        local = indices(step)
        flat = source.fetch(local.reshape(-1))
        return {name: leaf.reshape(*local.shape, *leaf.shape[1:]) for name, leaf in flat.items()}

    finish = lambda batch: batch  # noqa: E731
    if on_device:
        finish = _gather(source, sharding)
        read = lambda step: {"index": indices(step).astype(np.int32)}  # noqa: E731

    steps = grain.MapDataset.source(_Steps(read, phase.stop))[start:]
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
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


def _gather(source: Source, sharding: NamedSharding) -> Callable[[Batch], Batch]:
    """Index batches -> image batches, from arrays that stay on every device."""
    replicated = NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
    arrays = jax.device_put(source.fetch(np.arange(source.size)), replicated)
    take = jax.jit(
        lambda arrays, index: {n: jnp.take(a, index, axis=0) for n, a in arrays.items()},
        out_shardings=sharding,
    )
    return lambda batch: take(arrays, batch["index"])


def _ahead(iterator: Iterable, depth: int = 2) -> Iterator:
    """Keeps `depth` elements begun, so that their transfer overlaps the step before."""
    queue = deque()
    for element in iterator:
        queue.append(element)
        if len(queue) == depth:
            yield queue.popleft()
    yield from queue
