"""What adaptive discriminator augmentation is for: fewer and fewer training images.

    python -m experiments.ada_by_data_size --smoke         # minutes
    python -m experiments.ada_by_data_size                 # hours: 5 sizes, 3 policies, 3 seeds
    python -m experiments.ada_by_data_size --sizes=100,400 --seeds=1 --steps=1000

`configs/ada.py` on nested subsets of the embedded emoji (0 is all 1,441 that are not held out),
without augmentation, with a fixed probability, and with ADA. Each run is a folder below --out; run
again, finished ones are read and one that was killed goes on. Writes table.md, runs.json and
curves.png (pip install 'ganjax[experiments]'): KID on the held-out images, and D's accuracy on
training images over that on held-out ones, which grows as D learns its images by heart
(Karras et al. 2020, arXiv:2006.06676, figure 1).
"""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np

from configs.ada import KERAS, get_config
from ganjax.train import train
from ganjax.writer import read_metrics

KID = "kid_efflite0"
# Where ADA's own p ends on a few hundred images is not known beforehand; a choice.
FIXED_P = 0.2
POLICIES = {
    "none": {"policy": "none"},
    "fixed": {**KERAS, "measure_leaks": False, "controller": {"name": "fixed", "p": FIXED_P}},
    "ada": {**KERAS, "measure_leaks": False},
}


def config_of(size: int, policy: str, seed: int, steps: int):
    """configs/ada.py, with one cell's size, policy and seed; the subset is that of every seed."""
    config = get_config()
    config.seed, config.total_steps, config.data.num_examples = seed, steps, size
    del config.augment
    config.augment = POLICIES[policy]
    config.eval_every = config.sample_every = config.checkpoint_every = max(1, steps // 10)
    config.log_every = min(config.log_every, config.eval_every)
    return config


def finished(folder: Path, steps: int) -> bool:
    """Whether a run has its last figure."""
    path = folder / "metrics.jsonl"
    return path.is_file() and any(row["step"] == steps and KID in row for row in read_metrics(path))


def curves(folder: Path) -> dict[str, list[float]]:
    """By evaluation: the step, KID, D's accuracy on training less on held-out images, and p."""
    rows = read_metrics(folder / "metrics.jsonl")
    trained = [row for row in rows if "d_real_acc" in row]
    found = {"step": [], "kid": [], "gap": [], "p": []}
    for row in rows:
        if KID not in row:
            continue
        # The accuracy of one batch says little: that of the lines since the last evaluation.
        last = found["step"][-1] if found["step"] else 0
        since = [r for r in trained if last < r["step"] <= row["step"]]
        found["step"].append(row["step"])
        found["kid"].append(row[KID])
        found["gap"].append(np.mean([r["d_real_acc"] for r in since]) - row["val_d_real_acc"])
        found["p"].append(since[-1].get("aug_p", 0.0))
    return {name: [float(value) for value in values] for name, values in found.items()}


def table(runs: dict[str, list[dict]]) -> str:
    """A row a size: the best and the last KID of each policy, mean and deviation over seeds."""
    sizes = sorted({int(cell.split("/")[0]) for cell in runs}, key=lambda size: size or 1 << 30)
    policies = [name for name in POLICIES if any(cell.endswith(name) for cell in runs)]
    lines = [
        "| images | " + " | ".join(f"{p}: best KID | last KID | gap" for p in policies) + " |",
        "|---" * (1 + 3 * len(policies)) + "|",
    ]
    for size in sizes:
        row = [str(size) if size else "all"]
        for policy in policies:
            seeds = runs[f"{size}/{policy}"]
            for values in (
                [min(each["kid"]) for each in seeds],
                [each["kid"][-1] for each in seeds],
                [each["gap"][-1] for each in seeds],
            ):
                spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
                row.append(f"{np.mean(values):.3f}{spread}")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def plot(runs: dict[str, list[dict]], path: Path) -> None:
    """Two rows, KID and the gap, a column a size, a line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = sorted({int(cell.split("/")[0]) for cell in runs}, key=lambda size: size or 1 << 30)
    figure, axes = plt.subplots(
        2, len(sizes), figsize=(3 * len(sizes), 5), sharex=True, sharey="row", squeeze=False
    )
    colours = dict(zip(POLICIES, ("tab:gray", "tab:orange", "tab:blue"), strict=True))
    for cell, seeds in runs.items():
        size, policy = cell.split("/")
        for row, name in enumerate(("kid", "gap")):
            axis = axes[row, sizes.index(int(size))]
            for i, each in enumerate(seeds):
                label = None if i else policy
                axis.plot(each["step"], each[name], color=colours[policy], label=label)
    for axis, size in zip(axes[0], sizes, strict=True):
        axis.set_title(f"{size or 'all'} images")
    axes[0, 0].set_ylabel(KID)
    axes[1, 0].set_ylabel("D's accuracy: training - held out")
    axes[0, -1].legend()
    for axis in axes[1]:
        axis.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains what is not yet trained, and writes the table and the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="100,200,400,800,0")
    parser.add_argument("--policies", default="none,fixed,ada")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--out", type=Path, default=Path("runs/ada_by_data_size"))
    parser.add_argument("--smoke", action="store_true", help="one size, one seed, 20 small steps")
    values = parser.parse_args()
    if values.smoke:
        values.sizes, values.seeds, values.steps = "100", 1, 20
        values.out = values.out.with_name(values.out.name + "_smoke")
    runs = {}
    sizes = [int(size) for size in values.sizes.split(",")]
    # A seed of every cell before the next seed: stopped early, the cells are equally far.
    for seed, size, policy in product(range(values.seeds), sizes, values.policies.split(",")):
        folder = values.out / f"{size or 'all'}_{policy}_{seed}"
        config = config_of(size, policy, seed, values.steps)
        if values.smoke:
            config.batch_size = 16
            config.generator.widths = config.discriminator.widths = (16, 16, 16)
        if not finished(folder, values.steps):
            train(config, folder)
        runs.setdefault(f"{size}/{policy}", []).append(curves(folder))
        # After every run: what is there can be read while the rest trains.
        (values.out / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")
    text = table(runs)
    (values.out / "table.md").write_text(text + "\n")
    plot(runs, values.out / "curves.png")
    print(text)


if __name__ == "__main__":
    main()
