"""Files that are written completely or not at all."""

import errno
import os
import re

import pytest
from conftest import ROOT

from ganjax.runtime import storage


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "config.json"
    storage.write_json(path, {"a": 1})

    def fail():
        with storage.replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_no_result_is_written_but_by_replacing_the_file():
    """A full disk or a kill would leave half of it; faults damage files on purpose."""
    plainly = re.compile(
        r"(?<!storage)(?<!temporary)\.(write_(text|bytes)|savefig|tofile)\((?!temporary)"
        r"|(?<!temporary)(?<!other)\.open\(['\"][wax]|(?<!\w)open\(\w+, ['\"][wax]"
        r"|np\.save(txt|z|z_compressed)?\((?!file)|(json|pickle)\.dump\("
    )
    # A stream, and files of folders that are removed at once.
    allowed = {
        ("ganjax/training/board.py", "xb"),
        ("experiments/benchmarks/job.py", "wb"),
        ("experiments/benchmarks/keras_step.py", "savez"),
    }
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for name in ("ganjax", "experiments")
        for path in sorted((ROOT / name).rglob("*.py"))
        if path.parent.name != "faults"
        for line in path.read_text().splitlines()
        if plainly.search(line)
        if not any(path == ROOT / file and how in line for file, how in allowed)
    ]
    assert not found


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.secrets, "token_hex", lambda count: "guessed")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / ".guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        storage.write_text(tmp_path / "x.txt", "new")
    assert victim.read_text() == "untouched"


def test_a_temporary_name_cannot_be_guessed_and_rights_are_those_of_any_file(tmp_path):
    with storage.replacing(tmp_path / "x") as one, storage.replacing(tmp_path / "x") as other:
        assert one != other
    (tmp_path / "y").write_text("")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_content_and_name_are_on_the_disk_before_and_after_the_file_is_replaced(
    tmp_path, monkeypatch
):
    calls, replace = [], os.replace
    monkeypatch.setattr(storage, "sync", lambda path: calls.append(path.suffix or "folder"))
    monkeypatch.setattr(storage.os, "replace", lambda *a: (calls.append("replace"), replace(*a)))
    storage.write_text(tmp_path / "x.txt", "new")
    assert calls == [".tmp", "replace", "folder"]


def test_lines_are_appended_to_no_link_and_no_pipe(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for text in ("one", "two"):
        storage.append_line(path, text)
    assert path.read_text() == '"one"\n"two"\n'
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=rf"(it is a link|No such device).*{name}"):
            storage.open_appending(tmp_path / name)
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="it is no regular file"):
        storage.open_appending(tmp_path / "pipe")
    os.close(reader)
    assert not (tmp_path / "victim").exists()


def test_damaged_lines_of_json_lose_no_good_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    lines = ['{"step": 1}', "null", "7", '{"ste', "[" * 10**5, "1" * 10**4, '{"step": 2}', ""]
    path.write_bytes("\n".join(lines).encode() + b"\xff\xfe")
    assert storage.json_lines(path) == [{"step": 1}, {"step": 2}]


def test_a_full_disk_names_the_file_and_other_errors_stay_what_they_are(tmp_path):
    path = tmp_path / "x.txt"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for context in (storage.replacing, storage.naming):
        with pytest.raises(OSError, match="No space left") as caught, context(path):
            raise full
        assert caught.value.filename == str(path)
        with pytest.raises(OSError, match="Connection reset") as caught, context(path):
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        assert caught.value.filename is None


def test_what_a_kill_has_left_is_removed_once_nobody_can_be_writing_it(tmp_path):
    names = [".0123456789abcdef.tmp", ".fedcba9876543210.tmp", ".mine.tmp", "0123456789abcdef.tmp"]
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / names[1])
    storage.remove_left(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
