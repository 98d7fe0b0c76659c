"""R3GAN: a relativistic loss of pairs and two gradient penalties (Huang et al. 2024).

ganjax train r3gan               digits at 32x32, 10 minutes on two CPU cores
ganjax train r3gan:emoji         all emoji at 32x32
ganjax train r3gan:folder        your images at 64x64, by --config.data.source=folder:PATH
ganjax train r3gan:cifar10       CIFAR-10 by label, at the paper's scale, for GPUs or TPUs
ganjax train r3gan:ffhq_64       the faces of FFHQ at 64x64, of a folder
ganjax train r3gan:ffhq_256      the same at 256x256
ganjax train r3gan:imagenet_32   ImageNet by label at 32x32
ganjax train r3gan:imagenet_64   the same at 64x64
"""

from functools import partial

from ganjax.algorithms import gan
from ganjax.augment import colour
from ganjax.config import presets
from ganjax.engine.schedules import schedule

FACES = {"source": "folder:ffhq", "mirror": True}
LABELS = {"label": "label", "num_classes": 1_000, "mirror": True}
CIFAR10 = LABELS | {"source": "tfds:cifar10", "num_classes": 10, "on_device": True}
IMAGENET = [LABELS | {"source": f"tfds:imagenet_resized/{n}x{n}"} for n in (32, 64)]
ROWS = {  # Images, size, widths, batch, reals of the changes, gamma, half-life, augmentation.
    "cifar10": (CIFAR10, 32, (768,) * 4, 512, 20_000_000, 0.05, 5_000_000, 0.55),
    "ffhq_64": (FACES, 64, (*(768,) * 4, 384), 256, 20_000_000, 2.0, 500_000, 0.3),
    "ffhq_256": (FACES, 256, (*(768,) * 4, 384, 192, 96), 256, 20_000_000, 150.0, 500_000, 0.3),
    "imagenet_32": (IMAGENET[0], 32, (1_536,) * 4, 4_096, 200_000_000, 0.5, 50_000_000, 0.5),
    "imagenet_64": (IMAGENET[1], 64, (1_536,) * 5, 4_096, 200_000_000, 1.0, 50_000_000, 0.4),
    "folder": (FACES, 64, (*(192,) * 4, 96), 64, 2_000_000, 2.0, 50_000, 0.3),  # (choice)
}


def r3gan(over, gamma, half_life, network, rate=(2e-4, 5e-5), **fields):
    """Returns the method's config, whose numbers follow a cosine over `over` reals, then stay."""

    def cosine(start, end):
        return schedule(start=start, end=end, over=over)

    network = {"network": "r3gan", **network}
    adam = {"name": "adam", "learning_rate": cosine(*rate), "b1": 0.0, "b2": cosine(0.9, 0.99)}
    return gan.base(
        loss="relativistic_paired",
        penalty=dict.fromkeys(("r1", "r2"), cosine(*gamma)),
        **dict.fromkeys(("generator", "discriminator"), network),
        **dict.fromkeys(("g_optimiser", "d_optimiser"), adam),
        ema={"half_life": cosine(0.0, half_life), "warm_up": False},
        latent_dim=64,
        **fields,
    )


def digits(source="embedded:mnist5k", **data):
    scale = {"total_steps": 5_000, "batch_size": 16, "image_size": 32}
    network = {"widths": (96, 64, 32, 16), "blocks": 1}  # As all numbers here, for CPUs (choice).
    data = {"source": source} | (data or {"channels": 1, "fit": "pad"})
    config = r3gan(75_000, (25.0, 5.0), 2_000, network, (2e-3, 5e-4), data=data, **scale)
    config.sample_every = config.eval_every = config.checkpoint_every = 500
    config.steps_per_dispatch = 5  # To start a step takes some hundredths of it (choice).
    return config


def emoji():
    return digits("embedded:emoji64", mirror=True)


def row(data, size, widths, batch_size, over, gamma, half_life, p):
    """Returns a row of the paper's tables, for five times the changing numbers' reals (choice)."""
    augment = {"policy": "ada", "families": ("blit", "geometric", "colour", "corrupt")}
    augment["multipliers"] = (*((name, 0.5) for name in colour.TRANSFORMS), ("noise", 0.0))
    augment["controller"] = {"name": "fixed", "p": schedule(start=0.0, end=p, over=over)}
    network = {"widths": widths, "group_width": 32 if widths[0] > 768 else 16}
    network["bfloat16_stages"] = min(4, len(widths) - 1)  # The paper has the upper ones (choice).
    scale = {"total_steps": 5 * over // batch_size, "batch_size": batch_size, "image_size": size}
    gammas = (gamma, gamma / 10)
    config = r3gan(over, gammas, half_life, network, augment=augment, data=data, **scale)
    gan.at_scale(config).ema.decay = 0.0  # It has a half-life.
    if "label" in data:
        config.conditioning.update(generator="embedding", discriminator="projection")
        config.conditioning.embedding_dim = 64
    return config


get_config = presets(digits, emoji, **{name: partial(row, *ROWS[name]) for name in ROWS})
