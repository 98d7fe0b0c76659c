"""ganjax's DCGAN train step in PyTorch: the peer that is timed, and a test's twin."""

from experiments.benchmarks.torch_logistic import LogisticPeer


class TorchDcgan(LogisticPeer):
    """`configs/dcgan.py`: convolutions, alternating order."""

    IMPLEMENTS = LogisticPeer.IMPLEMENTS | {
        "generator.network": ("dcgan",),
        "discriminator.network": ("dcgan",),
    }
