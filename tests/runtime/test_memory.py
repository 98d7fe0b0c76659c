"""How much memory there is, and the line that refuses more."""

import sys

import pytest

from ganjax.errors import UserError
from ganjax.runtime import memory


def test_a_container_has_the_memory_of_its_limit(tmp_path, monkeypatch):
    whole = memory.total()
    assert 1 << 28 < whole < sys.maxsize
    limit, none = tmp_path / "memory.max", tmp_path / "other"
    monkeypatch.setattr(memory, "LIMITS", (str(none), str(limit)))
    limit.write_text("max\n")
    assert memory.total() >= whole
    limit.write_text("1000000\n")
    assert memory.total() == 1_000_000


def test_what_the_memory_cannot_hold_is_refused_with_both_figures(monkeypatch):
    monkeypatch.setattr(memory, "total", lambda: 3 << 30)
    memory.check("images", 3 << 30, "take fewer")
    with pytest.raises(UserError, match=r"images take 4.5 GiB, and the memory holds 3.0 GiB: take"):
        memory.check("images", 9 << 29, "take fewer")
