"""A package that is hidden from an import is there again afterwards."""

import importlib
import sys

import pytest

from ganjax.runtime.imports import without


def test_a_package_is_hidden_within_alone(tmp_path, monkeypatch):
    (tmp_path / "slow_package.py").touch()
    (tmp_path / "user_of_it.py").write_text(
        "try:\n    import slow_package as found\nexcept ImportError:\n    found = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with without("slow_package"):
        assert importlib.import_module("user_of_it").found is None
    found = importlib.import_module("slow_package")
    # What is imported already costs nothing, and stays.
    with without("slow_package"):
        assert importlib.import_module("slow_package") is found
    for name in ("slow_package", "user_of_it"):
        monkeypatch.delitem(sys.modules, name)


def test_it_is_there_again_after_an_error():
    with pytest.raises(ValueError, match="of mine"), without("no_such_package"):
        raise ValueError("of mine")
    assert "no_such_package" not in sys.modules
