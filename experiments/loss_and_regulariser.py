"""Every loss with every regulariser of the discriminator.

    ganjax sweep loss_and_regulariser

It trains DCGAN on the embedded digits, without BatchNorm in D, which gradient penalties do not
allow. The grid follows Lucic et al. 2018 (arXiv:1711.10337) and Kurach et al. 2019
(arXiv:1807.04720), who found that the loss matters less than the regulariser and the tuning of
both. Here nothing is tuned: every loss trains with the other settings of DCGAN.
"""

from experiments.tools.design import KID, Sweep, axis, product
from ganjax.objectives.losses import LOSSES

SWEEP = Sweep(
    question="Which losses need which regulariser?",
    base="configs/dcgan.py",
    fixed={
        "discriminator.batch_norm": "none",
        "log_every": 10,
        **KID,
    },
    cells=product(
        axis("loss", list(LOSSES)),
        axis(
            "regulariser",
            {
                "none": {},
                "spectral norm": {"discriminator.spectral_norm": True},
                # Gulrajani et al. 2017.
                "gradient penalty": {"penalty.weight": 10.0},
                "one-sided penalty": {"penalty.weight": 10.0, "penalty.side": "one"},
                # Kodali et al. 2017.
                "DRAGAN": {"penalty.weight": 10.0, "penalty.points": "dragan"},
                # Mescheder et al. 2018, gamma 10.
                "R1": {"penalty.r1": 10.0},
                "R2": {"penalty.r2": 10.0},
                # Arjovsky et al. 2017.
                "weight clipping": {"weight_clip": 0.01},
            },
        ),
    ),
    metric="kid_efflite0",
    baseline={"regulariser": "none"},
)
