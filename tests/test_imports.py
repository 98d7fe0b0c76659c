"""The layers of the house: imports go downwards only."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

# A module may import from the lines before its own.
LAYERS = [
    ["errors", "huge_pages", "meeting", "compiling"],
    ["keys", "phases", "config", "signals", "distributed", "joining", "accelerators"],
    ["program", "targets"],
    ["ops"],
    [
        "levels",
        "images",
        "interpolation",
        "losses",
        "penalties",
        "metrics",
        "augment",
        "controllers",
    ],
    ["models"],
    ["state", "algorithms"],
    ["orders"],
    ["step", "sampling", "data", "sharding", "checkpoint", "writer"],
    ["dispatch", "ensemble"],
    ["workdir", "neighbours", "evaluation", "leaks", "report"],
    ["train", "trained", "curves", "dry_run"],
    ["pictures", "image_sets"],
    ["comparison"],
    ["sample", "evaluate"],
    ["cli"],
    ["main", "compare", "data.prepare", "data.show"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Run as commands and imported as functions.
COMMANDS = {"sample": "cli", "evaluate": "cli"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def unit(parts):
    """The name in LAYERS of a module, given the parts of its own name below ganjax."""
    whole = ".".join(parts[:2])
    return whole if whole in LEVEL else parts[0]


MODULES = sorted((ROOT / "ganjax").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    own = unit(path.relative_to(ROOT / "ganjax").with_suffix("").parts)
    if own == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "ganjax":
            continue
        other = unit(parts[1:])
        allowed = LEVEL[other] < LEVEL[own] or other == own or COMMANDS.get(own) == other
        assert allowed, f"{path.name} ({own}) imports {name}: not below it"


@pytest.mark.parametrize(
    "name",
    [
        "step",
        "orders",
        "train",
        "trained",
        "pictures",
        "sample",
        "main",
        "checkpoint",
        "writer",
        "evaluate",
    ],
)
def test_the_engine_names_no_algorithm(name):
    concrete = {p.stem for p in (ROOT / "ganjax" / "algorithms").glob("*.py")}
    concrete -= {"__init__", "base"}
    for module in imports(ROOT / "ganjax" / f"{name}.py"):
        assert not concrete & set(module.split(".")), module


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_configs_import_nothing_of_ganjax(path):
    assert {name.split(".")[0] for name in imports(path)} == {"ml_collections"}


@pytest.mark.parametrize("name", ["main", "sample", "comparison", "data.prepare"])
def test_the_core_needs_neither_tensorflow_nor_torch(name):
    """Imports as on a machine that has neither (tensorboardX takes torch if it is there)."""
    code = (
        "import sys; sys.modules.update(tensorflow=None, torch=None);"
        f"import ganjax.training.loop, ganjax.{name}, tensorflow_datasets"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)


def test_a_train_step_needs_no_pillow():
    """3 MiB of a process that computes and shows nothing."""
    code = "import sys; sys.modules.update(PIL=None); import ganjax.planning.dry_run, ganjax.engine.step"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)
