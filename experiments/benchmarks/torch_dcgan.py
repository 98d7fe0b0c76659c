"""The train step of DCGAN in PyTorch, a peer of ganjax and a reference of tests."""

from experiments.benchmarks.torch_logistic import LogisticPeer


class TorchDcgan(LogisticPeer):
    """The peer of `configs/dcgan.py` and, without its augmentation, of `configs/ada.py`."""

    IMPLEMENTS = LogisticPeer.IMPLEMENTS | {
        "generator.network": ("dcgan",),
        "discriminator.network": ("dcgan",),
        "order": ("alternating", "simultaneous"),
    }
