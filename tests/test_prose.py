"""The prose of docstrings and comments: its form, since its sense is for readers."""

import ast
import re
from collections import defaultdict

from conftest import ROOT

SOURCES = {path: path.read_text() for path in sorted((ROOT / "ganjax").rglob("*.py"))}
# What is for a linter's or a lawyer's eyes may be longer than two lines.
NO_PROSE = re.compile(r"# *(noqa|ruff:|pyright:|type:|fmt:|SPDX)|copyright|licen[cs]e", re.I)
PROPERTIES = {"property", "cached_property"}


def long_comments(text):
    """Yields the first line's number of each comment of more than two lines."""
    for match in re.finditer(r"(?m)^(?: *#.*\n){3,}", text):
        if not NO_PROSE.search(match[0]):
            yield text.count("\n", 0, match.start()) + 1


def definitions(node, path):
    """Yields (dotted name, node, its class or None) of public classes, functions and methods."""
    for child in node.body:
        is_class = isinstance(child, ast.ClassDef)
        if (is_class or isinstance(child, ast.FunctionDef)) and not child.name.startswith("_"):
            yield f"{path}.{child.name}", child, node if isinstance(node, ast.ClassDef) else None
            if is_class:
                yield from definitions(child, f"{path}.{child.name}")


def inherited(name, owner, classes):
    """The docstring of the method that a method without its own overrides, by names of classes."""
    seen, bases = set(), list(owner.bases)
    while bases:
        base = ast.unparse(bases.pop(0)).rpartition(".")[2]
        for each in classes[base] if base not in seen else ():
            methods = [node for node in each.body if getattr(node, "name", None) == name]
            for docstring in filter(None, map(ast.get_docstring, methods)):
                return docstring
            bases += each.bases
        seen.add(base)
    return None


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


def found_in(modules):
    """Returns the faults of all docstrings of modules, which are syntax trees by path."""
    classes = defaultdict(list)
    for node in (node for module in modules.values() for node in module.body):
        if isinstance(node, ast.ClassDef):
            classes[node.name].append(node)
    found = []
    for path, module in modules.items():
        found += [f"{path}: {fault}" for fault in faults(ast.get_docstring(module), module)]
        for at, node, owner in definitions(module, path):
            docstring = ast.get_docstring(node)
            if docstring is None and owner:
                docstring = inherited(node.name, owner, classes)
            found += [f"{at}: {fault}" for fault in faults(docstring, node)]
    return found


def test_no_comment_is_longer_than_two_lines():
    others = {
        p: p.read_text() for at in ("configs", "experiments") for p in (ROOT / at).rglob("*.py")
    }
    texts = (SOURCES | others).items()
    assert not [f"{path}:{line}" for path, text in texts for line in long_comments(text)]


def test_every_public_name_has_a_docstring_that_begins_with_a_sentence():
    assert not found_in({path: ast.parse(text) for path, text in SOURCES.items()})


def test_long_comments_and_poor_docstrings_are_found():
    assert list(long_comments("x = 1\n    # One\n    # two\n    # three.\n")) == [2]
    assert not list(long_comments("# One\n# two.\nx = 1  # three\n# ruff: noqa\n#\n#\n"))
    (method,) = ast.parse("def f(): pass").body
    for docstring in (None, "", "Returns nothing", "Of the members, in order.", "(N,) -> (N,)."):
        assert list(faults(docstring, method)), docstring
    assert not list(faults("Returns the members,\nin order.\n\nAnd more", method))
    base = "'''Classes.'''\nclass A:\n '''A.'''\n def f(self):\n  '''Returns 1.'''\n"
    one = {"one": ast.parse(base + "class B(A):\n '''B.'''\n def f(self): return 2\n")}
    assert not found_in(one)
    assert found_in({"one": ast.parse(base + "class B:\n '''B.'''\n def f(self): return 2\n")})
