"""How long the generator's moving average should remember.

    python -m experiments.sweep --sweep=experiments/ema_decay.py
    python -m experiments.sweep --sweep=experiments/ema_decay.py:cgan    # minutes

DCGAN on the embedded digits, or the dense conditional GAN for 1,000 steps. The training itself is the same in all cells of a seed: only what
is sampled differs (decay 0 samples the generator as it is; Karras et al. 2017, Yazici et al. 2018).
"""

from experiments.tools.design import Sweep, axis

SWEEP = Sweep(
    question="Does averaging the generator's parameters help, and over how many steps?",
    base="configs/dcgan.py",
    fixed={
        "log_every": 10,
        "evaluation.metrics": ("kid",),
        "evaluation.best": "kid_efflite0",
        "evaluation.num_samples": 500,
    },
    cells=axis("ema.decay", [0.0, 0.9, 0.99, 0.999]),
    metric="kid_efflite0",
    baseline={"ema.decay": "0.0"},
)
SHORT = {
    "total_steps": 1_000,
    "eval_every": 200,
    "sample_every": 1_000,
    "checkpoint_every": 200,
    "evaluation.num_samples": 300,
}
PRESETS = {"cgan": SWEEP._replace(base="configs/cgan.py", fixed={**SWEEP.fixed, **SHORT})}
