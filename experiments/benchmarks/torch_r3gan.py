"""The train step of R3GAN in PyTorch, a peer of ganjax and a reference of tests."""

import torch
from torch.nn import functional

from experiments.benchmarks.torch_peer import ANY, Metrics, Peer


class TorchR3gan(Peer):
    """The peer of `configs/r3gan.py`, without labels and with constants in place of schedules."""

    IMPLEMENTS = Peer.IMPLEMENTS | {
        **{
            f"{player}.{field}": ANY
            for player in ("generator", "discriminator")
            for field in ("widths", "blocks", "group_width", "slope")
        },
        "generator.network": ("r3gan",),
        "generator.bfloat16_stages": (0,),
        "discriminator.network": ("r3gan",),
        "discriminator.bfloat16_stages": (0,),
        "conditioning.generator": ("none",),
        "conditioning.discriminator": ("none",),
        "loss": ("relativistic_paired",),
        "penalty.r1": ANY,
        "penalty.r2": ANY,
        "penalty.difference": (0.0,),
    }

    def _alternating(self, batches, noise) -> Metrics:
        """Updates D on the first reals and then G, which sees reals of its own."""
        (of_d, of_g), (d_noise, g_noise) = batches, noise
        metrics = self._update_d(of_d, d_noise)
        self._reals_of_g = of_g
        return metrics | self._update_g(of_g, g_noise)

    def _d_loss(self, real, fake):
        d_acc = (real > fake).float().mean()
        metrics = {"d_acc": d_acc, "d_real_acc": d_acc, "d_fake_acc": d_acc}
        return functional.softplus(fake - real).mean(), metrics

    def _g_loss(self, fake):
        batch = self._reals_of_g
        real = self.discriminator(self._reals(batch), batch["label"])
        g_acc = (fake > real).float().mean()
        return functional.softplus(real - fake).mean(), {"g_acc": g_acc}

    def _penalty(self, real, fake, label, noise):
        fields, metrics = self.config.penalty, {}
        for name, images in (("r1", real), ("r2", fake)):
            images = images.detach().requires_grad_()
            score = self.discriminator(images, label).sum()
            (slope,) = torch.autograd.grad(score, images, create_graph=True)
            metrics[name] = slope.square().sum((1, 2, 3)).mean() / 2
        weighted = fields.r1 * metrics["r1"] + fields.r2 * metrics["r2"]
        return weighted, {name: value.detach() for name, value in metrics.items()}
