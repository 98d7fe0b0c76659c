"""The critic's updates for each update of the generator, and the weight of its penalty.

    ganjax sweep n_critic_and_penalty_weight

It trains WGAN-GP on the embedded digits. The more often a cell updates the critic in a step, the
fewer steps it takes, so that all cells update the critic equally often, see the same number of
images and take about the same time.
"""

from experiments.tools.design import KID, Sweep, axis, length, product

CRITIC_UPDATES = 9_000
# The images that the critic sees in as many updates, over which rates fall.
IMAGES = {f"{each}_optimiser.learning_rate.over": 16 * CRITIC_UPDATES for each in "gd"}


def n_critic(n: int) -> dict:
    return {"n_critic": n, **length(CRITIC_UPDATES // n, evaluations=15)}


SWEEP = Sweep(
    question="For as many images, how should critic and generator share the updates, and how "
    "strongly should the critic's gradient be held?",
    base="configs/wgan_gp.py",
    fixed=KID | {"batch_size": 16} | IMAGES,
    cells=product(
        axis("n_critic", {str(n): n_critic(n) for n in (1, 3, 5)}),
        axis("penalty.weight", [1.0, 10.0, 30.0, 100.0]),
    ),
    metric="kid_efflite0",
    baseline={"n_critic": "5", "penalty.weight": "10.0"},
    also=("c_wass_loss",),
)
