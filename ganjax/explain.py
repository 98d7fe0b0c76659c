"""`ganjax metrics [NAME ...]`: explains every metric that runs log, or those that are named.

A metric has its meaning, the values that it can have, its mean over a healthy stretch of training
where a source gives one, and how it is read. Names are those of metrics.jsonl and TensorBoard,
with all that is added to them:

    ganjax metrics
    ganjax metrics d_acc val_d_loss kid_efflite0_floor
"""

import difflib
import importlib
import pkgutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ganjax import cli
from ganjax.errors import UserError

if TYPE_CHECKING:
    from ganjax.engine.meanings import Meaning

WIDTH, INDENT = 100, " " * 6


def define_flags() -> None:
    """Defines this command's flags, of which there are none."""


def listing() -> str:
    """Returns an explanation of all metrics, by what measures them."""
    # Imported here, since JAX comes with them and a wrong flag is answered at once.
    from ganjax.metrics import features, table, tags
    from ganjax.training import glossary, leaks

    figures = {
        metric.full_name(figure.name, "<network>"): figure.meaning
        for metric in (*table.METRICS.values(), table.HELD_OUT_LIKELIHOOD)
        for figure in (*metric.figures, *metric.further)
    }
    groups = {
        "Of the run": glossary.OF_RUN,
        "Of train steps: means since the line before, or last values of what says where a run "
        "stands": {**glossary.OF_STEPS, **_of_algorithms()},
        f"Of samples (<network>: {', '.join(features.NETWORKS)})": figures,
        "Of tags": tags.MEANINGS,
        "Of leaking augmentations": leaks.MEANINGS,
    }
    lines = []
    for title, meanings in groups.items():
        lines += ["", f"{title}:", *_explained(meanings)]
    lines += ["", "What is added to names:"]
    for name, text in glossary.AFFIXES.items():
        lines += [f"  {name}", *_wrapped(text)]
    return "\n".join(lines[1:])


def explanation(names: Sequence[str]) -> str:
    """Returns an explanation of some metrics.

    Args:
      names: their names.

    Raises:
      UserError: there is no such metric.
    """
    from ganjax.metrics import tags
    from ganjax.training import glossary

    own = {**_of_algorithms(), **tags.MEANINGS}
    known = sorted({*glossary.TABLE, *own})
    found = {}
    for name in names:
        meaning = glossary.meaning_of(name, own)
        if meaning is None:
            close = difflib.get_close_matches(name, known, 3)
            mend = f"did you mean {' or '.join(close)}?" if close else "see ganjax metrics"
            raise UserError(f"no run of ganjax logs {name!r}: {mend}")
        found[name] = meaning
    return "\n".join(_explained(found))


def _of_algorithms() -> Mapping[str, "Meaning"]:
    """Returns the meanings of the metrics of ganjax's own algorithms."""
    from ganjax import algorithms

    found = {}
    for each in pkgutil.iter_modules(algorithms.__path__, f"{algorithms.__name__}."):
        found |= getattr(importlib.import_module(each.name), "MEANINGS", {})
    return found


def _explained(meanings: Mapping[str, "Meaning"]) -> Iterator[str]:
    """Yields the lines of some metrics."""
    for name, meaning in meanings.items():
        yield f"  {name}"
        yield from _wrapped(meaning.description)


def _wrapped(text: str) -> Iterator[str]:
    yield from textwrap.wrap(f"{text}.", WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


def main(argv: list[str]) -> None:
    """Prints the explanation of the metrics that are named, or of all."""
    names = argv[1:]
    print(explanation(names) if names else listing())


if __name__ == "__main__":
    cli.run(main, define_flags, positional=True, computes=False)
