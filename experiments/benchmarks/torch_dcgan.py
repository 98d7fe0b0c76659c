"""The train step of DCGAN in PyTorch: a peer, and a reference in tests."""

from experiments.benchmarks.torch_logistic import LogisticPeer


class TorchDcgan(LogisticPeer):
    """`configs/dcgan.py` and, without its augmentation, `configs/ada.py`."""

    IMPLEMENTS = LogisticPeer.IMPLEMENTS | {
        "generator.network": ("dcgan",),
        "discriminator.network": ("dcgan",),
        "order": ("alternating", "simultaneous"),
    }
