"""ganjax's conditional GAN train step in PyTorch: the peer that is timed, and a test's twin."""

from experiments.benchmarks.torch_logistic import LogisticPeer


class TorchCgan(LogisticPeer):
    """`configs/cgan.py`, in the form of tutorials: dense layers, simultaneous order."""

    IMPLEMENTS = LogisticPeer.IMPLEMENTS | {
        "generator.network": ("mlp",),
        "discriminator.network": ("mlp",),
        "order": ("simultaneous",),
    }
