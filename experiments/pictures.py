"""Makes the pictures of README.md and docs/ anew, by the configs as they are.

    python -m experiments.pictures                               all of them; hours
    python -m experiments.pictures --only=dcgan_digits.png,films/dcgan.gif
    python -m experiments.pictures --only=films                  the films of docs/gallery.md

It trains what a picture needs, in `<runs>/<config>` as `ganjax train` does. A run that is there
goes on, and one that is finished is taken as it is; one of another config is refused. Pictures are
of the last step and of the run's own latents: none is selected. They go to docs/, or to --docs.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import ROOT
from experiments.tools import arguments
from ganjax.analysis import progress
from ganjax.errors import UserError
from ganjax.main import default_workdir
from ganjax.pictures import images
from ganjax.runtime import storage

DOCS = ROOT / "docs"
FILMS, GALLERY = "films", "gallery.md"
# The most bytes of a film, and the levels of grey that make it small.
MOST_BYTES, LEVELS = 300_000, 16
# Flags that make a run of the smallest form.
SMALL = (
    *("--config.total_steps=2", "--config.sample_every=1", "--config.batch_size=8"),
    *("--config.image_size=8", "--config.data.fit=resize"),
    *("--config.generator.widths=4", "--config.discriminator.widths=4"),
)


class Picture(NamedTuple):
    """A picture of a run.

    Attributes:
      config: the name of the config that is trained, with its preset.
      draw: the words after `ganjax sample` that draw it.
    """

    config: str
    draw: Sequence[str] = ("grid", "--num=64")


# The names of classes stand above columns of six.
BY_LABEL = ("grid", "--num=60")
PICTURES = {
    "wgan_gp_digits.png": Picture("wgan_gp"),
    "dcgan_digits.png": Picture("dcgan"),
    "dcgan_noisy_emoji.png": Picture("dcgan_noisy", ("grid", "--num=32", "--columns=8")),
    "wgan_digits.png": Picture("wgan"),
    "cwgan_gp_digits.png": Picture("cwgan_gp", BY_LABEL),
    "cgan_digits.png": Picture("cgan", BY_LABEL),
    "sngan_digits.png": Picture("sngan"),
    "sngan_projection_labels.png": Picture("sngan:projection", ("labels", "--num=8")),
    "progan_digits.png": Picture("progan"),
    "progan_resolutions.png": Picture("progan", ("resolutions", "--num=10")),
    "progan_arithmetic.png": Picture(
        "progan", ("arithmetic", "--label=0", "--by=pixels", "--frames=8")
    ),
    "ada_emoji.png": Picture("ada", ("grid", "--num=18", "--columns=6")),
    "r3gan_digits.png": Picture("r3gan"),
    # The step is that of the best likelihood, at which training stopped.
    "cgan_paper_digits.png": Picture("cgan:paper_mnist5k", (*BY_LABEL, "--which=best")),
}
# The config of each film of a run's evolution.
SYSTEMS = (
    *("wgan_gp", "dcgan", "dcgan_noisy", "wgan", "cwgan_gp", "cgan", "sngan", "progan", "ada"),
    *("r3gan", "tagging"),
)
FILM_OF = {f"{FILMS}/{system}.gif": system for system in SYSTEMS}
# Pictures of measurements, by the commands that draw them.
OTHERS = {
    "growth.png": "python -m experiments.benchmarks growth",
    "ada_by_data_size.png": "ganjax report ada_by_data_size",
    "mode_coverage.png": "ganjax report mode_coverage",
    "tagging_emoji.png": "python -m experiments.tagging",
    "equal_time_digits.png": "python -m experiments.equal_time --part=digits",
    "equal_time_emoji.png": "python -m experiments.equal_time --part=emoji",
    "equal_time_longer.png": "python -m experiments.equal_time --part=longer",
}


def train(config: str, runs: Path, small: bool = False) -> Path:
    """Trains a config to its end, unless that was done before, and returns the run's folder."""
    folder = runs / default_workdir(config).name
    _ganjax("train", config, f"--workdir={folder}", *(SMALL if small else ()))
    return folder


