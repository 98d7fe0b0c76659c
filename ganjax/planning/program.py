"""What XLA says of a compiled program: memory, and what its devices send each other."""

import math
import re

from jax.stages import Compiled

from ganjax.planning.accelerators import Collective

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
_LINE = re.compile(rf"^(?:ROOT )?%?[\w.-]+ = (.+?) ({'|'.join(KINDS)})(-start)?\(")
_GROUPS = re.compile(r"replica_groups=(?:\{\{([0-9,]*)\}|\[(\d+),(\d+)\])")
_AXES = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
# A computation begins so; what it calls stands behind these words, the turns of a loop there.
_HEAD = re.compile(r"^(ENTRY )?%?([\w.-]+) (?:\(.*)?\{$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.-]+)"
    r"|(?:branch_computations|called_computations)=\{([^}]*)\}"
)
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


def collectives(hlo: str) -> dict[str, Collective]:
    """The collectives of an optimised HLO module, by kind, as often as a run of it has them.

    Those in a loop count as often as it turns (once where XLA does not know), those of a branch
    as if it were always taken: a lazy penalty's, too.

    Args:
      hlo: its text, `Compiled.as_text()`.
    """
    computations, entry = _computations(hlo)
    found: dict[str, Collective] = {}

    def count(name: str, times: int) -> None:
        for line in computations.get(name, ()):
            match = _LINE.match(line)
            if match:
                kind, size = match[2], _size(match, line)
                before = found.get(kind, Collective(0, 0))
                found[kind] = Collective(before.count + times, before.bytes + times * size)
                continue  # What it applies is a sum.
            turns = _TURNS.search(line) if " while(" in line else None
            for one, several in _CALLED.findall(line):
                for called in (one, *several.replace("%", "").split(", ")):
                    count(called, times * (int(turns[1]) if turns else 1))

    count(entry, 1)
    return found


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """The lines of every computation, and the name of the first to run."""
    lines: dict[str, list[str]] = {}
    name = entry = ""
    for line in map(str.strip, hlo.splitlines()):
        head = _HEAD.match(line)
        if head:
            name = head[2]
            entry = name if head[1] else entry
        lines.setdefault(name, []).append(line)
    return lines, entry


def _size(match: re.Match, line: str) -> int:
    """Bytes of a collective's whole arrays."""
    shape, kind, begun = match.groups()
    arrays = [_bytes(*array) for array in _ARRAY.findall(shape)]
    if begun and kind in ("all-gather", "collective-permute"):
        # A tuple of what goes in and what comes out (and contexts).
        arrays = arrays[len(arrays) // 2 :] if kind == "all-gather" else arrays[:1]
    # The result of a reduce-scatter is one part of what goes in.
    return sum(arrays) * (_group(line) if kind == "reduce-scatter" else 1)


def _bytes(kind: str, shape: str) -> int:
    bits = BITS.get(kind) or int(re.search(r"\d+", kind)[0])
    return math.prod(int(size) for size in shape.split(",") if size) * bits // 8


def _group(rest: str) -> int:
    """Devices of a group, from what stands behind an instruction's operands."""
    match, axes = _GROUPS.search(rest), _AXES.search(rest)
    if axes is not None:
        sizes = dict(axis.split("=") for axis in axes[1].split(","))
        return math.prod(int(sizes[axis.strip()]) for axis in axes[2].split(","))
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
