"""Measures the images a second of efflite0 and of PyTorch, and the seconds that metrics take.

    python -m experiments.benchmarks.metrics
    python -m experiments.benchmarks.metrics --batch_size=64 --rounds=20

Both compute features of uint8 images of 64x64, resizing included: ganjax resizes by
`ganjax.metrics`, the peer by Pillow (an image and a channel at a time, as clean-fid does). To
compare the networks alone, both are also timed on images that were resized before. The features are
shown to be equal before the clock starts. The contenders alternate; images a second are those of
the median round, and ratios are ganjax's rate divided by the other's.
"""

import argparse
import os
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import torch
from PIL import Image

from experiments.benchmarks.clock import seconds, threads
from experiments.benchmarks.torch_efflite0 import EffLite0
from experiments.tools import arguments
from ganjax.metrics import efflite0, features, fid, kid, prdc
from ganjax.runtime import huge_pages

SIDE = 64


def by_pillow(images):
    """Resizes uint8 images (N, H, W, 3) for the network, to float32 (N, 3, size, size)."""
    size = (efflite0.SIZE, efflite0.SIZE)
    resized = np.empty((len(images), 3, *size), np.float32)
    for i, image in enumerate(images):
        for c in range(3):
            channel = Image.fromarray(image[..., c].astype(np.float32))
            resized[i, c] = np.asarray(channel.resize(size, Image.Resampling.BICUBIC))
    return (np.clip(resized, 0, 255) - 127) / 128


def of_features(batch, rounds):
    """Times the features of a batch and returns the images a second of each contender.

    Args:
      batch: the number of images.
      rounds: the number of rounds in which each contender is timed.
    """
    images = np.random.RandomState(0).randint(0, 256, (batch, SIDE, SIDE, 3)).astype(np.uint8)
    params = jax.device_put(features.load("efflite0"))
    whole = jax.jit(lambda p, x: efflite0.apply(p, efflite0.prepare(x)).features)
    alone = jax.jit(lambda p, x: efflite0.apply(p, x).features)
    prepared = jax.block_until_ready(efflite0.prepare(jnp.asarray(images)))
    peer = EffLite0()
    peer_input = torch.from_numpy(by_pillow(images))
    contenders = {
        "ganjax": lambda: np.asarray(whole(params, images)),
        "ganjax, resized before": lambda: np.asarray(alone(params, prepared)),
        "PyTorch": lambda: peer(torch.from_numpy(by_pillow(images))).numpy(),
        "PyTorch, resized before": lambda: peer(peer_input).numpy(),
    }
    # PyTorch's own types do not know the call.
    last = EffLite0().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    last_input = peer_input.contiguous(memory_format=torch.channels_last)
    contenders["PyTorch channels_last, resized before"] = lambda: last(last_input).numpy()
    with torch.inference_mode():
        expected = contenders["ganjax"]()
        for name, run in contenders.items():
            error = np.abs(run() - expected).max() / np.abs(expected).max()
            assert error < 1e-4, (name, error)
        times = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                # The previous contender's threads spin for a while, so the faster of two counts.
                times[name].append(min(seconds(run) for _ in range(2)))
    return {name: batch / median(values) for name, values in times.items()}


def of_figures(rounds, num=1000):
    """Times metrics and returns the seconds of each, by a name.

    Args:
      rounds: the number of rounds, of which the fastest counts.
      num: the number of real and of generated feature vectors, of 1280 dimensions.
    """
    random = np.random.RandomState(0)
    real, fake = (random.randn(num, efflite0.DIMENSION).astype(np.float32) for _ in range(2))
    moments = fid.moments_of(real)
    runs = {
        f"KID of {num} against {num}": lambda: kid.kernel_distance(real, fake),
        f"KID of {num} against {num}, 100 subsets of half": lambda: kid.kernel_distance(
            real, fake, size=num // 2
        ),
        "FID, the fakes' moments and the distance": lambda: fid.frechet_distance(
            moments, fid.moments_of(fake)
        ),
        "precision, recall, density, coverage": lambda: prdc.fidelity(real, fake, 5),
    }
    return {name: min(seconds(run) for _ in range(rounds)) for name, run in runs.items()}


def main():
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--batch_size", type=arguments.count, default=features.BATCH["cpu"])
    parser.add_argument("--rounds", type=arguments.count, default=12)
    args = parser.parse_args()
    if jax.default_backend() != "cpu":
        parser.error(f"JAX is on {jax.default_backend()}: set JAX_PLATFORMS=cpu")
    print(f"jax {jax.__version__} on {jax.default_backend()}, torch {torch.__version__}")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
    torch.set_num_threads(threads())
    rates = of_features(args.batch_size, args.rounds)
    print(f"\n| efflite0, batch {args.batch_size} | images/s | ganjax / it |\n|---|---|---|")
    for name, rate in rates.items():
        ours = rates["ganjax, resized before" if "before" in name else "ganjax"]
        print(f"| {name} | {rate:.0f} | {ours / rate:.2f} |")
    print("\n| figure | s |\n|---|---|")
    for name, value in of_figures(min(args.rounds, 3)).items():
        print(f"| {name} | {value:.2f} |")


if __name__ == "__main__":
    huge_pages.restart()
    main()
