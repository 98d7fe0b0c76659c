"""Augmentation of what D sees, in both players' losses, added to any algorithm."""

import jax.numpy as jnp

from ganjax.augment.policies import Augmentation
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.meanings import Meaning
from ganjax.keys import fold
from ganjax.objectives.losses import Loss

MEANINGS = {
    "aug_p": Meaning(
        "the probability of each augmentation of the images that D sees",
        least=0,
        most=1,
        reading="a controller raises it where D overfits; at its cap, config.augment.controller."
        "p_max, D overfits still, and near 1 augmentations leak into samples (Karras et al. 2020)",
    ),
    "r_t": Meaning(
        "E[sign(D(real))], a measure of D's overfitting",
        least=-1,
        most=1,
        reading="0 where D does not overfit and 1 where it does wholly; ADA holds it near 0.6 "
        "(Karras et al. 2020)",
    ),
}


def with_augmentation(algorithm: Algorithm, augmentation: Augmentation, loss: Loss) -> Algorithm:
    """Returns an algorithm in which D sees augmented images, with a controlled probability.

    Reals and fakes are augmented by separate draws. D's loss has two more metrics: aug_p, the
    probability in this step, and, for losses with logits, r_t = E[sign(D(real))] (Karras et al.
    2020, arXiv:2006.06676, equation 1), which the controller watches.

    Args:
      algorithm: an algorithm whose D sees images as they are, except in its penalty, which must
        have been built with `augmentation`.
      augmentation: the augmentation of D's images.
      loss: the algorithm's loss.
    """

    def discriminate(params, vars, fake, context):
        def seen(batch, name):
            key = fold(context.key, name)
            image = augmentation.apply(batch["image"], context._replace(key=key))
            return {**batch, "image": image}

        reals = seen(context.batch, "real")
        fakes = seen(fake, "fake")
        return algorithm.discriminate(params, vars, fakes, context._replace(batch=reals))

    def d_loss(scores, context):
        value, metrics = algorithm.d_loss(scores, context)
        metrics = {**metrics, "aug_p": augmentation.probability(context)}
        if loss.logits is not None:
            metrics["r_t"] = jnp.mean(jnp.sign(loss.logits(*scores[:2])[0]))
        return value, metrics

    def aug_update(aug, metrics):
        return augmentation.controller.update(aug, metrics.get("r_t"))

    return algorithm._replace(
        discriminate=discriminate,
        d_loss=d_loss,
        aug_init=augmentation.controller.init,
        aug_update=aug_update,
        leaks=augmentation.leaks,
        last_values=(*algorithm.last_values, "aug_p"),
        meanings={**algorithm.meanings, **MEANINGS},
    )
