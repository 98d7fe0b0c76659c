"""Makes inception.npz, efflite0.npz and metrics.json: the results of other implementations.

It runs in an environment of its own, on CPU:
    pip install torch torch-fidelity==0.3.0 prdc==0.2 efficientnet-lite-pytorch==0.1.0
    pip install -e . && python -m tests.golden.features

Inception is torch-fidelity's FeatureExtractorInceptionV3 with seeded random weights, which show a
wrong layer as surely as the published ones. EfficientNet-Lite0 is efficientnet_lite_pytorch's
EfficientNet with the published weights. The figures are torch-fidelity's KID, FID and Inception
Score, and prdc's precision, recall, density and coverage, of seeded random features.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch_fidelity.feature_extractor_inceptionv3 as fidelity
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from prdc import compute_prdc
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from ganjax.metrics import efflite0, weights
from tests.golden import feature_inputs as inputs

FOLDER = Path(__file__).parent
INCEPTION_LAYERS = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")
EFFLITE0_BLOCKS = (0, 2, 4, 10, 15)


def record(module, into):
    module.register_forward_hook(
        lambda module, args, out: into.append(
            inputs.thinned(out.numpy().transpose(0, 2, 3, 1).copy())
        )
    )


def inception():
    blank = torch.nn.Module.load_state_dict
    torch.nn.Module.load_state_dict = lambda self, *args, **kwargs: None
    with tempfile.NamedTemporaryFile() as empty:
        torch.save({}, empty.name)
        network = fidelity.FeatureExtractorInceptionV3(
            "inception", ["2048", "logits_unbiased"], empty.name
        )
    torch.nn.Module.load_state_dict = blank
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    tensors = inputs.random_tensors(shapes)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    network.eval()
    stages = []
    for name in INCEPTION_LAYERS:
        record(getattr(network, name), stages)
    images = torch.from_numpy(inputs.images().transpose(0, 3, 1, 2).copy())
    features, logits = network(images)
    np.savez_compressed(
        FOLDER / "inception.npz",
        shapes=json.dumps(shapes),
        features=features.numpy(),
        logits=logits.numpy(),
        **{f"stage_{i}": stage for i, stage in enumerate(stages)},
    )


def clean(image, size):
    """Resizes an image as Parmar et al. 2022 do: each channel by itself, in Pillow's mode F."""
    channels = [
        np.asarray(
            Image.fromarray(image[..., c].astype(np.float32)).resize(
                (size, size), Image.Resampling.BICUBIC
            )
        )
        for c in range(image.shape[-1])
    ]
    return np.clip(np.stack(channels, -1), 0, 255)


def lite():
    network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    network.load_state_dict(torch.load(weights.locate(efflite0.FILE)))
    network.eval()
    stages = []
    for i in EFFLITE0_BLOCKS:
        record(network._blocks[i], stages)
    images = np.stack([clean(image, efflite0.SIZE) for image in inputs.images()])
    x = torch.from_numpy((images - 127) / 128).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = network.extract_features(x).mean((2, 3))
        logits = network(x)
    np.savez_compressed(
        FOLDER / "efflite0.npz",
        features=features.numpy(),
        logits=logits.numpy(),
        **{f"stage_{i}": stage for i, stage in enumerate(stages[: len(EFFLITE0_BLOCKS)])},
    )


def figures():
    real, fake = inputs.features(1), inputs.features(2)
    options = {"kid_degree": 3, "kid_gamma": None, "kid_coef0": 1, "rng_seed": 0}
    options["verbose"] = False
    kid = kid_features_to_metric(
        # In float64, so that torch-fidelity's rounding is not what is tested.
        *(torch.from_numpy(x).double() for x in (real, fake)),
        kid_subsets=20,
        kid_subset_size=100,
        **options,
    )
    moments = [fid_features_to_statistics(torch.from_numpy(x).double()) for x in (real, fake)]
    found = {
        "kid": list(kid.values()),
        "fid": fid_statistics_to_metric(*moments, verbose=False)["frechet_inception_distance"],
        "is": list(isc_features_to_metric(torch.from_numpy(inputs.logits()), rng_seed=0).values()),
    }
    for k in (3, 5):
        values = compute_prdc(real.astype(np.float64), fake.astype(np.float64), k)
        found[f"prdc_{k}"] = {name: float(value) for name, value in values.items()}
    (FOLDER / "metrics.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    figures()
    lite()
    inception()
