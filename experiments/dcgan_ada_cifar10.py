"""DCGAN without and with ADA on all, a fifth and a tenth of CIFAR-10; for a GPU or TPU.

    ganjax prepare --source=tfds:cifar10
    ganjax sweep dcgan_ada_cifar10
    ganjax sweep dcgan_ada_cifar10 --executor=slurm \\
        --slurm=partition=gpu,gpus_per_node=1,cpus_per_task=8,time=1440

ADA uses the paper's own pipeline and controller (Karras et al. 2020). FID and KID compare 10,000
samples with the 10,000 test images, by FID's Inception. Published FIDs compare 50,000 samples with
the training images, so they are not comparable; none are published for these six settings.
"""

from experiments.tools.configs import named
from experiments.tools.design import Cell, Sweep, axis, product, smoke

ADA = named("ada:cifar10").augment.to_dict()


def cells(ada: dict) -> list[Cell]:
    return product(
        axis("share of the images", {f"{n} %": {"data.fraction": n / 100} for n in (100, 20, 10)}),
        axis("augmentation", {"none": {}, "ADA": {"augment": ada}}),
    )


SWEEP = Sweep(
    question="What does ADA do for DCGAN on 100, 20 and 10 % of CIFAR-10?",
    base="configs/dcgan.py:cifar10",
    fixed={
        "log_every": 100,
        "evaluation.metrics": ("fid", "kid"),
        "evaluation.features": "inception",
        "evaluation.best": "fid_inception",
        "evaluation.num_samples": 10_000,
    },
    cells=cells(ADA),
    metric="fid_inception",
    baseline={"augmentation": "none"},
    also=("kid_inception", "d_real_gap", "aug_p"),
)
# The smoke test needs no download, and measures no leaks, for which it has too few images.
SMALLEST = smoke(
    SWEEP._replace(cells=cells({**ADA, "measure_leaks": False})),
    {
        "evaluation.features": "efflite0",
        "evaluation.metrics": ("kid",),
        "evaluation.best": "kid_efflite0",
    },
)
PRESETS = {"smoke": SMALLEST._replace(metric="kid_efflite0", also=("d_real_gap",))}
