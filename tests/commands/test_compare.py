"""`ganjax compare`: where its picture goes."""

from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from ganjax import compare
from ganjax.analysis import comparison, progress
from ganjax.errors import UserError
from ganjax.pictures import curves


@pytest.fixture
def typed(monkeypatch):
    """Returns a function that types the command, which then draws nothing."""
    monkeypatch.setattr(progress, "draw", lambda *_: (None, []))
    monkeypatch.setattr(comparison, "compare", lambda *_: (None, []))
    monkeypatch.setattr(curves, "save", lambda path, _: path.write_bytes(b""))
    others = set(flags.FLAGS)
    compare.define_flags()

    def call(*arguments):
        with flagsaver.flagsaver():
            compare.main(flags.FLAGS(["compare", *map(str, arguments)]))

    yield call
    for name in set(flags.FLAGS) - others:
        delattr(flags.FLAGS, name)


def test_the_picture_goes_to_the_first_runs_folder_and_replaces_none(typed, tmp_path, capsys):
    folders = [tmp_path / name for name in ("dcgan", "wgan_gp")]
    for each in folders:
        each.mkdir()
    typed(*folders[1:])
    typed(folders[1], folders[1])
    typed(folders[1], "--overwrite")
    typed(*folders)
    written = sorted(tmp_path.rglob("*.png"))
    assert [str(each.relative_to(tmp_path)) for each in written] == [
        "dcgan/compare_wgan_gp.png",
        "wgan_gp/compare.png",
        "wgan_gp/compare_2.png",
    ]
    assert capsys.readouterr().out.splitlines()[-1] == str(written[0])
    with pytest.raises(UserError, match=r"compare.png is there already: add --overwrite"):
        typed(folders[1], f"--out={written[1]}")


def test_the_name_of_a_picture_of_many_runs_is_short():
    folders = [Path("runs") / name for name in "abcdefg"]
    assert compare.default(folders) == Path("runs/a/compare_b_c_d_and_3_more.png")
    assert compare.default([*folders[:2], folders[1]]) == Path("runs/a/compare_b.png")
