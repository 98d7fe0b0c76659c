"""How a run is to begin: in a folder of its own."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from tiny_dcgan import tiny_dcgan

from ganjax.errors import UserError
from ganjax.training.loop import train
from ganjax.training.start import Start, new_folder


def test_a_new_run_has_a_folder_of_its_own(tmp_path):
    for name in ("run", "run-2", "run-3"):
        with new_folder(tmp_path / "runs" / "run") as folder:
            (folder / "config.json").touch()
        assert folder == tmp_path / "runs" / name
    (tmp_path / "file").touch()
    with new_folder(tmp_path / "file") as folder:
        assert folder.name == "file-2"
    assert not folder.exists(), "nothing was written there"
    message = r"--workdir=.*: no run can be kept there \(File exists"
    with pytest.raises(UserError, match=message), new_folder(tmp_path / "file" / "run"):
        pass


def test_runs_that_begin_at_once_have_different_folders(tmp_path):
    def begin(_):
        with new_folder(tmp_path / "run") as folder:
            (folder / "config.json").touch()
        return folder

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(begin, range(24)))
    names = ["run", *(f"run-{number}" for number in range(2, 25))]
    assert sorted(folders) == sorted(tmp_path / name for name in names)


def test_a_new_run_that_is_refused_leaves_nothing(tmp_path):
    config = tiny_dcgan()
    config.image_size = 9
    with (
        pytest.raises(UserError, match=r"config\.image_size=9"),
        new_folder(tmp_path / "r") as folder,
    ):
        train(config, folder, start=Start(new=True))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("goes_on", [{"from_step": 0}, {"allow_change": ("seed",)}])
def test_a_new_run_is_not_gone_on_with(goes_on):
    with pytest.raises(UserError, match=rf"--{next(iter(goes_on))}: --new begins a run"):
        Start(new=True, **goes_on)
