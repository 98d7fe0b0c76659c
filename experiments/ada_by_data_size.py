"""Adaptive discriminator augmentation on fewer and fewer training images.

    ganjax sweep ada_by_data_size:smoke    # a minute
    ganjax sweep ada_by_data_size:short    # hours
    ganjax sweep ada_by_data_size          # many hours
    ganjax report ada_by_data_size

It trains `configs/ada.py` on nested subsets of the embedded emoji ("all" are the 1,441 that are not
held out) without augmentation, with a fixed probability, and with ADA. It measures KID on the
held-out images, and how much higher D's accuracy is on training images than on held-out ones, which
grows as D memorises its images (Karras et al. 2020, arXiv:2006.06676, figure 1). The preset `short`
trains for 2,000 steps instead of 5,000.
"""

from experiments.tools.configs import named
from experiments.tools.design import Cell, Sweep, axis, length, product

KERAS = named("ada").augment.to_dict()
FIXED_P = 0.2  # A choice, since ADA's own last p is not known in advance.
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
