"""Reads from a program its memory, its products and the collectives of its devices."""

import functools
import math
import re

from jax.stages import Compiled

from ganjax.planning.times import Collective

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
# Matches "%name = <shape> all-reduce(", where <shape> may be a tuple and has layouts in braces.
_LINE = re.compile(rf"^(?:ROOT )?%?[\w.-]+ = (.+?) ({'|'.join(KINDS)})(-start)?\(")
_PRODUCT = re.compile(r" (?:convolution|dot)\(")
_GROUPS = re.compile(r"replica_groups=(?:\{\{([0-9,]*)\}|\[(\d+),(\d+)\])")
_AXES = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
# The first line of a computation, the computations that an instruction calls, and the number of
# iterations of a loop.
_HEAD = re.compile(r"^(ENTRY )?%?([\w.-]+) (?:\(.*)?\{$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.-]+)"
    r"|(?:branch_computations|called_computations)=\{([^}]*)\}"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


def collectives(hlo: str) -> dict[str, Collective]:
    """Returns the collectives of one execution of an optimised HLO module by kind.

    A collective in a loop counts once for each iteration, or once if XLA does not know the number
    of iterations. A collective in a branch, such as that of a lazy penalty, counts as if the branch
    were always taken.

    Args:
      hlo: the module's text, `Compiled.as_text()`.
    """
    computations, entry = _computations(hlo)
    totals: dict[str, Collective] = {}

    def count(name: str, times: int) -> None:
        for line in computations.get(name, ()):
            match = _LINE.match(line)
            if match:
                kind, size = match[2], _size(match, line)
                total = totals.get(kind, Collective(0, 0))
                totals[kind] = Collective(total.count + times, total.bytes + times * size)
                continue  # A collective calls only the computation of its sum.
            trips = _TRIPS.search(line) if " while(" in line else None
            for one, several in _CALLED.findall(line):
                for called in (one, *several.replace("%", "").split(", ")):
                    count(called, times * (int(trips[1]) if trips else 1))

    count(entry, 1)
    return totals


def products(hlo: str) -> int:
    """Returns the number of convolutions and matrix products of one execution of an HLO module.

    Loops count once, as their FLOPs in XLA's cost analysis.

    Args:
      hlo: the module's text.
    """
    computations, entry = _computations(hlo)

    @functools.cache
    def count(name: str) -> int:
        total = 0
        for line in computations.get(name, ()):
            total += _PRODUCT.search(line) is not None
            for one, several in _CALLED.findall(line):
                total += sum(map(count, filter(None, (one, *several.replace("%", "").split(", ")))))
        return total

    return count(entry)


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """Returns the lines of each computation of a module by its name, and the name of the entry."""
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
    """Returns the bytes of a collective's whole arrays, given the match of _LINE with a line."""
    shape, kind, start = match.groups()
    arrays = [_bytes(*array) for array in _ARRAY.findall(shape)]
    if start and kind in ("all-gather", "collective-permute"):
        # The shape is a tuple of operands and results (and of contexts).
        arrays = arrays[len(arrays) // 2 :] if kind == "all-gather" else arrays[:1]
    # The result of a reduce-scatter is one part of its operand.
    return sum(arrays) * (_group(line) if kind == "reduce-scatter" else 1)


def _bytes(kind: str, shape: str) -> int:
    if kind in BITS:
        bits = BITS[kind]
    else:
        digits = re.search(r"\d+", kind)
        assert digits is not None, kind  # As in f32.
        bits = int(digits[0])
    return math.prod(int(size) for size in shape.split(",") if size) * bits // 8


def _group(line: str) -> int:
    """Returns the number of devices in each group of a collective."""
    match, axes = _GROUPS.search(line), _AXES.search(line)
    if axes is not None:
        sizes = dict(axis.split("=") for axis in axes[1].split(","))
        return math.prod(int(sizes[axis.strip()]) for axis in axes[2].split(","))
    if match is None:
        return 1
    listed, _, size = match.groups()
    return int(size) if size else len(listed.split(","))


def peak_bytes(compiled: Compiled) -> int:
    """Returns the bytes that one device needs for arguments, results, temporaries and program."""
    memory = compiled.memory_analysis()
    assert memory is not None  # XLA gives it on every platform.
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
