"""Tips and tricks of training GANs, each alone against a default.

    ganjax sweep tips

The default is `configs/ada.py` on 400 embedded emoji. A switch that needs further ones sets them
too, and its name says so: a gradient penalty needs a D without BatchNorm, and the Wasserstein loss
needs a bound on D and no controller that watches the signs of D's scores.
"""

from experiments.tools.configs import named
from experiments.tools.design import Sweep, axis, length
from ganjax.config import Fields, defaults
from ganjax.models import resnet

BASE = named("ada").to_dict()
ADA = BASE["augment"] | {"measure_leaks": False}
PLAIN = {"policy": "none"}
NO_BATCH_NORM = {"discriminator.batch_norm": "none"}


def residual(player: str, fields: type[Fields]) -> dict:
    """Makes a player's network residual, of the default's widths, norms and initialisation."""
    kept = {n: v for n, v in BASE[player].items() if n in fields.model_fields and n != "network"}
    return {player: defaults(fields, **kept).to_dict()}


def rates(g: float, d: float) -> dict:
    return {"g_optimiser.learning_rate": g, "d_optimiser.learning_rate": d}


SWITCHES = {
    "default": {},
    "init N(0, .02)": {"generator.init_stddev": 0.02, "discriminator.init_stddev": 0.02},
    "upsampling + convolution in G": {"generator.upsample": "nearest"},
    "no BatchNorm in D": NO_BATCH_NORM,
    "no BatchNorm in D's first stage": {"discriminator.batch_norm": "all_but_first"},
    "spectral normalisation of D": {"discriminator.spectral_norm": True},
    "spectral normalisation of D, no BatchNorm": {
        "discriminator.spectral_norm": True,
        **NO_BATCH_NORM,
    },
    "residual D": residual("discriminator", resnet.DiscriminatorFields),
    "residual G": residual("generator", resnet.GeneratorFields),
    "no dropout in D": {"discriminator.final_dropout": 0.0},
    "slope 0 in D (ReLU)": {"discriminator.slope": 0.0},
    "slope .2 in G": {"generator.slope": 0.2},
    "minimax loss": {"loss": "minimax"},
    "least squares loss": {"loss": "least_squares"},
    "hinge loss": {"loss": "hinge"},
    "relativistic average loss": {"loss": "relativistic"},
    "relativistic loss of pairs": {
        "loss": "relativistic_paired",
        "d_halves": "sum",
        "order": "alternating",
    },
    "Wasserstein loss, clipped weights, no augmentation": {
        "loss": "wasserstein",
        "d_halves": "sum",
        "weight_clip": 0.01,
        "augment": PLAIN,
    },
    "slicing adversarial network": {"san": True},
    "slicing adversarial network, hinge loss": {"san": True, "loss": "hinge"},
    "Adam b1 0": {"g_optimiser.b1": 0.0, "d_optimiser.b1": 0.0},
    "Adam b1 .9": {"g_optimiser.b1": 0.9, "d_optimiser.b1": 0.9},
    "joint BatchNorm of reals and fakes": {"d_batches": "joint"},
    "no EMA": {"ema.decay": 0.0},
    "EMA .999": {"ema.decay": 0.999},
    # Two rates as in Heusel et al. 2017; four times as in Zhang et al. 2019 (SAGAN).
    "D's rate 4 times G's": rates(1e-3, 4e-3),
    "G's rate 4 times D's": rates(4e-3, 1e-3),
    "alternating updates": {"order": "alternating"},
    "two updates of D": {"order": "alternating", "n_critic": 2},
    "one-sided label smoothing .1": {"targets.smoothing": 0.1},
    "label noise .1": {"targets.noise": 0.1},
    "5 % label flips": {"targets.flip": 0.05},
    "no augmentation": {"augment": PLAIN},
    "DiffAugment": {
        "augment": {
            "policy": "diffaugment",
            "families": ("colour", "translation", "cutout"),
            "measure_leaks": False,
            "controller": {"name": "fixed", "p": 1.0},
        }
    },
    "R1, no BatchNorm in D": {"penalty.r1": 10.0, **NO_BATCH_NORM},
    "R2, no BatchNorm in D": {"penalty.r2": 10.0, **NO_BATCH_NORM},
    "one-sided gradient penalty, no BatchNorm in D": {
        "penalty.weight": 10.0,
        "penalty.side": "one",
        **NO_BATCH_NORM,
    },
    "DRAGAN, no BatchNorm in D": {
        "penalty.weight": 10.0,
        "penalty.points": "dragan",
        **NO_BATCH_NORM,
    },
    "clipped weights": {"weight_clip": 0.01},
}
SWEEP = Sweep(
    question="Which of the usual tips help, each alone, a small GAN on few images?",
    base="configs/ada.py",
    fixed={"augment": ADA, **length(1_000, evaluations=10)},
    cells=axis("switch", SWITCHES),
    metric="kid_efflite0",
    baseline={"switch": "default"},
)
