"""ganjax's DCGAN train step in eager PyTorch: the peer that is timed, and a test's twin."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from experiments.benchmarks.torch_networks import Peer, discriminator, require
from ganjax.algorithms.dcgan import Config


class TorchDcgan(Peer):
    """`ganjax.algorithms.dcgan` as in the paper: D's halves summed, its targets 1 and 0."""

    def __init__(self, config: Config, **options):
        """As `Peer`.

        Args:
          config: as for `ganjax.algorithms.dcgan.build`.
          **options: channels_last and dtype.
        """
        paper = {
            "d_loss": "sum",
            "labels.noise": 0.0,
            "labels.flip": 0.0,
            "discriminator.dropout": 0.0,
            "discriminator.batch_norm": "all_but_first",
        }
        require(config, paper)
        d = config.discriminator
        batch_norm = (False,) + (True,) * (len(d.widths) - 1)
        network = discriminator(config.data.channels, d.widths, batch_norm, d.slope)
        super().__init__(config, network, d_stddev=d.init_stddev, **options)

    def _update_d(self, images, z):
        # Apart, so that BatchNorm's statistics are of reals alone and of fakes alone; in this
        # order, in which its averages see them.
        real = self.discriminator(self._reals(images))
        fake = self.discriminator(self._fakes(z))
        loss = binary_cross_entropy_with_logits(real, torch.ones_like(real))
        loss = loss + binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        d_real_acc, d_fake_acc = _share(real > 0), _share(fake < 0)
        metrics = {
            "d_real_acc": d_real_acc,
            "d_fake_acc": d_fake_acc,
            "d_acc": (d_real_acc + d_fake_acc) / 2,
        }
        return metrics | self._descend_d(loss)

    def _g_loss(self, fake):
        loss = binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
        return loss, {"g_acc": _share(fake > 0)}


def _share(hits: torch.Tensor) -> torch.Tensor:
    return hits.float().mean()
