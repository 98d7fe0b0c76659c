"""The train step of the conditional GAN in PyTorch: a peer, and a reference in tests."""

from experiments.benchmarks.torch_logistic import LogisticPeer


class TorchCgan(LogisticPeer):
    """`configs/cgan.py`: dense layers, both players updated simultaneously."""

    IMPLEMENTS = LogisticPeer.IMPLEMENTS | {
        "generator.network": ("mlp",),
        "discriminator.network": ("mlp",),
        "order": ("simultaneous",),
    }
