"""The train step of the conditional GAN in PyTorch, a peer of ganjax and a reference of tests."""

from experiments.benchmarks.torch_logistic import LogisticPeer


class TorchCgan(LogisticPeer):
    """The peer of `configs/cgan.py`: dense layers, both players updated simultaneously."""

    IMPLEMENTS = LogisticPeer.IMPLEMENTS | {
        "generator.network": ("mlp",),
        "discriminator.network": ("mlp",),
        "order": ("simultaneous",),
    }