def draw(picture: Picture, folder: Path, out: Path) -> None:
    """Draws a picture of a run, of its last step if it names none."""
    which = () if any(word.startswith("--which") for word in picture.draw) else ("--which=last",)
    words = (*picture.draw, *which, f"--workdir={folder}", f"--out={out}", "--overwrite")
    _ganjax("sample", *words)


def film(folder: Path, out: Path) -> None:
    """Writes the evolution of a run as a GIF, of as many of its grids as `MOST_BYTES` hold.

    Greys are reduced to `LEVELS`.

    Raises:
      UserError: two grids are too many.
    """

    def frames(count: int | None) -> np.ndarray:
        make = progress.evolution(folder, count).frames
        assert make is not None  # An evolution can be a film.
        return make()

    most = len(frames(None)) - progress.LAST + 1
    for count in range(most, 1, -1):
        shown = frames(count)
        if shown.shape[-1] == 1:
            step = 255 / (LEVELS - 1)
            shown = np.round(np.round(shown / step) * step).astype(np.uint8)
        images.save_gif(out, shown, progress.MILLISECONDS)
        if out.stat().st_size < MOST_BYTES:
            return
    out.unlink()
    raise UserError(f"{folder}: two of its grids take {MOST_BYTES} bytes or more as a film")


def chosen(only: Sequence[str]) -> list[str]:
    """Returns the names of the pictures and films to make; "films" means all of these.

    Raises:
      UserError: there is no such picture.
    """
    every = [*PICTURES, *FILM_OF]
    for name in only:
        if name in OTHERS:
            raise UserError(f"--only={name} is drawn by {OTHERS[name]}")
        if name not in (*every, FILMS):
            raise UserError(f"--only={name}: there are {FILMS}, {', '.join(every)}")
    return [
        name for name in every if not only or name in only or (name in FILM_OF and FILMS in only)
    ]


def make(names: Sequence[str], runs: Path, docs: Path, small: bool = False) -> None:
    """Makes pictures and films, those of one config after another.

    Args:
      names: their names in `PICTURES` and `FILM_OF`.
      runs: the folder of the runs.
      docs: the folder of the pictures.
      small: whether runs are of the smallest form.
    """
    configs = {name: FILM_OF[name] if name in FILM_OF else PICTURES[name].config for name in names}
    (docs / FILMS).mkdir(parents=True, exist_ok=True)
    for config in dict.fromkeys(configs.values()):
        folder = train(config, runs, small)
        for name in (each for each in names if configs[each] == config):
            if name in FILM_OF:
                film(folder, docs / name)
            else:
                draw(PICTURES[name], folder, docs / name)
            print(docs / name, flush=True)
    list_films(docs)


def list_films(docs: Path) -> None:
    """Lets the table that ends the page of the gallery show the films that are there."""
    page = docs / GALLERY
    if not page.is_file():
        return
    rows = [
        f"| `ganjax train {system}` | ![The samples of {system} from step to step]({name}) |"
        for name, system in FILM_OF.items()
        if (docs / name).is_file()
    ]
    text = page.read_text().partition("\n| ")[0]
    storage.write_text(page, "\n".join([text, "| run | its samples |", "|---|---|", *rows]) + "\n")


def _ganjax(*words: str) -> None:
    """Runs a command of ganjax.

    Raises:
      UserError: it failed, and has said why.
    """
    done = subprocess.run([sys.executable, "-m", "ganjax", *words], check=False)
    if done.returncode:
        raise UserError(f"ganjax {' '.join(words)} ended with code {done.returncode}")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default="", help="names with commas between; all by default")
    parser.add_argument("--runs", type=arguments.folder, default="runs")
    parser.add_argument("--docs", type=arguments.folder, default=str(DOCS))
    parser.add_argument("--small", action="store_true", help="runs of the smallest form, of dcgan")
    args = parser.parse_args()
    try:
        names = chosen(list(filter(None, args.only.split(","))))
        make(names, args.runs, args.docs, args.small)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
