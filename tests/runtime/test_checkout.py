"""The git checkout that code comes from, as a run records it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ganjax.runtime import checkout


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path):
    """Returns a checkout with one commit of one file."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "model.py").write_text("rate = 1\n")
    git(folder, "add", "model.py")
    git(folder, "commit", "-qm", "a model")
    return folder


def test_a_clean_checkout_is_its_commit(project):
    inside = project / "deeper"
    inside.mkdir()
    found = checkout.find(inside)
    assert found == (project.resolve(), git(project, "rev-parse", "HEAD")[:12], b"")


def test_what_differs_is_a_patch_that_git_applies(project, monkeypatch):
    (project / "model.py").write_text("rate = 2\n")
    (project / "loss.py").write_text("def loss(): pass")  # Imported, and new to git.
    (project / "notes.py").write_text("secret = 1\n")  # New to git, but not imported.
    monkeypatch.syspath_prepend(str(project))
    import loss  # pyright: ignore[reportMissingImports]

    index = (project / ".git" / "index").read_bytes()
    try:
        found = checkout.find(project)
    finally:
        del sys.modules[loss.__name__]
    assert found is not None
    assert found.revision == git(project, "rev-parse", "HEAD")[:12] + "+"
    assert b"secret" not in found.diff
    assert (project / ".git" / "index").read_bytes() == index, "nothing is written there"
    other = project.parent / "other"
    git(project.parent, "clone", "-q", str(project), str(other))
    (project.parent / "a.diff").write_bytes(found.diff)
    git(other, "apply", "--unidiff-zero", str(project.parent / "a.diff"))
    for name in ("model.py", "loss.py"):
        assert (other / name).read_text() == (project / name).read_text()


def test_a_large_difference_is_cut(project, monkeypatch):
    monkeypatch.setattr(checkout, "MOST_BYTES", 200)
    (project / "model.py").write_text("rate = 2\n" * 10_000)
    found = checkout.find(project)
    assert found is not None
    assert len(found.diff) == 200 + len(checkout.CUT)
    assert found.diff.endswith(checkout.CUT)


def test_programs_that_a_repository_names_are_not_run(project):
    mark = project.parent / "ran"
    for name in ("diff.external", "core.fsmonitor"):
        git(project, "config", name, f"touch {mark}; true")
    (project / "model.py").write_text("rate = 2\n")
    found = checkout.find(project)
    assert found is not None
    assert b"rate = 2" in found.diff
    assert not mark.exists()


def test_without_a_commit_without_git_or_in_installed_packages_there_is_none(
    project, tmp_path, monkeypatch
):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    git(empty, "init", "-q")
    assert checkout.find(empty) is None
    installed = project / "venv" / "site-packages" / "ganjax"
    installed.mkdir(parents=True)
    assert checkout.find(installed) is None, "it only lies in the user's checkout"
    monkeypatch.setenv("PATH", os.devnull)
    assert checkout.find(Path(project)) is None
