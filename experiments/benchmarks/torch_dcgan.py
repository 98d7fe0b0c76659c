"""ganjax's DCGAN train step in PyTorch: the peer that is timed, and a test's twin."""

from experiments.benchmarks.torch_logistic import LogisticPeer


class TorchDcgan(LogisticPeer):
    """`configs/dcgan.py` and, without its augmentation, `configs/ada.py`: convolutions."""

    IMPLEMENTS = LogisticPeer.IMPLEMENTS | {
        "generator.network": ("dcgan",),
        "discriminator.network": ("dcgan",),
        "order": ("alternating", "simultaneous"),
    }
