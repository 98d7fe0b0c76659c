"""Arguments of the programs of experiments, which are checked before anything is computed."""

import argparse

import pytest

from experiments.tools import arguments


@pytest.mark.parametrize("text", ["/proc/x", "/proc/x/table.md", "file/table.md", "."])
def test_a_file_that_cannot_be_written_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(argparse.ArgumentTypeError, match=r"takes no files \(|is a folder; name a"):
        arguments.file(text)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_the_folder_of_a_file_is_made(tmp_path):
    assert arguments.file(str(tmp_path / "new" / "table.md")) == tmp_path / "new" / "table.md"
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]


@pytest.mark.parametrize("text", ["0", "-1", "1000000000", "1e3", "²", ""])
def test_a_number_of_jobs_that_no_machine_runs_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="give a whole number from 1 to"):
        arguments.jobs(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x"])
def test_a_time_that_does_not_pass_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="give a number above 0"):
        arguments.positive(text)
