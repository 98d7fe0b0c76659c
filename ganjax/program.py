"""What XLA says of a compiled program: memory, and what its devices send each other."""

import math
import re

from jax.stages import Compiled

from ganjax.accelerators import Collective

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "ragged-all-to-all",
    "collective-broadcast",
)
BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"\b([a-z]+[0-9a-z]*)\[([0-9,]*)\]")
# "%name = <shape> all-reduce(", or a tuple of shapes; layouts stand in braces behind each.
_LINE = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (.+?) ({'|'.join(KINDS)})(-start)?\(", re.MULTILINE)
_GROUPS = re.compile(r"replica_groups=(?:\{\{([0-9,]*)\}|\[(\d+),(\d+)\])")


def collectives(hlo: str) -> dict[str, Collective]:
    """The collectives of an optimised HLO module, by kind.

    Each instruction is counted once: also those of a branch that is not taken in every step
    (a lazy penalty), and of a loop's body.

    Args:
      hlo: its text, `Compiled.as_text()`.
    """
    found: dict[str, Collective] = {}
    for match in _LINE.finditer(hlo):
        shape, kind, begun = match.groups()
        arrays = [_bytes(*array) for array in _ARRAY.findall(shape)]
        if begun and kind in ("all-gather", "collective-permute"):
            # A tuple of what goes in and what comes out (and contexts).
            arrays = arrays[len(arrays) // 2 :] if kind == "all-gather" else arrays[:1]
        size = sum(arrays)
        if kind == "reduce-scatter":  # Its result is one part of what goes in.
            size *= _group(hlo[match.end() : hlo.find("\n", match.end())])
        before = found.get(kind, Collective(0, 0))
        found[kind] = Collective(before.count + 1, before.bytes + size)
    return found


def _bytes(kind: str, shape: str) -> int:
    bits = BITS.get(kind) or int(re.search(r"\d+", kind)[0])
    return math.prod(int(size) for size in shape.split(",") if size) * bits // 8


def _group(rest: str) -> int:
    """Devices of a group, from what stands behind an instruction's operands."""
    match = _GROUPS.search(rest)
    if match is None:
        return 1
    listed, _, size = match.groups()
    return int(size) if size else len(listed.split(","))


def peak_bytes(compiled: Compiled) -> int:
    """Bytes that one device needs while it runs: arguments, results and what is between."""
    memory = compiled.memory_analysis()
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
