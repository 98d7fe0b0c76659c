"""BatchNorm in the discriminator: none, in all stages but the first, in all.

    python -m experiments.sweep --sweep=experiments/batch_norm_in_d.py

DCGAN on the embedded digits. Where there is BatchNorm, reals and fakes go through D apart, each
with their own statistics, or in one batch (Radford et al. 2015 leave it out of the first stage).
"""

from experiments.tools.design import KID, Sweep, axis, chain, product

SWEEP = Sweep(
    question="Should the discriminator have BatchNorm, and over which images?",
    base="configs/dcgan.py",
    fixed={**KID, "log_every": 10},
    cells=chain(
        product(axis("discriminator.batch_norm", ["none"]), axis("d_batches", ["separate"])),
        product(
            axis("discriminator.batch_norm", ["all_but_first", "all"]),
            axis("d_batches", ["separate", "joint"]),
        ),
    ),
    metric="kid_efflite0",
    baseline={"discriminator.batch_norm": "none", "d_batches": "separate"},
    also=("d_real_gap",),
)
