"""Random keys, folded by name: no key is ever carried, so that resuming needs none."""

import zlib

import jax


def fold(key: jax.Array, *path: str | int | jax.Array) -> jax.Array:
    """The key that stands at `path` below `key`.

    Args:
      key: a typed key (`jax.random.key`).
      *path: names (by their CRC-32, which is the same in every process and version) and
        integers, traced or not.

    Returns:
      A typed key; the same path gives the same key always.
    """
    for part in path:
        data = zlib.crc32(part.encode()) if isinstance(part, str) else part
        key = jax.random.fold_in(key, data)
    return key
