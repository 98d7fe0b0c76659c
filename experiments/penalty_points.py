"""Where the gradient penalty holds the critic: uniform against normal weights of real and fake.

    python -m experiments.sweep --sweep=experiments/penalty_points.py

WGAN-GP on the embedded digits. The paper (Gulrajani et al. 2017) draws alpha ~ U(0, 1), which
interpolates; alpha ~ N(0, 1), of widespread tutorials, extrapolates half of the time.
"""

from experiments.tools.design import KID, Sweep, axis

SWEEP = Sweep(
    question="Does it matter that the penalty's points lie between reals and fakes?",
    base="configs/wgan_gp.py",
    fixed=KID,
    cells=axis("penalty.points", ["uniform", "normal"]),
    metric="kid_efflite0",
    baseline={"penalty.points": "uniform"},
    also=("c_wass_loss", "c_gp"),
)
