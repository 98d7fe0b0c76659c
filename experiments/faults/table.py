"""The table of what was tried, how often, and what happened."""

import datetime
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from experiments.faults.trial import Fault, Outcome

PACKAGES = ("jax", "jaxlib", "orbax-checkpoint", "numpy", "pillow")
HEADER = ("| what was done | tried | what happened |", "|---|---|---|")
# The most characters of what happened unexpectedly, and how many such lines a fault has.
LONGEST, MOST = 200, 3


def markdown(
    kinds: Mapping[str, Sequence[Fault]], outcomes: Mapping[str, Sequence[Outcome]], command: str
) -> str:
    """Returns the results as Markdown.

    Args:
      kinds: the faults of each kind, by its heading.
      outcomes: the outcomes of each fault's trials, by the fault's name.
      command: the command that tried them.
    """
    found = [each for of_fault in outcomes.values() for each in of_fault]
    unexpected = sum(each.verdict == "unexpected" for each in found)
    seconds = sum(each.seconds for each in found)
    lines = [
        f"{_machine()}: `{command}`, {len(found)} trials in {seconds / 60:.0f} minutes of "
        f"processor time; {unexpected or 'none'} came out otherwise than expected."
    ]
    for heading, faults in kinds.items():
        rows = [
            _row(fault.name, outcomes[fault.name]) for fault in faults if fault.name in outcomes
        ]
        if rows:
            lines += ["", f"### {heading}", "", *HEADER, *rows]
    return "\n".join(lines) + "\n"


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    counts = Counter(each.happened for each in outcomes if each.verdict == "expected")
    cells = [f"{text} ({n})" if len(counts) > 1 else text for text, n in counts.most_common()]
    others = [each for each in outcomes if each.verdict != "expected"]
    for each in others[:MOST]:
        text = each.happened.strip().splitlines()[-1] if each.happened.strip() else ""
        text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
        cells.append(f"not run: {text}" if each.verdict == "not run" else f"**{_escaped(text)}**")
    if len(others) > MOST:
        cells.append(f"and {len(others) - MOST} more")
    tried = sum(each.verdict != "not run" for each in outcomes)
    return f"| {name} | {tried} | {'; '.join(cells)} |"


def _escaped(text: str) -> str:
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return printable.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _machine() -> str:
    """Returns the date, the processor and the versions of what matters."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return (
        f"{datetime.date.today()}, {models[0] if models else platform.processor()}, "
        f"{os.cpu_count()} threads, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {versions}"
    )
