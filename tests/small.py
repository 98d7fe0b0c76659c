"""Shipped configs as they are and shrunk, and small sets of images and arrays."""

import contextlib
import runpy
import tarfile
from functools import partial

import jax
import numpy as np
import pytest
from conftest import ROOT
from ml_collections import ConfigDict
from PIL import Image

from ganjax.algorithms.optimisers import AdamFields
from ganjax.config import defaults
from ganjax.parallel.sharding import make_layout


@contextlib.contextmanager
def on_one_device():
    """Lets runs take one device: their programs compile sooner, and a save writes no shards."""
    with pytest.MonkeyPatch.context() as patch:
        one = partial(make_layout, jax.devices()[:1])
        patch.setattr("ganjax.training.setup.make_layout", one)
        yield


def mock_tfds(count):
    """Lets every TFDS set have `count` examples of random numbers, in a context."""
    import tensorflow_datasets as tfds

    return tfds.testing.mock_data(num_examples=count)


def extract(archive, folder):
    """Unpacks a tar file as data; Python has that filter from 3.11.4 on."""
    archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def write_images(folder, count, size=64):
    """Writes `count` PNG files of grey noise, size x size, to a new folder, and returns it."""
    folder.mkdir(parents=True)
    noise = np.random.RandomState(0).randint(0, 256, (count, size, size), np.uint8)
    for i, image in enumerate(noise):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    return folder


def shipped(name: str, preset: str = ""):
    """Returns the config of `configs/<name>.py:<preset>`."""
    return runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"](preset)


# Every shipped config: the file's name, and the preset's, "" for the default.
SHIPPED = [
    (path.stem, preset)
    for path in sorted((ROOT / "configs").glob("*.py"))
    for preset in runpy.run_path(str(path))["get_config"].presets
]


def shrink_tagging(config):
    """Shrinks a config of a GAN over word vectors, to arrays that `write_arrays` has written."""
    config.data.update(source="arrays:nowhere", feature_dim=6, vector_dim=5)
    config.generator.update(latent_width=4, feature_width=4)
    config.discriminator.update(vector_width=4, feature_width=4, joint_maxout=(4, 2))
    config.sample_grid = (1, 2)
    return config


def write_arrays(folder, count=24, images=True, dims=(6, 5)):
    """Writes arrays with tags to a new folder, as config.data.source=arrays:<folder> takes them.

    The feature of an image begins with a sum of the vectors of its tags, of which each has two
    among seven; `dims` are the lengths of a feature and of a vector.
    """
    folder.mkdir(parents=True)
    random = np.random.RandomState(0)
    words = ["red", "green", "blue", "round", "square", "big", "small"]
    vectors = random.randn(len(words), dims[1]).astype(np.float32)
    lines = [f"{len(words)} {dims[1]}"]
    lines += [" ".join([word, *map(str, vectors[i])]) for i, word in enumerate(words)]
    (folder / "vectors.txt").write_text("\n".join(lines))
    chosen = [random.permutation(len(words))[:2] for _ in range(count)]
    features = np.ones((count, dims[0]), np.float32)
    features[:, : dims[1]] = [vectors[rows].sum(0) for rows in chosen]
    np.save(folder / "features.npy", features)
    tags = [" ".join([words[j] for j in rows] + [f"rare{i}"]) for i, rows in enumerate(chosen)]
    lines = [f"{i:03}.png,{each}" for i, each in enumerate(tags)] if images else tags
    (folder / "tags.csv").write_text("\n".join(["image,tags" if images else "tags", *lines]))
    if images:
        for i in range(count):
            image = random.randint(0, 256, (12, 10 + i % 3, 3), np.uint8)
            Image.fromarray(image).save(folder / f"{i:03}.png")
    return folder


def shrink(config):
    """Shrinks any shipped config to the smallest that runs the same code, and returns it."""
    config.total_steps = 4
    config.batch_size = 8
    config.n_critic = min(config.n_critic, 2)
    config.log_every = 1
    config.sample_every = config.eval_every = config.checkpoint_every = 2
    config.steps_per_dispatch = 1  # Programs of several steps have tests of their own.
    if config.algorithm == "tagging":
        return shrink_tagging(config)
    less, stages = 0, int(np.log2(config.image_size // 4))  # Less: how many are left out.
    if config.data.fit != "pad" and config.generator.network in ("dcgan", "resnet"):
        less = int(np.log2(config.image_size // 16))
        config.image_size = 16
    for group in config.values():
        if isinstance(group, ConfigDict) and "widths" in group:
            group.widths = (4,) * ((len(group.widths) or stages) - less)
        if isinstance(group, ConfigDict) and group.get("network") == "r3gan":
            config.image_size, config.data.fit = 8, "resize"
            group.update(widths=(8, 8), blocks=1, group_width=8)
            group.bfloat16_stages = min(1, group.bfloat16_stages)
        if isinstance(group, ConfigDict) and group.get("network") == "maxout":
            for name in group:
                if name.endswith("_maxout"):
                    group[name] = (4, 2)
                elif name.endswith("_width"):
                    group[name] = 4
    # Feature networks have tests of their own, and every config would compile one.
    config.evaluation.metrics, config.evaluation.num_samples = (), 20
    if config.evaluation.best.startswith("kid"):
        config.evaluation.best = "none"
    if config.data.fit == "bounding_box":
        config.data.fit = "resize"  # The boxes of TFDS's mock data are random numbers.
    if config.get("augment", {}).get("measure_leaks"):
        config.augment.measure_leaks = False  # It takes long, and test_ada_run.py tests it.
    if "growth" in config:  # From 4x4 to 8x8, with two steps each.
        config.image_size = 8
        config.generator.widths = config.discriminator.widths = (4, 4)
        config.growth.batch_sizes, config.growth.learning_rates = (8,), (1e-3,)
        config.growth.fade_reals, config.growth.stabilise_reals = 16, 16
    config.evaluation.log_likelihood = min(config.evaluation.log_likelihood, 20)
    return config


def tiny_config():
    """Returns WGAN-GP, shrunk to 16x16, with two updates of the critic in a step.

    Rates are constant, so that no metric but those of the losses is there.
    """
    config = shrink(shipped("wgan_gp"))
    config.n_critic = 2
    for player in ("g_optimiser", "d_optimiser"):
        config[player] = defaults(AdamFields, b2=0.9)
    config.image_size, config.data.fit = 16, "resize"
    config.generator.widths = config.discriminator.widths = (4, 4)
    return config
