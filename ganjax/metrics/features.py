"""Outputs of a feature network, chosen by name, for sets of images.

A name stands for a network *and* the way in which images are resized for it, and is part of the
name of every figure, so figures of different networks cannot be taken for one another.
"""

import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float32
from tqdm import tqdm

from ganjax.errors import UserError
from ganjax.metrics import digits, efflite0, inception, keras_inception, perceptual, weights
from ganjax.metrics.image_set import ImageSet, rebatched
from ganjax.metrics.layers import Params
from ganjax.metrics.metric import Labelled
from ganjax.parallel import distributed

NETWORKS = {
    "efflite0": efflite0.NETWORK,
    # As in Heusel et al. 2017 and nearly all tables since.
    "inception": inception.NETWORK,
    "inception_clean": inception.NETWORK_CLEAN,
    # As in Keras' example of adaptive discriminator augmentation.
    "keras_inception": keras_inception.NETWORK,
    "digits": digits.NETWORK,
}
# Images of a batch on each device: few fit a CPU's caches, many keep an accelerator busy.
BATCH = {"cpu": 8}
ACCELERATOR_BATCH = 128
# The most images of a set of reals whose features are held: as many as published FIDs take.
MOST = 50_000


class Outputs(NamedTuple):
    """The outputs of a feature network for n images; None for those that were not asked for.

    Attributes:
      features: the features of each image, or of it and its mirror image
        (`Extractor.with_mirror_images`).
      logits: the logits of each image's classes.
      distances: the perceptual distances between images 0 and 1, 2 and 3, and so on
        (`ganjax.metrics.perceptual`).
    """

    features: Float32[np.ndarray, "n *orientations d"] | None = None
    logits: Float32[np.ndarray, "n k"] | None = None
    distances: Float32[np.ndarray, " n//2"] | None = None


