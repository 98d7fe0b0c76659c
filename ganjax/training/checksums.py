"""Checksums of a state's arrays, by which a restored state is compared with the saved one.

Orbax's files have none: a bit that flips on the disk would become a wrong weight. A checksum is the
CRC-32 of the 64-bit sums of each page of 4096 bytes. So a single bit, a whole page and two pages
that have changed places are all found, at a hundredth of the time of a save, where a CRC-32 of
every byte takes a thirtieth (docs/speed.md).
"""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

PAGE = 4096
# The part of an array that a shard holds: the first and last + 1 index along each axis.
Region = tuple[tuple[int, int], ...]


class ChecksumError(ValueError):
    """The error for an array that is not as it was saved, whose message begins with its name."""


class AnotherStateError(ValueError):
    """The error for a tree that is not of the arrays that were saved."""


def checksum(array: np.ndarray) -> int:
    """Returns the checksum of an array's bytes, an unsigned number of 32 bits."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    whole = len(data) // PAGE * PAGE
    sums = data[:whole].view(np.uint64).reshape(-1, PAGE // 8).sum(axis=1, dtype=np.uint64)
    return zlib.crc32(data[whole:].data, zlib.crc32(sums.data))


def of_state(state: Any) -> dict[str, list]:
    """Returns the checksums of a tree of arrays, in types of JSON.

    Each process reads the shards that it saves; if arrays are split over several processes, all
    of them must call this function.

    Returns:
      For each leaf, by its path: its dtype, its shape, and a list of [region, checksum] of the
      shards that make it up.
    """
    shards: dict[str, list] = {}
    shared = False
    for name, leaf in _leaves(state):
        if leaf.is_fully_replicated:
            found = [[_region((), leaf.shape), checksum(_host(leaf.addressable_data(0)))]]
        else:
            shared |= not leaf.is_fully_addressable
            found = [
                [_region(shard.index, leaf.shape), checksum(_host(shard.data))]
                for shard in leaf.addressable_shards
                if shard.replica_id == 0
            ]
        shards[name] = found
    every = _gather(shards) if shared else [shards]
    return {
        name: [
            str(leaf.dtype),
            list(leaf.shape),
            # A replicated leaf is the same in every process.
            every[0][name]
            if leaf.is_fully_replicated
            else [entry for of_process in every for entry in of_process[name]],
        ]
        for name, leaf in _leaves(state)
    }


def check(state: Any, stored: dict[str, list]) -> None:
    """Compares a tree of arrays with the checksums of the tree that was saved.

    The arrays may be laid out over other devices than they were. If they are split over several
    processes, all of them must call this function.

    Raises:
      AnotherStateError: an array was not saved, or as one of another dtype or shape.
      ChecksumError: an array has changed.
    """
    wrong = ""  # Raised last, since other processes wait for this one's part of every array.
    for name, leaf in _leaves(state):
        if name not in stored:
            raise AnotherStateError(f"{name}: it was not saved")
        dtype, shape, _ = stored[name]
        if (dtype, shape) != (str(leaf.dtype), list(leaf.shape)):
            saved = f"{dtype} {tuple(shape)}"
            raise AnotherStateError(
                f"{name}: it was saved as {saved}, not {leaf.dtype} {leaf.shape}"
            )
    for name, leaf in _leaves(state):
        shards = stored[name][2]
        regions = [_region(region, leaf.shape) for region, _ in shards]
        for (_, saved), part in zip(shards, _parts(leaf, regions), strict=True):
            if part is not None and checksum(part) != saved:
                wrong = wrong or f"{name}: its values are not those that were saved"
    if wrong:
        raise ChecksumError(wrong)


def _leaves(state: Any) -> Iterator[tuple[str, jax.Array]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _host(array: jax.Array) -> np.ndarray:
    return np.asarray(array)


def _region(index: Any, shape: tuple[int, ...]) -> Region:
    """Returns a region, given slices or pairs of the leading axes."""
    bounds = [
        each.indices(size)[:2] if isinstance(each, slice) else tuple(each)
        for each, size in zip(index, shape, strict=False)
    ]
    return (*bounds, *((0, size) for size in shape[len(bounds) :]))


def _parts(leaf: jax.Array, regions: list[Region]) -> Iterator[np.ndarray | None]:
    """Yields the regions of an array; None for those that other processes check."""
    if leaf.is_fully_addressable or leaf.is_fully_replicated:
        whole = _host(leaf.addressable_data(0) if leaf.is_fully_replicated else leaf)
        yield from (whole[tuple(slice(*bounds) for bounds in region)] for region in regions)
        return
    layout = leaf.sharding.devices_indices_map(leaf.shape)
    if not set(regions) <= {_region(index, leaf.shape) for index in layout.values()}:
        # It was saved from another layout, so that no process has all of a region.
        whole = np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
        yield from (whole[tuple(slice(*bounds) for bounds in region)] for region in regions)
        return
    own = {_region(shard.index, leaf.shape): shard.data for shard in leaf.addressable_shards}
    yield from (_host(own[region]) if region in own else None for region in regions)


def _gather(content: Any) -> list[Any]:
    """Returns every process's content, of types of JSON."""
    encoded = np.frombuffer(json.dumps(content).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(encoded))).reshape(-1)
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(encoded)] = encoded
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(bytes(row[:length])) for row, length in zip(rows, lengths, strict=True)]
