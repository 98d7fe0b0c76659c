"""What presets of the papers' scale state, as tables that were made by hand from the papers.

Of each preset every field that its paper gives, or that is marked as a choice, stands here; all
others are at their defaults, which mean "without it".
"""

CELEB_A = {"source": "tfds:celeb_a"}
CIFAR10 = {"source": "tfds:cifar10", "on_device": True}
# What presets of this scale share (choice).
AT_SCALE = {
    "log_every": 100,
    "ema": {"decay": 0.999, "half_life": 0, "warm_up": True},
    "evaluation": {"metrics": ("kid",), "num_samples": 5_000, "best": "kid_efflite0"},
}
# Radford et al. 2015, section 4, and Adam's eps of Kingma & Ba 2014.
DCGAN = {
    **AT_SCALE,
    "algorithm": "gan",
    "latent": "normal",
    "latent_dim": 100,
    "generator": {
        "network": "dcgan",
        "widths": (512, 256, 128, 64),
        "slope": 0.0,
        "init_stddev": 0.02,
        "upsample": "transpose",
        "output": "tanh",
        "output_bias": False,
    },
    "discriminator": {
        "network": "dcgan",
        "widths": (64, 128, 256, 512),
        "slope": 0.2,
        "init_stddev": 0.02,
        "batch_norm": "all_but_first",
        "dropout": 0.0,
    },
    "batch_norm": {"momentum": 0.9, "epsilon": 1e-5, "scale": True},
    "loss": "non_saturating",
    "d_halves": "sum",
    "order": "alternating",
    "n_critic": 1,
    "g_optimiser": {"name": "adam", "learning_rate": 2e-4, "b1": 0.5, "b2": 0.999, "eps": 1e-8},
    "d_optimiser": {"name": "adam", "learning_rate": 2e-4, "b1": 0.5, "b2": 0.999, "eps": 1e-8},
}
# Arjovsky et al. 2017, algorithm 1; PyTorch's b2 and eps, as in the authors' code.
RMSPROP = {"name": "rmsprop", "learning_rate": 5e-5, "b2": 0.99, "eps": 1e-8, "decay": "none"}
# Gulrajani et al. 2017, algorithm 1.
WGAN_GP_ADAM = {"name": "adam", "learning_rate": 1e-4, "b1": 0.0, "b2": 0.9, "eps": 1e-8}
# Miyato et al. 2018, section 4.1 and tables 3 and 4.
SNGAN_ADAM = {"name": "adam", "learning_rate": 2e-4, "b1": 0.0, "b2": 0.9, "decay": "linear"}
SNGAN = {
    **AT_SCALE,
    "algorithm": "gan",
    "image_size": 32,
    "data": CIFAR10,
    "latent_dim": 128,
    "batch_size": 64,
    "total_steps": 100_000,
    "generator": {
        "network": "resnet",
        "widths": (256, 256, 256),
        "slope": 0.0,
        "init_stddev": 0.0,
        "spectral_norm": False,
        "output": "tanh",
    },
    "discriminator": {
        "network": "resnet",
        "widths": (128, 128, 128, 128),
        "final_size": 8,
        "slope": 0.0,
        "init_stddev": 0.0,
        "batch_norm": "none",
        "spectral_norm": True,
    },
    "loss": "hinge",
    "d_batches": "joint",
    "order": "alternating",
    "n_critic": 5,
    "critic_reals": "fresh",
    "g_optimiser": SNGAN_ADAM,
    "d_optimiser": SNGAN_ADAM,
}
# Mirza & Osindero 2014, section 4.1.
SGD = {
    "name": "sgd",
    "learning_rate": 0.1,
    "decay_factor": 1.00004,
    "min_learning_rate": 1e-6,
    "momentum": 0.5,
    "final_momentum": 0.7,
    "momentum_updates": 125_000,
}
MNIST = {"label": "label", "num_classes": 10, "channels": 1, "fit": "pad"}
CGAN = {
    "algorithm": "gan",
    "image_size": 28,
    "latent": "uniform",
    "latent_dim": 100,
    "batch_size": 100,
    "total_steps": 300_000,
    "log_every": 100,
    "generator": {
        "network": "maxout",
        "latent_width": 200,
        "label_width": 1_000,
        "joint_width": 1_200,
        "dropout": 0.5,
        "sample_dropout": True,
        "init_stddev": 0.05,
    },
    "discriminator": {
        "network": "maxout",
        "image_maxout": (240, 5),
        "label_maxout": (50, 5),
        "joint_maxout": (240, 4),
        "dropout": 0.5,
        "init_stddev": 0.005,
    },
    "conditioning": {
        "generator": "one_hot",
        "discriminator": "one_hot",
        "fake_labels": "reals",
    },
    "loss": "non_saturating",
    "order": "simultaneous",
    "d_halves": "mean",
    "g_optimiser": SGD,
    "d_optimiser": SGD,
    "ema": {"decay": 0.999},
    "evaluation": {"log_likelihood": 1_000, "best": "val_log_likelihood", "patience": 20},
}
# Karras et al. 2017, section 3 and appendix A.
PROGAN_ADAM = {"name": "adam", "learning_rate": 1e-3, "b1": 0.0, "b2": 0.99, "eps": 1e-8}
PROGAN = {
    "algorithm": "progan",
    "latent": "normal",
    "latent_dim": 512,
    "log_every": 100,
    "loss": "wasserstein",
    "penalty": {"weight": 10.0, "target": 1.0, "side": "two", "points": "uniform"},
    "drift": 1e-3,
    "n_critic": 1,
    "ema": {"decay": 0.999, "warm_up": False},
    "evaluation": {"metrics": ("kid",), "num_samples": 5_000, "best": "none"},
}
WIDTHS = (512, 512, 512, 512, 256, 128, 64, 32, 16)
# Karras et al. 2020, sections 2.2 and 2.3, by the networks of Keras' example (choice).
KERAS_ADAM = {"name": "adam", "learning_rate": 2e-4, "b1": 0.5, "b2": 0.999, "eps": 1e-7}
ADA = {
    "algorithm": "gan",
    "latent_dim": 64,
    "batch_size": 128,
    "total_steps": 100_000,
    "log_every": 100,
    "sample_grid": (3, 6),
    "generator": {"first_norm": "unit", "init_stddev": 0.0, "output_bias": True},
    "discriminator": {"batch_norm": "all", "final_dropout": 0.4, "init_stddev": 0.0},
    "batch_norm": {"scale": False, "momentum": 0.99, "epsilon": 1e-3},
    "augment": {
        "policy": "ada",
        "families": ("blit", "geometric", "colour"),
        "multipliers": (),
        "measure_leaks": True,
        "controller": {
            "name": "r_t",
            "p": 0.0,
            "p_max": 0.8,
            "target": 0.6,
            "interval": 4,
            "reals_to_one": 500_000,
        },
    },
    "order": "simultaneous",
    "d_halves": "mean",
    "g_optimiser": KERAS_ADAM,
    "d_optimiser": KERAS_ADAM,
    "ema": {"decay": 0.99, "warm_up": False},
    "evaluation": AT_SCALE["evaluation"],
}


