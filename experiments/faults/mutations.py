"""A plain mutator: how bytes that are nearly right are made from bytes that are right."""

import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 32_767, 65_535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63)
VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "x", "\x00\x1b[2J", "é" * 99, [], {}, [[]], {"": {}}, "nan", "1e999"),
    *(0, -1, 0.5, 1e308, -1e308, float("nan"), float("inf"), 10**30, 2**31, 2**63, "9" * 5_000),
)


def mutated(seeds: Sequence[bytes], drawn: random.Random) -> bytes:
    """Returns one of the seeds with one to eight random changes."""
    content = drawn.choice(seeds)
    for _ in range(drawn.choice((1, 1, 1, 2, 3, 8))):
        content = drawn.choice(CHANGES)(content, seeds, drawn)
    return content


def _flip(content, seeds, drawn):
    changed = bytearray(content or b"\0")
    changed[drawn.randrange(len(changed))] ^= 1 << drawn.randrange(8)
    return bytes(changed)


def _byte(content, seeds, drawn):
    changed = bytearray(content or b"\0")
    changed[drawn.randrange(len(changed))] = drawn.choice((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x5B))
    return bytes(changed)


def _number(content, seeds, drawn):
    """Overwrites bytes by an integer of some size and order."""
    code = drawn.choice("BHIQ")
    size = struct.calcsize(code)
    packed = struct.pack(f"{drawn.choice('<>')}{code}", drawn.choice(NUMBERS) % 2 ** (8 * size))
    at = drawn.randrange(len(content) + 1)
    return content[:at] + packed + content[at + size :]


def _cut(content, seeds, drawn):
    start, stop = sorted(drawn.randrange(len(content) + 1) for _ in range(2))
    return content[:start] + content[stop:]


def _end(content, seeds, drawn):
    return content[: drawn.randrange(len(content) + 1)]


def _repeat(content, seeds, drawn):
    start, stop = sorted(drawn.randrange(len(content) + 1) for _ in range(2))
    part = content[start:stop][:512]
    return content[:stop] + part * drawn.choice((1, 2, 50)) + content[stop:]


def _insert(content, seeds, drawn):
    at = drawn.randrange(len(content) + 1)
    return content[:at] + drawn.randbytes(drawn.choice((1, 4, 16))) + content[at:]


def _join(content, seeds, drawn):
    other = drawn.choice(seeds)
    return content[: drawn.randrange(len(content) + 1)] + other[drawn.randrange(len(other) + 1) :]


def _json(content, seeds, drawn):
    """Replaces, renames, removes or doubles something in JSON; other content stays."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return content
    found = list(places(tree))
    if not found:
        return json.dumps(drawn.choice(VALUES)).encode()
    holder, key = drawn.choice(found)
    way = drawn.randrange(6)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[f"{key}{drawn.choice('x0_')}"] = holder.pop(key)
    elif way == 2:
        holder[key] = drawn.choice(found)[0]
        try:
            return json.dumps(tree).encode()
        except ValueError:  # It holds itself.
            return content
    else:
        holder[key] = drawn.choice(VALUES)
    return json.dumps(tree).encode()


def places(tree):
    """Yields each container in a tree with each of its keys."""
    if isinstance(tree, dict | list):
        for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
            yield tree, key
            if isinstance(value, dict | list):
                yield from places(value)


CHANGES: tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...] = (
    *(_flip, _byte, _number, _cut, _end, _repeat, _insert, _join),
    *(_json,) * 4,
)
