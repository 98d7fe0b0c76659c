"""What augmentation adds to a train step, on CPU.

    python -m experiments.benchmarks.augment --batch_size=32 --rounds=8

The step of configs/ada.py:emoji64 (64x64, width 128) without augmentation, and with each policy at
p = 0.5. One process, the contenders taking turns, so that a slow spell meets all of them; the
share is of the step with augmentation.
"""

import argparse
from statistics import median

import jax

from experiments.benchmarks import ours
from experiments.benchmarks.clock import positive, steps_of, take_turns
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
    augment = POLICIES[policy]
    if policy != "none":
        augment = {**augment, "measure_leaks": False, "controller": FIXED}
    return ours.load("ada:emoji64", batch_size=batch_size, augment=augment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=positive, default=32)
    parser.add_argument("--rounds", type=positive, default=8)
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, batch size {args.batch_size}")
    names = ["none", *(name for name in args.policies if name != "none")]
    contenders = {name: ours.Ours(load(name, args.batch_size)) for name in names}
    times = take_turns({name: steps_of(one.step) for name, one in contenders.items()}, args.rounds)
    for name, values in times.items():
        share = median(1 - plain / own for plain, own in zip(times["none"], values, strict=True))
        least = 1 - min(times["none"]) / min(values)
        print(
            f"{name}: median {median(values):.3f} s, fastest {min(values):.3f} s; "
            f"augmentation {share:.1%} (median of rounds), {least:.1%} (of fastest)"
        )


if __name__ == "__main__":
    huge_pages.restart()
    main()
