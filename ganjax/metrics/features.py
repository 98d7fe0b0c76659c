"""Features of images under a named network: the one place where a name becomes a network.

A name stands for a network *and* the way images are resized for it, and is part of the name of
every figure: figures of two names cannot be taken for one another.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from tqdm import tqdm

from ganjax.errors import UserError
from ganjax.metrics import efflite0, inception, perceptual, weights
from ganjax.metrics.layers import Activations, Params
from ganjax.parallel import distributed

# Images of a batch on each device: what CPUs' caches like, and what keeps accelerators busy.
BATCH = {"cpu": 8}
ACCELERATOR_BATCH = 128


class Network(NamedTuple):
    """A feature network.

    Attributes:
      file: its published weights.
      make_params: their tensors -> the parameters.
      prepare: uint8 (N, H, W, 3) -> what `apply` takes.
      apply: (parameters, prepared images) -> Activations.
      dimension: of the features.
      resize: what `prepare` does, in words.
    """

    file: weights.File
    make_params: Callable[[dict[str, np.ndarray]], Params]
    prepare: Callable[[jax.Array], jax.Array]
    apply: Callable[[Params, jax.Array], Activations]
    dimension: int
    resize: str


_INCEPTION = Network(
    inception.FILE,
    inception.make_params,
    inception.prepare,
    inception.apply,
    inception.DIMENSION,
    inception.RESIZE,
)
NETWORKS = {
    "efflite0": Network(
        efflite0.FILE,
        efflite0.make_params,
        efflite0.prepare,
        efflite0.apply,
        efflite0.DIMENSION,
        efflite0.RESIZE,
    ),
    # As in Heusel et al. 2017 and nearly all tables since.
    "inception": _INCEPTION,
    "inception_clean": _INCEPTION._replace(
        prepare=inception.prepare_clean, resize=inception.RESIZE_CLEAN
    ),
}


class Extracted(NamedTuple):
    """What a network made of N images; None where it was not asked for.

    Attributes:
      features: float32 (N, D).
      logits: float32 (N, K).
      distances: float32 (N // 2,), of `ganjax.metrics.perceptual`.
    """

    features: np.ndarray | None = None
    logits: np.ndarray | None = None
    distances: np.ndarray | None = None


def rows(extracted: Extracted, start: int, stop: int) -> Extracted:
    """Of the images start .. stop; `distances` are of pairs."""
    take = lambda x, each: None if x is None else x[start // each : stop // each]  # noqa: E731
    return Extracted(
        take(extracted.features, 1), take(extracted.logits, 1), take(extracted.distances, 2)
    )


def load(name: str, path: str | Path | None = None) -> Params:
    """The parameters of a network.

    Args:
      name: of `NETWORKS`.
      path: of its weights; None looks for them as `ganjax.metrics.weights.load` does.

    Raises:
      UserError: there is no such network, or its weights are not to be had.
    """
    if name not in NETWORKS:
        raise UserError(f"features {name!r}: there are {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    return network.make_params(weights.load(network.file, path))


class Extractor:
    """A network, compiled once for each size of images, over all devices of a mesh.

    Args:
      name: of `NETWORKS`.
      params: `load`'s.
      outputs: fields of Extracted that are wanted.
      sharding: of a batch.

    Attributes:
      images_per_second: of the last call, without its first batch, which may be compiled; 0
        before any call and for a single batch.
    """

    def __init__(self, name: str, params: Params, outputs: Iterable[str], sharding: NamedSharding):
        replicated = NamedSharding(sharding.mesh, PartitionSpec())
        devices = sharding.mesh.devices
        each = BATCH.get(devices.flat[0].platform, ACCELERATOR_BATCH)
        self._batch = each * devices.size
        self._sharding = sharding
        self._params = distributed.put(params, replicated)
        self._outputs = tuple(outputs)
        self.images_per_second = 0.0
        network = NETWORKS[name]

        def run(params, images):
            if images.shape[-1] == 1:
                images = jnp.repeat(images, 3, axis=-1)
            found = network.apply(params, network.prepare(images))
            made = {
                "features": lambda: found.features,
                "logits": lambda: found.logits,
                "distances": lambda: perceptual.distances(found.stages),
            }
            return {output: made[output]() for output in self._outputs}

        # Replicated, so that every process holds all of them.
        self._run = jax.jit(run, out_shardings=replicated)

    def __call__(self, pieces: Iterable[np.ndarray], count: int, label: str) -> Extracted:
        """Runs over images that are never all held at once.

        Args:
          pieces: uint8 (n, H, W, 1 or 3) arrays, of any n, `count` images in all.
          count: N.
          label: for the progress bar.

        Raises:
          ValueError: there were not as many images.
        """
        if not self._outputs:
            return Extracted()
        whole: dict[str, np.ndarray] = {}
        done, waiting, since = 0, None, None
        with tqdm(total=count, desc=label, unit="image", disable=None, leave=False) as bar:
            for batch in chain(rebatched(pieces, self._batch), [None]):
                # The next one is begun before the last one is waited for.
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
        return Extracted(**whole)

    def _begin(self, batch: np.ndarray):
        """(its outputs, its size); the last image fills a batch that is not full."""
        rows = np.minimum(np.arange(self._batch), len(batch) - 1)
        images = distributed.put(batch[rows], self._sharding)
        return self._run(self._params, images), len(batch)


def rebatched(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same images in arrays of `size`, the last of which may be smaller."""
    held = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= size:
            images = np.concatenate(held)
            whole = len(images) // size * size
            yield from np.split(images[:whole], whole // size)
            held = [images[whole:]]
    rest = np.concatenate(held) if held else ()
    if len(rest):
        yield rest
