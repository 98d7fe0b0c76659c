"""Measures the time that augmentation adds to a train step, on CPU.

    python -m experiments.benchmarks.augment --batch_size=32 --rounds=8

The step is that of configs/ada.py:emoji64 (64x64, width 128), without augmentation and with each
policy at p = 0.5. All contenders are in one process and alternate, so that a slow spell of the
machine meets all of them. The printed share is augmentation's share of the augmented step.
"""

import argparse
from statistics import median

import jax

from experiments.benchmarks import ours
from experiments.benchmarks.clock import alternate, steps_of
from experiments.tools import arguments
from ganjax.runtime import huge_pages
from ganjax.training import schema

FIXED = {"name": "fixed", "p": 0.5}
POLICIES = {
    "none": {"policy": "none"},
    "keras": {"policy": "keras", "translation": 0.125, "rotation": 0.125, "zoom": 0.25},
    "ada, blit + geometric + colour": {
        "policy": "ada",
        "families": ("blit", "geometric", "colour"),
        "multipliers": (),
    },
    "ada, all families": {
        "policy": "ada",
        "families": ("blit", "geometric", "colour", "filter", "corrupt"),
        "multipliers": (),
    },
    "diffaugment": {"policy": "diffaugment", "families": ("colour", "translation", "cutout")},
}


def load(policy: str, batch_size: int) -> schema.Loaded:
    """Loads the config of the step with a policy of `POLICIES` and a batch size."""
    augment = POLICIES[policy]
    if policy != "none":
        augment = {**augment, "measure_leaks": False, "controller": FIXED}
    return ours.load("ada:emoji64", batch_size=batch_size, augment=augment)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--batch_size", type=arguments.count, default=32)
    parser.add_argument("--rounds", type=arguments.count, default=8)
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, batch size {args.batch_size}")
    names = ["none", *(name for name in args.policies if name != "none")]
    steps = {name: ours.Ours(load(name, args.batch_size)).step for name in names}
    times = alternate({name: steps_of(step) for name, step in steps.items()}, args.rounds)
    plain = times["none"]
    for name, values in times.items():
        share = median(1 - before / after for before, after in zip(plain, values, strict=True))
        least = 1 - min(plain) / min(values)
        print(
            f"{name}: median {median(values):.3f} s, fastest {min(values):.3f} s; "
            f"augmentation {share:.1%} (median of rounds), {least:.1%} (of fastest)"
        )


if __name__ == "__main__":
    huge_pages.restart()
    main()
