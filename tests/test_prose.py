"""The prose of docstrings and comments: its form, since its sense is for readers."""

import ast
import inspect
import re
from importlib import import_module

from conftest import ROOT

MODULES = sorted((ROOT / "ganjax").rglob("*.py"))
COMMENTED = [*MODULES, *(p for at in ("configs", "experiments") for p in (ROOT / at).rglob("*.py"))]
# What is for a linter's or a lawyer's eyes may be longer than two lines.
NO_PROSE = re.compile(r"# *(noqa|ruff:|pyright:|type:|fmt:|SPDX)|copyright|licen[cs]e", re.I)
PROPERTIES = {"property", "cached_property"}


def long_comments(text):
    """Yields the first line's number of each comment of more than two lines."""
    for match in re.finditer(r"(?m)^(?: *#.*\n){3,}", text):
        if not NO_PROSE.search(match[0]):
            yield text.count("\n", 0, match.start()) + 1


def definitions(node, names=()):
    """Yields the dotted name and the node of a module's public classes and functions."""
    for child in node.body:
        is_class = isinstance(child, ast.ClassDef)
        if (is_class or isinstance(child, ast.FunctionDef)) and not child.name.startswith("_"):
            yield ".".join((*names, child.name)), child
            if is_class:
                yield from definitions(child, (*names, child.name))


def inherited(path, name):
    """The docstring that a method without its own takes over from the class that it overrides."""
    module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    found = import_module(module.removesuffix(".__init__"))
    for part in name.split("."):
        found = getattr(found, part)
    return inspect.getdoc(found) if "." in name else None


def faults(docstring, node):
    """Yields what is wrong with a docstring."""
    sentence = (docstring or "").partition("\n\n")[0]
    if not sentence.endswith((".", ":")):
        yield "its first sentence ends with no period or colon" if sentence else "it is missing"
    elif isinstance(node, ast.FunctionDef):
        decorators = {getattr(each, "id", None) for each in node.decorator_list}
        verb = sentence.split()[0].rstrip(",")
        if not PROPERTIES & decorators and not verb.endswith("s"):
            yield f"it begins with {verb!r}, not with a verb such as 'Returns'"


def test_no_comment_is_longer_than_two_lines():
    assert not [f"{path}:{line}" for path in COMMENTED for line in long_comments(path.read_text())]


def test_every_public_name_has_a_docstring_that_begins_with_a_sentence():
    found = []
    for path in MODULES:
        module = ast.parse(path.read_text())
        found += [f"{path}: {fault}" for fault in faults(ast.get_docstring(module), module)]
        for name, node in definitions(module):
            docstring = ast.get_docstring(node) or inherited(path, name)
            found += [f"{path}: {name}: {fault}" for fault in faults(docstring, node)]
    assert not found


def test_long_comments_and_poor_docstrings_are_found():
    assert list(long_comments("x = 1\n    # One\n    # two\n    # three.\n")) == [2]
    assert not list(long_comments("# One\n# two.\nx = 1  # three\n# ruff: noqa\n#\n#\n"))
    (method,) = ast.parse("def f(): pass").body
    for docstring in (None, "", "Returns nothing", "Of the members, in order.", "(N,) -> (N,)."):
        assert list(faults(docstring, method)), docstring
    assert not list(faults("Returns the members,\nin order.\n\nAnd more", method))
