"""The train step of WGAN-GP in PyTorch, a peer of ganjax and a reference of tests."""

import torch

from experiments.benchmarks.torch_peer import ANY, Peer


class TorchWganGp(Peer):
    """The peer of `configs/wgan_gp.py` and, with labels, of `configs/cwgan_gp.py`."""

    IMPLEMENTS = Peer.IMPLEMENTS | {
        "generator.network": ("dcgan",),
        "discriminator.network": ("dcgan",),
        "discriminator.batch_norm": ("none",),
        "loss": ("wasserstein",),
        "penalty.weight": ANY,
    }

    def _d_loss(self, real, fake):
        loss = fake.mean() - real.mean()
        return loss, {"c_wass_loss": loss.detach()}

    def _g_loss(self, fake):
        return -fake.mean(), {}

    def _penalty(self, real, fake, label, noise):
        fields = self.config.penalty
        if not fields.weight:
            return 0.0, {}
        # Under autocast the fakes have another dtype.
        between = torch.lerp(real, fake.to(real.dtype), noise["alpha"]).requires_grad_()
        score = self.discriminator(between, label).sum()
        (slope,) = torch.autograd.grad(score, between, create_graph=True)
        norms = (slope.square().sum((1, 2, 3)) + 1e-12).sqrt()
        penalty = (norms - fields.target).square().mean()
        return fields.weight * penalty, {"c_gp": penalty.detach()}
