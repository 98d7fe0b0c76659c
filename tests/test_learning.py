"""The shipped default learns: real training, as a user starts it, cut short."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from ganjax.data.sources import open_source
from ganjax.sample import sample

pytestmark = pytest.mark.slow

COUNT = 500


def train(folder, steps):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-m", "ganjax.main", "--config=configs/wgan_gp.py"]
    flags = [f"--workdir={folder}", f"--config.total_steps={steps}"]
    subprocess.run([*command, *flags], cwd=ROOT, env=environment, check=True, timeout=1_200)


def pooled(images):
    """8x8 means in [0, 1]: enough to tell digits from blobs, few enough for 500 samples."""
    cells = images.reshape(len(images), 8, 4, 8, 4).astype(np.float64)
    return cells.mean((2, 4)).reshape(len(images), -1) / 255


def mmd(x, y):
    """Unbiased MMD^2 with KID's kernel (x.y / d + 1)^3."""
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3  # noqa: E731
    within = sum(
        (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(x, x), kernel(y, y))
    )
    return within - 2 * kernel(x, y).mean()


def test_digits_within_400_steps(tmp_path):
    reals, held = (
        open_source("embedded:mnist5k", split, image_size=32, channels=1, fit="pad")
        for split in ("train", "validation")
    )
    known = reals.fetch(np.arange(reals.size))
    target = pooled(held.fetch(np.arange(held.size))["image"])
    train(tmp_path / "early", 1)
    train(tmp_path / "late", 400)
    early, late = (pooled(sample(tmp_path / name, COUNT)) for name in ("early", "late"))
    # Measured: 0.73 untrained, 0.003 at step 500, 0.09 for black images or one digit repeated.
    assert mmd(early, target) > 0.05
    assert mmd(late, target) < 0.02
    # No mode is lost: the nearest real digits are of all ten classes.
    distances = np.square(late[:, None] - pooled(known["image"])[None]).sum(-1)
    classes = np.bincount(known["label"][distances.argmin(1)], minlength=10)
    assert classes.min() >= 0.02 * COUNT, classes
