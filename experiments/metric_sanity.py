"""Measures every metric on real images with growing blur, noise and mode collapse.

    python -m experiments.metric_sanity
    python -m experiments.metric_sanity --source=embedded:mnist5k --num=1000

Half of the images are the reals. The fakes are made from the other half: unchanged, which gives the
floor of each metric; blurred by a Gaussian; with Gaussian noise; or only some of the images, each
repeated. The command prints a table, which --out also writes as JSON.
"""

import argparse
import json

import jax
import numpy as np
from PIL import Image, ImageFilter

from experiments.tools import arguments
from ganjax.analysis.image_sets import from_array
from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.metrics import features
from ganjax.metrics.table import METRICS, network_outputs
from ganjax.parallel.sharding import make_layout
from ganjax.runtime import storage

BLUR = (0.5, 1.0, 2.0)  # Standard deviations of the Gaussian in pixels.
NOISE = (5, 15, 45)  # Standard deviations in the values of uint8 images.
DISTINCT = (4, 16, 64)  # One image in 4, 16 or 64 is kept.
SIZES = {"embedded:emoji64": 64, "embedded:mnist5k": 32}


def blurred(images, deviation):
    """Blurs uint8 images (N, H, W, C) by a Gaussian with a standard deviation in pixels."""
    blur = ImageFilter.GaussianBlur(deviation)
    return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])


def noisy(images, deviation):
    """Adds Gaussian noise with a standard deviation in grey levels to uint8 images."""
    noise = np.random.RandomState(0).randn(*images.shape) * deviation
    return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def collapsed(images, share):
    """Replaces images by copies of one image in `share`, in a random order."""
    # In a fixed order, the pairs whose perceptual distance is measured would never be equal.
    kept = np.random.RandomState(0).randint(max(1, len(images) // share), size=len(images))
    return images[kept]


def variants(images):
    """Yields (kind, strength, degraded images) for each degradation, beginning with none."""
    yield "none", 0, images
    for kind, strengths, degrade in (
        ("blur", BLUR, blurred),
        ("noise", NOISE, noisy),
        ("collapse", DISTINCT, collapsed),
    ):
        for strength in strengths:
            yield kind, strength, degrade(images, strength)


def measure(source, num, network):
    """Measures fakes of each degradation against the same number of reals.

    Args:
      source: a set in `SIZES`.
      num: the most images in each half.
      network: a name in `ganjax.metrics.features.NETWORKS`.

    Returns:
      The number of images in a half, and a list of (kind, strength, figures by name) for each
      degradation, "none" first.
    """
    data = DataFields(source=source, fit="pad")
    whole = open_source(data, "train", image_size=SIZES[source])
    num = min(num, whole.size // 2)
    chosen = np.random.RandomState(0).permutation(whole.size)[: 2 * num]
    images = whole.fetch(chosen)["image"]
    sharding = make_layout(jax.local_devices()).batch
    metrics = [metric for metric in METRICS.values() if metric.of_network]
    outputs = network_outputs(metrics)
    extract = features.Extractor(network, features.load(network), outputs, sharding)
    real = extract.observe(from_array("reals", images[:num]), "reals")
    rows = []
    for kind, strength, fakes in variants(images[num:]):
        fake = extract.observe(from_array(kind, fakes), f"{kind} {strength}")
        figures = {}
        for metric in metrics:
            prepared = metric.prepare(real.part(metric.needs, 0, num))
            found = metric.measure(prepared, fake.part(metric.needs, 0, num))
            figures |= metric.full_names(found, network)
        rows.append((kind, strength, figures))
    return num, rows


def main():
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--source", default="embedded:emoji64", choices=SIZES)
    parser.add_argument("--num", type=arguments.count, default=700, help="the images of each half")
    parser.add_argument("--features", default="efflite0", choices=features.NETWORKS)
    parser.add_argument("--out", type=arguments.file)
    args = parser.parse_args()
    num, rows = measure(args.source, args.num, args.features)
    names = [name for name in rows[0][2] if "_std" not in name]
    print(f"{args.source}, {num} against {num}, {args.features}\n")
    print(
        "| fakes | " + " | ".join(name.removesuffix(f"_{args.features}") for name in names) + " |"
    )
    print("|---" * (len(names) + 1) + "|")
    for kind, level, found in rows:
        label = {"none": "other reals", "collapse": f"1 in {level} distinct"}.get(
            kind, f"{kind} {level}"
        )
        print(f"| {label} | " + " | ".join(f"{found[name]:.3g}" for name in names) + " |")
    if args.out:
        storage.write_text(args.out, json.dumps(rows))


if __name__ == "__main__":
    main()
