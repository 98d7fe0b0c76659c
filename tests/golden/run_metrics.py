"""Writes run_metrics.json: the metrics of shipped configs' runs, as means of ten lines each.

    python -m tests.golden.run_metrics runs/ada runs/cgan runs/dcgan runs/dcgan_noisy runs/sngan

A run's folder has the name of its config, which is trained as shipped but for log_every=10; those
of ada and dcgan also measure "neighbours" every 500 steps.
"""

import json
import sys
from pathlib import Path

import numpy as np

from ganjax.training.writer import read_metrics

NAMES = ("d_acc", "d_loss", "aug_p")
TOGETHER = 10


def thinned(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics of a run, ten of train steps in one."""
    rows = read_metrics(folder / "metrics.jsonl")
    of_steps = [row for row in rows if "d_acc" in row]
    lines = []
    for end in range(TOGETHER, len(of_steps) + 1, TOGETHER):
        group = of_steps[end - TOGETHER : end]
        means = {name: np.mean([row[name] for row in group]) for name in NAMES if name in group[0]}
        lines.append(
            {"step": group[-1]["step"]} | {n: round(float(m), 4) for n, m in means.items()}
        )
    for row in rows:
        shares = {name: row[name] for name in row if name.startswith("distinct_neighbours")}
        lines += [{"step": row["step"]} | shares] if shares else []
    return sorted(lines, key=lambda line: line["step"])


if __name__ == "__main__":
    runs = {Path(folder).name: thinned(Path(folder)) for folder in sys.argv[1:]}
    lines = [
        f'"{name}": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]" for name, rows in runs.items()
    ]
    Path(__file__).with_suffix(".json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