class Observed(NamedTuple):
    """A set of images together with a network's outputs for it.

    Attributes:
      images: the images.
      outputs: the network's outputs, empty where no metric asks for any.
    """

    images: ImageSet
    outputs: Outputs = Outputs()

    def part(self, needs: str, start: int, stop: int) -> Any:
        """Returns what a metric needs of the images from `start` to `stop` - 1.

        Args:
          needs: the metric's `needs` (`ganjax.metrics.metric.Metric`).
          start: the index of the first image.
          stop: the index after the last image; a number beyond the set's end means that end.
        """
        if needs == "images":
            return self.images.part(start, stop)
        if needs == "labelled":
            return self._labelled(start, stop)
        each = 2 if needs == "distances" else 1
        return getattr(self.outputs, needs)[start // each : stop // each]

    def _labelled(self, start: int, stop: int) -> Labelled:
        """Returns logits, with the images' labels if these are of as many classes."""
        images, logits = self.images.part(start, stop), self.part("logits", start, stop)
        same = images.num_classes == logits.shape[1]
        return Labelled(logits, images.labels if same else None)


def load(name: str, path: str | Path | None = None) -> Params:
    """Loads the parameters of a network.

    Args:
      name: a name in `NETWORKS`.
      path: the network's weight file; None looks for it as `ganjax.metrics.weights.load` does.

    Raises:
      UserError: there is no such network, or its weights can be neither found nor fetched.
    """
    if name not in NETWORKS:
        raise UserError(f"features {name!r}: there are {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    return network.make_params(weights.load(network.file, path))


def provides(name: str, needs: str) -> bool:
    """Returns whether a network gives what a metric needs: all is given but logits by some.

    Args:
      name: a name in `NETWORKS`.
      needs: `ganjax.metrics.metric.Metric.needs`.
    """
    return needs not in ("logits", "labelled") or NETWORKS[name].has_classes


class Extractor:
    """A feature network that runs on all devices of a mesh, compiled once for each image size.

    Attributes:
      images_per_second: the rate of the last call, without its first batch, which may include
        compilation; 0 before any call and after a single batch.
    """

    def __init__(
        self, name: str, params: Params | None, outputs: Iterable[str], sharding: NamedSharding
    ):
        """Puts the parameters on the devices.

        Args:
          name: a name in `NETWORKS`.
          params: the network's parameters, from `load`; None without outputs.
          outputs: the fields of `Outputs` that are wanted. Without any, images are not even read.
          sharding: the sharding of a batch over the devices.
        """
        replicated = NamedSharding(sharding.mesh, PartitionSpec())
        devices = np.asarray(sharding.mesh.devices)
        each = BATCH.get(devices.flat[0].platform, ACCELERATOR_BATCH)
        self._batch = each * devices.size
        self._sharding = sharding
        self._outputs = tuple(outputs)
        self._params = distributed.device_put(params, replicated) if self._outputs else None
        self.images_per_second = 0.0
        network = NETWORKS[name]

        def run(params, images):
            if images.shape[-1] == 1 and not network.by_channel:
                images = jnp.repeat(images, 3, axis=-1)
            found = network.apply(params, network.prepare(images))
            made = {
                "features": lambda: found.features,
                "logits": lambda: found.logits,
                "distances": lambda: perceptual.distances(found.stages),
            }
            return {output: made[output]() for output in self._outputs}

        # Outputs are replicated, so that every process holds all of them.
        self._run = jax.jit(run, out_shardings=replicated)

    def observe(self, images: ImageSet, label: str) -> Observed:
        """Runs the network over a set of images; `label` names the progress bar."""
        return Observed(images, self(images.batches(), images.count, label))

    def with_mirror_images(self, observed: Observed, label: str) -> Observed:
        """Runs the network over the mirror images of images that it was run over.

        Args:
          observed: the images, with their features.
          label: the name of the progress bar.

        Returns:
          The images with features of shape (N, 2, D): each image's, then its mirror image's.
        """
        images = observed.images
        flipped = self((batch[:, :, ::-1] for batch in images.batches()), images.count, label)
        assert observed.outputs.features is not None
        assert flipped.features is not None
        both = np.stack([observed.outputs.features, flipped.features], axis=1)
        return Observed(images, Outputs(features=both))

    def __call__(self, batches: Iterable[np.ndarray], count: int, label: str) -> Outputs:
        """Runs the network over images that are never all held at once.

        Args:
          batches: uint8 (n, H, W, 1 or 3) images, in batches of any sizes.
          count: the number of images in all.
          label: the progress bar's name.

        Returns:
          The outputs of all images, on the host.

        Raises:
          ValueError: the batches held another number of images than `count`.
        """
        if not self._outputs:
            return Outputs()
        whole: dict[str, np.ndarray] = {}
        done, waiting, since = 0, None, None
        with tqdm(total=count, desc=label, unit="image", disable=None, leave=False) as bar:
            for batch in chain(rebatched(batches, self._batch), [None]):
                # The next batch is begun before the last one is waited for.
                begun = None if batch is None else self._begin(batch)
                if waiting is not None:
                    made, size = waiting
                    for output, array in jax.device_get(made).items():
                        each = 2 if output == "distances" else 1
                        if output not in whole:
                            whole[output] = np.empty((count // each, *array.shape[1:]), array.dtype)
                        whole[output][done // each : (done + size) // each] = array[: size // each]
                    done += size
                    bar.update(size)
                    since = since or (done, time.perf_counter())
                waiting = begun
        if done != count:
            raise ValueError(f"{label}: {done} images came of {count}")
        if since and done > since[0]:
            self.images_per_second = (done - since[0]) / (time.perf_counter() - since[1])
        return Outputs(**whole)

    def _begin(self, batch: np.ndarray):
        """Starts a batch, padded with its last image, and returns its outputs and its size."""
        rows = np.minimum(np.arange(self._batch), len(batch) - 1)
        images = distributed.device_put(batch[rows], self._sharding)
        return self._run(self._params, images), len(batch)
