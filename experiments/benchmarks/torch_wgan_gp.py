"""ganjax's WGAN-GP train step in eager PyTorch: the peer that is timed, and a test's twin."""

import torch

from experiments.benchmarks.torch_networks import Peer, discriminator, require, to_numpy
from ganjax.algorithms.wgan_gp import Config
from ganjax.keys import fold
from ganjax.penalties import uniform_alpha


class TorchWganGp(Peer):
    """`ganjax.algorithms.wgan_gp`. Besides z, an update of the critic draws alpha (N, 1, 1, 1)."""

    def __init__(self, config: Config, **options):
        """As `Peer`.

        Args:
          config: as for `ganjax.algorithms.wgan_gp.build`.
          **options: channels_last and dtype.
        """
        require(config, {"penalty.side": "two", "penalty.alpha": "uniform", "critic.dropout": 0.0})
        widths = config.critic.widths
        critic = discriminator(
            config.data.channels, widths, (False,) * len(widths), config.critic.slope
        )
        super().__init__(config, critic, d_stddev=0.02, n_critic=config.n_critic, **options)

    def draw(self, n):
        *of_d, of_g = super().draw(n)
        return [one | {"alpha": torch.rand(n, 1, 1, 1, dtype=self.dtype)} for one in of_d] + [of_g]

    @staticmethod
    def noise_of(algorithm, key, step, n):
        *of_d, of_g = Peer.noise_of(algorithm, key, step, n)
        for i, one in enumerate(of_d):
            at = fold(key, "train", step, "d", i, "penalty", "alpha")
            one["alpha"] = to_numpy(uniform_alpha(at, (n, 1, 1, 1)))
        return [*of_d, of_g]

    def _update_d(self, images, z, alpha):
        real, fake = self._reals(images), self._fakes(z)
        # Two passes: one over both, concatenated, is no faster.
        loss = self.discriminator(fake).mean() - self.discriminator(real).mean()
        between = torch.lerp(real, fake, alpha).requires_grad_()
        score = self.discriminator(between).sum()
        (slope,) = torch.autograd.grad(score, between, create_graph=True)
        norms = (slope.square().sum((1, 2, 3)) + 1e-12).sqrt()
        penalty = (norms - self.config.penalty.target).square().mean()
        metrics = {"c_wass_loss": loss.detach(), "c_gp": penalty.detach()}
        return metrics | self._descend_d(loss + self.config.penalty.weight * penalty)

    def _g_loss(self, fake):
        return -fake.mean(), {}
