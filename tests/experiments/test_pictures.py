"""The pictures of README and docs: all come from one table, and films are small."""

import re

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from experiments import pictures
from ganjax.errors import UserError
from ganjax.pictures import images

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHOWN = {
    (page.parent / link).resolve()
    for page in PAGES
    for link in re.findall(r"!\[[^\]]*\]\((?!http)([^)]+)\)", page.read_text())
}


def test_every_picture_that_a_page_shows_is_made_by_a_command_that_is_named():
    made = {*pictures.PICTURES, *pictures.FILM_OF, *pictures.OTHERS}
    assert {str(path.relative_to(pictures.DOCS)) for path in SHOWN} <= made
    assert all(path.is_file() for path in SHOWN)


def test_every_picture_of_docs_is_shown_and_every_system_has_a_film():
    files = {path for path in pictures.DOCS.rglob("*") if path.suffix in (".png", ".gif")}
    assert files == SHOWN
    assert sorted(pictures.SYSTEMS) == sorted(path.stem for path in ROOT.glob("configs/*.py"))


def test_films_of_the_gallery_are_small_and_move():
    films = sorted((pictures.DOCS / pictures.FILMS).glob("*.gif"))
    for path in films:
        assert path.stat().st_size < pictures.MOST_BYTES, path
        with Image.open(path) as opened:
            assert opened.n_frames > 1, path


def test_a_film_has_as_many_grids_as_its_bytes_allow(tmp_path, monkeypatch):
    """Noise in 16 levels takes over half a byte a pixel: 200 kB hold some 5 grids of 240x240."""
    asked = []

    def evolution(folder, num=None):
        asked.append(num)
        noise = np.random.RandomState(0).randint(0, 256, (num or 9, 240, 240, 1), np.uint8)
        last = noise[-1:].repeat(pictures.progress.LAST - 1, axis=0)
        return pictures.progress.View({}, frames=lambda: np.concatenate([noise, last]))

    monkeypatch.setattr(pictures.progress, "evolution", evolution)
    monkeypatch.setattr(pictures, "MOST_BYTES", 200_000)
    out = tmp_path / "film.gif"
    pictures.film(tmp_path, out)
    assert out.stat().st_size < 200_000
    with Image.open(out) as opened:
        assert opened.n_frames == asked[-1]
        levels = np.unique(np.asarray(opened.convert("L")))
    assert asked[:2] == [None, 9]
    assert 4 <= asked[-1] < 9
    assert levels.tolist() == [17 * i for i in range(16)]
    monkeypatch.setattr(pictures, "MOST_BYTES", 1_000)
    with pytest.raises(UserError, match="two of its grids take 1000 bytes or more"):
        pictures.film(tmp_path, out)
    assert not out.exists()


def test_the_gallery_shows_the_films_that_are_there(tmp_path):
    (tmp_path / pictures.GALLERY).write_text("# Gallery\n\nText.\n\n| run | old |\n|---|---|\n")
    (tmp_path / pictures.FILMS).mkdir()
    (tmp_path / "films/ada.gif").touch()
    (tmp_path / "films/wgan.gif").touch()
    for _ in range(2):
        pictures.list_films(tmp_path)
        lines = (tmp_path / pictures.GALLERY).read_text().splitlines()
        assert lines[:6] == ["# Gallery", "", "Text.", "", "| run | its samples |", "|---|---|"]
        assert [line.split("`")[1] for line in lines[6:]] == [
            "ganjax train wgan",
            "ganjax train ada",
        ]


def test_names_of_pictures_are_checked():
    assert pictures.chosen(["films"]) == list(pictures.FILM_OF)
    assert pictures.chosen([]) == [*pictures.PICTURES, *pictures.FILM_OF]
    for name, told in (("growth.png", "benchmarks growth"), ("dcgan.png", "there are films")):
        with pytest.raises(UserError, match=told):
            pictures.chosen([name])


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "native_convolutions")
def test_the_smallest_form_trains_once_and_draws_a_picture_and_a_film(tmp_path):
    names = ["dcgan_digits.png", "films/dcgan.gif"]
    pictures.make(names, tmp_path / "runs", tmp_path / "docs", small=True)
    with Image.open(tmp_path / "docs" / names[0]) as opened:
        assert max(opened.size) >= images.GRID_SIDE
    with Image.open(tmp_path / "docs" / names[1]) as opened:
        assert opened.n_frames > 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["dcgan"]
