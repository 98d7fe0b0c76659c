"""The points of the gradient penalty, by uniform or by normal weights of real and fake.

    ganjax sweep penalty_points

It trains WGAN-GP on the embedded digits. The paper (Gulrajani et al. 2017) draws alpha ~ U(0, 1),
which interpolates between real and fake. Common tutorials draw alpha ~ N(0, 1), which extrapolates
in two cases of three.
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