def of(table, **parts):
    """A table in which parts have some other fields."""
    return table | {
        name: {**table.get(name, {}), **part} if isinstance(part, dict) else part
        for name, part in parts.items()
    }


TABLES = {
    "dcgan:celeb_a": of(
        DCGAN, image_size=64, data=CELEB_A, batch_size=128, total_steps=100_000, log_every=1
    ),
    "dcgan:cifar10": of(
        DCGAN,
        image_size=32,
        data=CIFAR10,
        batch_size=128,
        total_steps=100_000,
        log_every=1,
        generator={"widths": (256, 128, 64)},
        discriminator={"widths": (64, 128, 256)},
    ),
    "wgan:celeb_a": of(
        DCGAN,
        image_size=64,
        data=CELEB_A,
        batch_size=64,
        total_steps=200_000,
        loss="wasserstein",
        weight_clip=0.01,
        n_critic=5,
        critic_reals="fresh",
    )
    | {"g_optimiser": RMSPROP, "d_optimiser": RMSPROP},
    "wgan_gp:celeb_a": of(
        DCGAN,
        image_size=64,
        data=CELEB_A,
        latent_dim=128,
        batch_size=64,
        total_steps=200_000,
        generator={"slope": 0.2},
        discriminator={"batch_norm": "none"},
        loss="wasserstein",
        penalty={"weight": 10.0, "target": 1.0, "side": "two", "points": "uniform"},
        n_critic=5,
        critic_reals="fresh",
        g_optimiser=WGAN_GP_ADAM,
        d_optimiser=WGAN_GP_ADAM,
    ),
    "sngan:cifar10": SNGAN,
    "sngan:cifar10_projection": of(
        SNGAN,
        data={"label": "label", "num_classes": 10},
        conditioning={
            "generator": "batch_norm",
            "discriminator": "projection",
            "fake_labels": "uniform",
        },
    ),
    "cgan:paper": of(CGAN, data={"source": "tfds:mnist", **MNIST}),
    "cgan:paper_mnist5k": of(
        CGAN,
        data={"source": "embedded:mnist5k", "num_examples": 4_000, **MNIST},
        log_every=40,
    )
    | {"sample_every": 1_000, "eval_every": 1_000, "checkpoint_every": 1_000},
    "ada:cifar10": of(
        ADA,
        image_size=32,
        data=CIFAR10,
        generator={"widths": (128, 128, 128), "output": "sigmoid"},
        discriminator={"widths": (128, 128, 128)},
    ),
    "ada:celeb_a": of(
        ADA,
        image_size=64,
        data=CELEB_A,
        generator={"widths": (128, 128, 128, 128), "output": "sigmoid"},
        discriminator={"widths": (128, 128, 128, 128)},
    ),
    "progan:celeb_a_64": of(
        PROGAN,
        image_size=64,
        data={**CELEB_A, "label": "attributes/Smiling", "num_classes": 2, "mirror": True},
        batch_size=32,
        total_steps=79_690,
        generator={"widths": WIDTHS[:5]},
        discriminator={"widths": WIDTHS[:5]},
        growth={
            "batch_sizes": (128, 128, 128, 64),
            "learning_rates": (1e-3, 1e-3, 1e-3, 1e-3),
            "fade_reals": 600_000,
            "stabilise_reals": 600_000,
        },
        g_optimiser=PROGAN_ADAM,
        d_optimiser=PROGAN_ADAM,
    ),
    "progan:celeb_a_hq_1024": of(
        PROGAN,
        image_size=1_024,
        data={"source": "tfds:celeb_a_hq/1024", "mirror": True},
        batch_size=4,
        total_steps=1_206_250,
        sample_every=5_000,
        eval_every=5_000,
        checkpoint_every=5_000,
        generator={"widths": WIDTHS},
        discriminator={"widths": WIDTHS},
        growth={
            "batch_sizes": (128, 128, 128, 64, 32, 16, 8, 4),
            "learning_rates": (1e-3,) * 8,
            "fade_reals": 800_000,
            "stabilise_reals": 800_000,
        },
        g_optimiser={**PROGAN_ADAM, "learning_rate": 1.5e-3},
        d_optimiser={**PROGAN_ADAM, "learning_rate": 1.5e-3},
    ),
}
