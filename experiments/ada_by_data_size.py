"""What adaptive discriminator augmentation is for: fewer and fewer training images.

    python -m experiments.sweep --sweep=experiments/ada_by_data_size.py:smoke    # a minute
    python -m experiments.sweep --sweep=experiments/ada_by_data_size.py          # hours
    python -m experiments.report --sweep=experiments/ada_by_data_size.py

`configs/ada.py` on nested subsets of the embedded emoji ("all" are the 1,441 that are not held
out), without augmentation, with a fixed probability, and with ADA: KID on the held-out images,
and D's accuracy on training images over that on held-out ones, which grows as D learns its images
by heart (Karras et al. 2020, arXiv:2006.06676, figure 1). The preset `short` is a third as long.
"""

from configs.ada import KERAS
from experiments.tools.design import Sweep, axis, length, product

# Where ADA's own p ends on a few hundred images is not known beforehand; a choice.
FIXED_P = 0.2
SIZES = {"100": 100, "200": 200, "400": 400, "800": 800, "all": 0}

SWEEP = Sweep(
    question="From how many training images on does augmenting the discriminator's images help?",
    base="configs/ada.py",
    fixed=length(3_000, evaluations=10),
    cells=product(
        axis("images", {name: {"data.num_examples": n} for name, n in SIZES.items()}),
        axis(
            "policy",
            {
                "none": {"augment": {"policy": "none"}},
                "fixed": {
                    "augment": {
                        **KERAS,
                        "measure_leaks": False,
                        "controller": {"name": "fixed", "p": FIXED_P},
                    }
                },
                "ada": {"augment": {**KERAS, "measure_leaks": False}},
            },
        ),
    ),
    metric="kid_efflite0",
    baseline={"policy": "none"},
    also=("d_real_gap", "aug_p"),
)
PRESETS = {"short": SWEEP._replace(fixed=length(1_000, evaluations=10))}
