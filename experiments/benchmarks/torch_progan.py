"""The train step of ProGAN at its last resolution in PyTorch."""

from experiments.benchmarks.torch_peer import ANY
from experiments.benchmarks.torch_wgan_gp import TorchWganGp


class TorchProgan(TorchWganGp):
    """The peer of `configs/progan.py` without lower resolutions, with growth.batch_sizes of ()."""

    IMPLEMENTS = TorchWganGp.IMPLEMENTS | {
        "conditioning.generator": ("none",),
        "conditioning.discriminator": ("none",),
        "generator.network": ("progan",),
        "discriminator.network": ("progan",),
        "growth.batch_sizes": ((),),
        "growth.learning_rates": ((),),
        "growth.fade_reals": ANY,
        "growth.stabilise_reals": ANY,
        "drift": ANY,
    }

    def _d_loss(self, real, fake):
        loss, metrics = super()._d_loss(real, fake)
        return loss + self.config.drift * real.square().mean(), metrics
