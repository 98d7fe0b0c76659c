"""The house: which folder may import which."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

# A folder, or a module at the door, may import from the lines above its own.
FOLDERS = [
    "errors keys shipped",
    "runtime",
    "config_file",
    "config",
    "field_flags",
    "shared_flags",
    "cli",
    "ops",
    "engine",
    "objectives models augment pictures",
    "parallel",
    "data",
    "metrics",
    "training",
    "algorithms planning analysis configs",
    "api",
    "sample_commands",
    "main sample evaluate tag compare summary listing explain data.prepare data.show",
    "commands",
    "completion __main__",
]
LEVEL = {name: level for level, names in enumerate(FOLDERS) for name in names.split()}
COMMANDS = " ".join(FOLDERS[-4:]).split()
MODULES = sorted((ROOT / "ganjax").rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def folder(parts):
    """The name in FOLDERS of a module, given the parts of its own name below ganjax."""
    command = ".".join(parts[:2])
    return command if command in COMMANDS else parts[0]


def crossings(path):
    """(own folder, other folder, the import) of each import of ganjax from another folder."""
    own = folder(path.relative_to(ROOT / "ganjax").with_suffix("").parts)
    for name in imports(path):
        first, *parts = name.split(".")
        if first == "ganjax" and parts and folder(parts) != own:
            yield own, folder(parts), name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    for own, other, name in crossings(path):
        if own != "__init__":
            assert LEVEL[other] < LEVEL[own], f"{path.name} ({own}) imports {name}: not below it"


def test_there_are_at_most_25_rooms_and_no_cycle_between_them():
    """A room is a folder or a module at the door; all commands count as one."""
    entered = {}
    for path in MODULES:
        for own, other, _ in crossings(path):
            rooms = ["commands" if room in COMMANDS else room for room in (own, other)]
            entered.setdefault(rooms[0], set()).add(rooms[1])
    rooms = (entered.keys() | set().union(*entered.values())) - {"__init__"}
    assert len(rooms) <= 25
    left = {room: entered.get(room, set()) - {room} for room in rooms}
    while left:
        leaves = [room for room, others in left.items() if not others & left.keys()]
        assert leaves, f"a cycle among {sorted(left)}"
        for room in leaves:
            del left[room]


def test_no_function_shares_its_modules_name():
    """Else `from ganjax.data import prepare` would leave the reader to guess which of the two."""
    for path in MODULES:
        defined = {getattr(node, "name", "") for node in ast.parse(path.read_text()).body}
        if path.name != "main.py":
            assert path.stem not in defined, path


def test_no_folder_is_a_drawer_for_odds_and_ends():
    for path in MODULES:
        assert not {"utils", "common", "helpers"} & {*path.parts, path.stem}, path


def test_tests_mirror_the_folders():
    folders = {path.parent.name for path in MODULES} - {"ganjax"}
    tested = {path.parent.name for path in (ROOT / "tests").rglob("test_*.py")} - {"tests"}
    assert folders <= tested
    assert tested - folders == {"commands", "examples", "experiments"}


ENGINE = ["main", "sample", "evaluate", "compare", "engine", "training", "analysis", "planning"]


@pytest.mark.parametrize("name", ENGINE)
def test_algorithms_are_named_by_configs_alone(name):
    for path in MODULES:
        if path.relative_to(ROOT / "ganjax").with_suffix("").parts[0] == name:
            for module in imports(path):
                assert not module.startswith("ganjax.algorithms"), f"{path}: {module}"


def test_the_core_needs_neither_tensorflow_nor_torch_and_a_start_no_orbax():
    """Imports as on a machine without the two (tensorboardX takes torch if it is there)."""
    code = (
        "import sys; sys.modules.update(tensorflow=None, torch=None);"
        "import ganjax.main, ganjax.training.loop; assert 'orbax' not in sys.modules;"
        "import orbax.checkpoint;"
        "import ganjax.sample, ganjax.analysis.measurement;"
        "import ganjax.data.prepare, tensorflow_datasets"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)


def test_a_train_step_needs_no_pillow():
    """Which would be 3 MiB of a process that computes and shows nothing."""
    code = (
        "import sys; sys.modules.update(PIL=None);"
        "import ganjax.planning.dry_run, ganjax.engine.step"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)


def test_parts_of_scipy_are_imported_when_they_are_used():
    """`import scipy` takes no time; its parts would take a second of every start of the tests."""
    for folder in ("ganjax", "tests", "experiments"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = path.read_text().splitlines()
            assert not [line for line in lines if line.startswith(("from scipy", "import scipy."))]


def test_no_two_files_of_tests_share_a_name():
    """Or pytest refuses the one that a worker imports second."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
