"""Which objectives cover the 1,000 modes of Stacked MNIST, with four seeds each.

    ganjax sweep mode_coverage
    ganjax sweep mode_coverage:paper    at the paper's scale, for GPUs

The question of Huang et al. 2024 (arXiv:2501.05441), section 2: does a paired relativistic loss
with R1 and R2 cover modes that others drop? The digits are 5,000, where the original draws from
MNIST's 60,000. `modes_digits` and `reverse_kl_digits` are of 25,600 samples; those of as many
held-out images stand beside them. Networks are DCGAN's without BatchNorm in D, which penalties do
not allow, at 16x16 and so small that the 52 runs take less than two hours on two cores.
docs/results/mode_coverage.md has the answer. At the paper's scale the seeds of a cell share a
program.
"""

from experiments.tools.design import Sweep, axis, chain, length, product

GAMMA = 1.0
PENALTIES = {
    "none": {},
    "R1": {"penalty.r1": GAMMA},
    "R2": {"penalty.r2": GAMMA},
    "R1 + R2": {"penalty.r1": GAMMA, "penalty.r2": GAMMA},
    # Lin et al. 2025 (arXiv:2511.22475).
    "R1 + R2 by differences": {
        "penalty.r1": GAMMA,
        "penalty.r2": GAMMA,
        "penalty.difference": 0.01,
    },
}

SWEEP = Sweep(
    question="Which losses and penalties cover the modes of Stacked MNIST?",
    base="configs/dcgan.py",
    fixed={
        "data.source": "embedded:stacked_mnist",
        "data.channels": 3,
        "data.fit": "resize",
        "image_size": 16,
        "generator.widths": (64, 32),
        "discriminator.widths": (32, 64),
        "discriminator.batch_norm": "none",
        "g_optimiser.b1": 0.0,
        "d_optimiser.b1": 0.0,
        "d_optimiser.learning_rate": 1e-3,
        "ema.decay": 0.999,
        "log_every": 50,
        "evaluation.metrics": ("modes",),
        "evaluation.features": "digits",
        "evaluation.num_samples": 25_600,
        "evaluation.best": "modes_digits",
        **length(3_000, evaluations=5),
    },
    cells=chain(
        product(
            axis("loss", ["relativistic_paired", "non_saturating"]), axis("penalty", PENALTIES)
        ),
        # Takida et al. 2023 (arXiv:2301.12811).
        product(
            axis("loss", ["relativistic_paired", "non_saturating"]),
            axis("penalty", {"R1 + R2, SAN": {**PENALTIES["R1 + R2"], "san": True}}),
        ),
        # Gulrajani et al. 2017.
        product(
            axis("loss", {"wasserstein": {"loss": "wasserstein"}}),
            axis("penalty", {"gradient penalty": {"penalty.weight": 10.0}}),
        ),
    ),
    metric="modes_digits",
    baseline={"loss": "non_saturating", "penalty": "none"},
    seeds=4,
    also=("reverse_kl_digits", "legible_digits", "modes_real_digits"),
)
PRESETS = {
    "paper": SWEEP._replace(
        fixed={
            **SWEEP.fixed,
            "data.fit": "pad",
            "image_size": 32,
            "g_optimiser.learning_rate": 2e-4,
            "d_optimiser.learning_rate": 2e-4,
            "generator.widths": (512, 256, 128),
            "discriminator.widths": (128, 256, 512),
            "batch_size": 256,
            **length(50_000, evaluations=10),
        },
        together=True,
    )
}
