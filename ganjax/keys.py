"""Random keys that are derived by name. No key is stored, so a resumed run needs none."""

import zlib

import jax


def fold(key: jax.Array, *path: str | int | jax.Array) -> jax.Array:
    """Derives a key by folding names and integers into another key, one after the other.

    Args:
      key: a typed key (`jax.random.key`).
      *path: names and integers. A name is folded in by its CRC-32, which is the same in every
        process and version; an integer may be traced.

    Returns:
      A typed key, which is always the same for the same key and path.
    """
    for part in path:
        data = zlib.crc32(part.encode()) if isinstance(part, str) else part
        key = jax.random.fold_in(key, data)
    return key
