"""BatchNorm in no stage of the discriminator, in all but the first, and in all.

    ganjax sweep batch_norm_in_d

It trains DCGAN on the embedded digits. With BatchNorm, reals and fakes pass D separately, each
normalised by statistics of their own, or jointly in one batch. (Radford et al. 2015 leave BatchNorm
out of the first stage.)
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
