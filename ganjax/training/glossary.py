"""The one table of what runs log: the meaning of each metric, from where the metric is made.

The metrics of an algorithm of its own, such as a fade's alpha, are in `Algorithm.meanings`.
"""

import re
from collections.abc import Mapping

from ganjax.engine import loss_scaling, updates
from ganjax.engine.meanings import Meaning
from ganjax.metrics import table
from ganjax.objectives import losses, penalties
from ganjax.training import leaks
from ganjax.training.window import SEED

# What a line of metrics says of the run itself.
OF_RUN = {
    "step": Meaning("the number of finished train steps", 0),
    "epoch": Meaning("the number of finished epochs (docs/runs.md)", 0),
    "images_per_second": Meaning(
        "the real images that D was trained on each second since the line before, with evaluations "
        "and pictures between",
        least=0,
    ),
    "image_size": Meaning(
        "the side, in pixels, of the images that the line's figures are of",
        least=1,
        reading="figures of different sizes do not compare",
    ),
}
OF_STEPS = {
    **updates.MEANINGS,
    **losses.MEANINGS,
    **penalties.MEANINGS,
    **loss_scaling.MEANINGS,
}
OF_SAMPLES = {name: figure.meaning for name, figure in table.figures()} | leaks.MEANINGS
TABLE = {**OF_RUN, **OF_STEPS, **OF_SAMPLES}

HELD_OUT, FLOOR, SPREAD = "val_", "_floor", "_seed_std"
# What is added to names, and what it means.
AFFIXES = {
    f"{HELD_OUT}<metric>": "the metric of an update, on held-out images and fresh fakes",
    f"<metric>{FLOOR}": "the figure of training images in place of samples, about that of a "
    "perfect generator",
    f"<metric>{SPREAD}": "the standard deviation over the seeds of a run of several, whose mean is "
    "the metric itself",
    f"<figure>{SEED}<seed>": "the figure of one of the seeds",
}


def meaning_of(name: str, own: Mapping[str, Meaning] | None = None) -> Meaning | None:
    """Returns what a metric means, or None if nobody says.

    Args:
      name: the name that the metric has in metrics.jsonl, with what is added to it: val_d_loss,
        kid_efflite0_floor, d_acc_seed_std.
      own: the meanings of the algorithm's own metrics, which come first.
    """
    known = TABLE | dict(own or {})
    if name in known:
        return known[name]
    if name.endswith(SPREAD) and (base := meaning_of(name.removesuffix(SPREAD), own)):
        return Meaning(f"the standard deviation over seeds of: {base.text}", least=0)
    if name.endswith(FLOOR) and (base := meaning_of(name.removesuffix(FLOOR), own)):
        text = f"the figure of training images in place of samples: {base.text}"
        return base._replace(text=text, reading="")
    if name.startswith(HELD_OUT) and (base := meaning_of(name.removeprefix(HELD_OUT), own)):
        return base._replace(text=f"on held-out images: {base.text}")
    without = re.sub(rf"{SEED}\d+$", "", name)
    if without != name and (base := meaning_of(without, own)):
        return base._replace(text=f"of one seed: {base.text}")
    patterns = {re.sub(r"<\w+>", ".+", each): meaning for each, meaning in known.items()}
    return next((m for pattern, m in patterns.items() if re.fullmatch(pattern, name)), None)


def description(name: str, own: Mapping[str, Meaning] | None = None) -> str:
    """Returns everything that is known of a metric as a text; "" if nobody says what it means.

    The arguments are those of `meaning_of`.
    """
    meaning = meaning_of(name, own)
    return "" if meaning is None else meaning.description
