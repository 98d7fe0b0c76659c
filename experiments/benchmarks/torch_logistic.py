"""The non-saturating losses of `ganjax.objectives.losses` in PyTorch."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from experiments.benchmarks.torch_peer import Peer


class LogisticPeer(Peer):
    """A peer that trains D with cross entropy, summed or averaged over its two halves.

    G's loss is the cross entropy of fakes with the target 1.
    """

    IMPLEMENTS = Peer.IMPLEMENTS | {"loss": ("non_saturating",)}

    def _d_loss(self, real, fake):
        loss = binary_cross_entropy_with_logits(real, torch.ones_like(real))
        loss = loss + binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        d_real_acc, d_fake_acc = _share(real > 0), _share(fake < 0)
        return {"sum": 1.0, "mean": 0.5}[self.config.d_halves] * loss, {
            "d_real_acc": d_real_acc,
            "d_fake_acc": d_fake_acc,
            "d_acc": (d_real_acc + d_fake_acc) / 2,
        }

    def _g_loss(self, fake):
        loss = binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
        return loss, {"g_acc": _share(fake > 0)}


def _share(hits: torch.Tensor) -> torch.Tensor:
    return hits.float().mean()
