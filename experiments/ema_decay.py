"""The decay of the generator's moving average.

    ganjax sweep ema_decay
    ganjax sweep ema_decay:cgan    # minutes

It trains DCGAN on the embedded digits, or the dense conditional GAN for 500 steps. With the same
seed all cells train alike and differ only in the generator that is sampled; with decay 0 that is
the trained generator itself. (Averaging: Karras et al. 2017; Yazici et al. 2018, arXiv:1806.04498.)
"""

from experiments.tools.design import KID, Sweep, axis, length

SWEEP = Sweep(
    question="Does averaging the generator's parameters help, and over how many steps?",
    base="configs/dcgan.py",
    fixed={**KID, "log_every": 10},
    cells=axis("ema.decay", [0.0, 0.9, 0.99, 0.999]),
    metric="kid_efflite0",
    baseline={"ema.decay": "0.0"},
)
SHORT = {
    **length(500, evaluations=5),
    "sample_every": 500,
    "evaluation.num_samples": 200,
}
PRESETS = {"cgan": SWEEP._replace(base="configs/cgan.py", fixed={**SWEEP.fixed, **SHORT})}
