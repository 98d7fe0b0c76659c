"""Random keys, derived by name: none is ever stored, so a resumed run needs none."""

import zlib

import jax


def fold(key: jax.Array, *path: str | int | jax.Array) -> jax.Array:
    """Derives a key by folding names and integers into another, one after the other.

    Args:
      key: a typed key (`jax.random.key`).
      *path: names, which are folded in by their CRC-32, the same in every process and version,
        and integers, traced or not.

    Returns:
      A typed key, always the same one for the same path.
    """
    for part in path:
        data = zlib.crc32(part.encode()) if isinstance(part, str) else part
        key = jax.random.fold_in(key, data)
    return key
