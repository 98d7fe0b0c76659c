"""Trains systems for equal seconds of train steps, and measures their samples on the way.

    python -m experiments.equal_time --part=digits    five systems, three seeds, 240 s each
    python -m experiments.equal_time --part=emoji     the same on 400 emoji, one seed
    python -m experiments.equal_time --part=longer    R3GAN and WGAN-GP on digits, one seed, 1,200 s
    python -m experiments.equal_time --part=smoke     the smallest form

Does R3GAN make better images than older systems in the same time? Every run has the default preset
of its system. A short run measures the seconds of a step, which give the number of steps; schedules
change as large a part of the run as in the preset. Seconds are those that the process' threads
spend on a CPU in train steps, medians over steps: compilation, checkpoints and measurements are not
counted, and other processes matter little. Give the process one core, as by taskset: threads of
several cores spin while they wait for each other.

After a stop or a kill the same command goes on. It writes table.md, figures.json and curves.png to
the folder of --out, anew after every run. Curves are those of runs whose rates fall until the end,
so that a point on the way is not the end of a shorter run.
"""

import argparse
import json
from pathlib import Path

from experiments.equal_time.figures import floor, measure_run, measurer
from experiments.equal_time.parts import PARTS, Part, config_of
from experiments.equal_time.runs import step_seconds, trained
from experiments.equal_time.table import report
from experiments.tools import arguments
from ganjax.analysis.trained import Trained
from ganjax.errors import UserError
from ganjax.metrics.image_set import from_source
from ganjax.runtime import compiling, storage

# The steps by which the seconds of a step are measured.
CALIBRATION = 60


def calibrated(part: Part, out: Path) -> dict[str, float]:
    """Returns the CPU's seconds of a step of each system, by short runs if they are not known.

    Raises:
      UserError: a short run has too few steps that count, as it diverged.
    """
    found = {}
    for system in part.systems:
        folder = out / "calibration" / system
        trained(config_of(part, system, CALIBRATION), folder)
        seconds = step_seconds(folder)
        if seconds is None:
            raise UserError(f"{folder}: no step was timed; remove this folder, and begin again")
        found[system] = seconds
    return found


def compare(part: Part, out: Path) -> None:
    """Trains and measures all runs of a part in a folder, and reports after each of them."""
    seconds = calibrated(part, out)
    lengths = {
        system: part.points * max(1, round(part.seconds / each / part.points))
        for system, each in seconds.items()
    }
    measure = None
    for seed in range(part.seeds):
        for system, steps in lengths.items():
            folder = out / f"{system}_seed{seed}"
            config = config_of(part, system, steps, part.points, seed)
            if not trained(config, folder):
                continue
            if measure is None:
                real = Trained(folder, "last").images_of("validation")
                measure = measurer(part, from_source("held out", real, None))
                floor(part, folder, out, measure)
            every = steps // part.points
            measure_run(part, folder, range(every, steps + 1, every), measure)
            report(part, out, seconds, lengths)


def settled(name: str, seconds: float | None, out: Path) -> Part:
    """Returns a part of a length, and holds its folder to what was asked for at first.

    Args:
      name: the name of the part.
      seconds: the seconds of steps of each run; None takes the part's own.
      out: the folder of the runs.

    Raises:
      UserError: the folder holds another part or length.
    """
    part = PARTS[name]
    part = part._replace(seconds=seconds or part.seconds)
    asked = {"part": name, "seconds": part.seconds}
    out.mkdir(parents=True, exist_ok=True)
    path = out / "asked.json"
    before = json.loads(path.read_text()) if path.is_file() else asked
    if before != asked:
        raise UserError(
            f"--out={out} holds part {before['part']} of {before['seconds']:g} seconds; name "
            "another folder, or ask for these"
        )
    storage.write_json(path, asked)
    return part


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--seconds", type=arguments.positive, help="of train steps of each run")
    parser.add_argument("--out", type=arguments.folder, help="the folder of the runs")
    args = parser.parse_args()
    out = args.out or Path("runs") / f"equal_time_{args.part}"
    compiling.keep_programs()
    compiling.trim_memory()
    try:
        compare(settled(args.part, args.seconds, out), out)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
