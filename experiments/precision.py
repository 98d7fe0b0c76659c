"""Measures whether half precision costs quality, on one config with several seeds.

    python -m experiments.precision --config=dcgan --seeds=3
    python -m experiments.precision --config=cgan --seeds=4 --steps=2000
    python -m experiments.precision --smoke

A precision passes if the mean KID of its seeds differs from that of float32 by less than twice the
standard error of the difference, sqrt(s1^2 / n + s2^2 / n). The seeds of a precision train at once,
and a run that was stopped is continued. The metrics of the last evaluation are written to
`<out>/table.md` with the images a second on this machine; most CPUs gain nothing from half
precision, for which they have no units.
"""

import argparse
import math
from pathlib import Path
from statistics import median

from experiments.tools import arguments
from experiments.tools.configs import named
from ganjax.errors import UserError
from ganjax.runtime import storage
from ganjax.training import epochs
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics

FIGURE = "kid_efflite0"
PRECISIONS = ("float32", "bfloat16", "float16")


def config_of(name: str, precision: str, seeds: int, steps: int | None):
    """Returns a shipped config in one precision, which measures KID.

    Args:
      name: <name>[:<preset>] of configs/.
      precision: a value of config.precision.
      seeds: the number of seeds.
      steps: the number of train steps; None takes the config's.
    """
    config = named(name)
    config.precision, config.num_seeds = precision, seeds
    if steps is not None:
        config.total_steps = steps
        epochs.prefer(config, ["total_steps"])
    config.evaluation.metrics, config.evaluation.features = ("kid",), "efflite0"
    return config


def result(folder: Path) -> dict[str, float]:
    """Reads the KID of a finished run, its deviation over seeds, its floor, and images/s."""
    rows = read_metrics(folder / "metrics.jsonl")
    last = next(row for row in reversed(rows) if FIGURE in row)
    rates = [row["images_per_second"] for row in rows if "images_per_second" in row]
    return {
        "kid": last[FIGURE],
        "std": last.get(f"{FIGURE}_seed_std", math.nan),
        "floor": last[f"{FIGURE}_floor"],
        "images_per_second": median(rates),
    }


def table(results: dict[str, dict[str, float]], seeds: int) -> str:
    """Returns the results as Markdown, with differences from float32 in standard errors."""
    lines = [
        "| precision | KID, mean of seeds | standard deviation | off float32's, standard errors "
        "| real against real | images/s, all seeds |",
        "|---|---|---|---|---|---|",
    ]
    first = next(iter(results.values()))
    for precision, found in results.items():
        error = math.sqrt((first["std"] ** 2 + found["std"] ** 2) / seeds)
        apart = "" if found is first else f"{(found['kid'] - first['kid']) / error:+.1f}"
        lines.append(
            f"| {precision} | {found['kid']:.4f} | {found['std']:.4f} | {apart} "
            f"| {found['floor']:.4f} | {found['images_per_second']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Trains every precision that is not trained yet, and writes the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--config", default="dcgan", help="<name>[:<preset>] of configs/")
    parser.add_argument("--precisions", default="float32,bfloat16")
    parser.add_argument("--seeds", type=arguments.count, default=3)
    parser.add_argument("--steps", type=arguments.count, help="instead of the config's total_steps")
    parser.add_argument("--out", type=arguments.folder, default="runs/precision")
    parser.add_argument("--smoke", action="store_true", help="two seeds of cgan, 20 steps")
    values = parser.parse_args()
    if values.smoke:
        values.config, values.seeds, values.steps = "cgan", 2, 20
        values.out = values.out.with_name(values.out.name + "_smoke")
    precisions = values.precisions.split(",")
    if values.seeds < 2:
        parser.error(f"--seeds={values.seeds}: one has no spread; take 2 or more")
    if precisions[0] != PRECISIONS[0] or not set(precisions) <= set(PRECISIONS):
        parser.error(
            f"--precisions={values.precisions}: name {PRECISIONS[0]}, which the others are "
            f"compared with, and then any of {', '.join(PRECISIONS[1:])}"
        )
    try:
        print(compare(values, precisions))
    except UserError as error:
        parser.error(str(error))


def compare(values: argparse.Namespace, precisions: list[str]) -> str:
    """Trains a run in each precision, writes the table, and returns it."""
    results = {}
    for precision in precisions:
        folder = values.out / f"{values.config.replace(':', '_')}_{precision}_{values.seeds}"
        config = config_of(values.config, precision, values.seeds, values.steps)
        if values.smoke:
            config.evaluation.num_samples = 100
        train(config, folder)
        results[precision] = result(folder)
        text = table(results, values.seeds)
        storage.write_text(values.out / "table.md", text + "\n")
    return text


if __name__ == "__main__":
    main()
