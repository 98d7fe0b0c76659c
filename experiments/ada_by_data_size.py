"""What adaptive discriminator augmentation is for: fewer and fewer training images.

    python -m experiments.sweep --sweep=experiments/ada_by_data_size.py:smoke    # a minute
    python -m experiments.sweep --sweep=experiments/ada_by_data_size.py:short    # hours
    python -m experiments.sweep --sweep=experiments/ada_by_data_size.py          # many hours
    python -m experiments.report --sweep=experiments/ada_by_data_size.py

`configs/ada.py` on nested subsets of the embedded emoji ("all" are the 1,441 that are not held
out), without augmentation, with a fixed probability, and with ADA: KID on the held-out images,
and D's accuracy on training images over that on held-out ones, which grows as D learns its images
by heart (Karras et al. 2020, arXiv:2006.06676, figure 1). The preset `short` has 2,000 of the
5,000 steps.
"""

from configs.ada import KERAS
from experiments.tools.design import Cell, Sweep, axis, length, product

# Where ADA's own p ends on a few hundred images is not known beforehand; a choice.
FIXED_P = 0.2
SIZES = {"100": 100, "200": 200, "400": 400, "800": 800, "all": 0}

POLICIES = {
    "none": {"augment": {"policy": "none"}},
    "fixed": {
        "augment": {
            **KERAS,
            "measure_leaks": False,
            "controller": {"name": "fixed", "p": FIXED_P},
        }
    },
    "ada": {"augment": {**KERAS, "measure_leaks": False}},
}


def cells(*sizes: str) -> list[Cell]:
    images = {name: {"data.num_examples": SIZES[name]} for name in sizes}
    return product(axis("images", images), axis("policy", POLICIES))


SWEEP = Sweep(
    question="From how many training images on does augmenting the discriminator's images help?",
    base="configs/ada.py",
    fixed=length(5_000, evaluations=10),
    cells=cells(*SIZES),
    metric="kid_efflite0",
    baseline={"policy": "none"},
    also=("d_real_gap", "aug_p"),
)
PRESETS = {"short": SWEEP._replace(fixed=length(2_000, evaluations=10), cells=cells(*SIZES))}
