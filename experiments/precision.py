"""Does half precision cost quality? One config in each precision, the seeds of each at once.

    python -m experiments.precision --config=dcgan --seeds=3
    python -m experiments.precision --config=cgan --seeds=4 --steps=2000
    python -m experiments.precision --smoke

A precision passes if the mean of its seeds' KIDs lies within the spread of float32's: the
difference of the means is below twice its standard error, sqrt(s1^2 / n + s2^2 / n). A run that was
stopped is taken up again. `<out>/table.md` gets the figures of the last evaluation, with seconds a
step on this machine, where a CPU gains nothing from half precision: it has no units for it.
"""

import argparse
import math
from pathlib import Path
from statistics import median

from experiments.tools.configs import named
from ganjax.errors import UserError
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics

FIGURE = "kid_efflite0"
PRECISIONS = ("float32", "bfloat16", "float16")


def config_of(name: str, precision: str, seeds: int, steps: int | None):
    """A shipped config, measured by KID."""
    config = named(name)
    config.precision, config.num_seeds = precision, seeds
    if steps is not None:
        config.total_steps = steps
    config.evaluation.metrics, config.evaluation.features = ("kid",), "efflite0"
    return config


def result(folder: Path) -> dict[str, float]:
    """Of a finished run: KID, its spread over seeds, its floor, images a second."""
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
    """Markdown: a precision a row, and what sets it apart from the first."""
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
    """Trains what is not yet trained, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="dcgan", help="a file of configs/[:preset]")
    parser.add_argument("--precisions", default="float32,bfloat16")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="instead of the config's")
    parser.add_argument("--out", type=Path, default=Path("runs/precision"))
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
    """Trains each precision, and writes and returns the table."""
    results = {}
    for precision in precisions:
        folder = values.out / f"{values.config.replace(':', '_')}_{precision}_{values.seeds}"
        config = config_of(values.config, precision, values.seeds, values.steps)
        if values.smoke:
            config.evaluation.num_samples = 100
        train(config, folder)
        results[precision] = result(folder)
        text = table(results, values.seeds)
        (values.out / "table.md").write_text(text + "\n")
    return text


if __name__ == "__main__":
    main()
