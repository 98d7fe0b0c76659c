"""A trained run that is loaded from its folder to be sampled."""

import math
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int, UInt8
from tqdm import tqdm

from ganjax.analysis.classes import class_index
from ganjax.data import sources
from ganjax.engine import latents
from ganjax.engine import step as steps
from ganjax.engine.phases import Phase, phase_of
from ganjax.engine.state import Ema
from ganjax.errors import DataError, UserError
from ganjax.parallel.sharding import Device, make_layout
from ganjax.runtime import memory
from ganjax.training import checkpoint, ensemble, sampling, sizes, workdir
from ganjax.training import domain as domains
from ganjax.training.domain import Domain
from ganjax.training.images import Images


class Trained:
    """The generator of one of a run's checkpoints, its average by default, and the discriminator.

    Args:
      folder: the folder of the run.
      which: the checkpoint: "best", the best by config.evaluation.best or, if that names no
        figure, the last; "last"; or a step.
      devices: the devices that share the work; by default the first one of this process.
      seed_index: the index, from 0, of one of the run's config.num_seeds seeds.
      trust: whether the run's config.json may name code that is not ganjax's, or what it may name
        (`ganjax.training.trust`).
      ema: whether samples are those of the moving average, or of the generator itself.

    Attributes:
      folder: the folder of the run.
      which: the checkpoint that was asked for.
      config: the run's config.
      domain: what the run is about.
      seed_index: the index of the seed.
      seed: the seed that the generator was trained with.
      algorithm: the run's algorithm.
      step: the number of train steps at the checkpoint.
      phase: the phase that the checkpoint belongs to.

    Raises:
      ConfigError: there is no run, it names code that is not trusted, or it has no checkpoint yet.
      CheckpointError: the run has no such checkpoint.
      UserError: the run has no such seed, or is about something else than images.
    """

    # What runs of this class are about.
    about: type[Domain] = Images

    def __init__(
        self,
        folder: Path,
        which: str = "best",
        devices: list[Device] | None = None,
        seed_index: int = 0,
        trust: bool | Collection[str] = False,
        ema: bool = True,
    ):
        self._trust, self._averaged = trust, ema
        self._devices = devices or jax.local_devices()[:1]
        layout = make_layout(self._devices)
        self.folder, self.which = folder, which
        loaded = workdir.read(folder, trust)
        self.domain = domains.of(loaded, folder)
        self.config: Any = loaded.config  # Its fields are those of the algorithm.
        if not isinstance(self.domain, self.about):
            raise UserError(
                f"{folder} is a run of {self.config.algorithm}, which generates "
                f"{self.domain.generates}; look at it by {self.domain.instead}"
            )
        self.algorithm = loaded.module.build(self.config)
        if not checkpoint.exist(folder):
            raise workdir.no_checkpoint(folder, self.config)
        self.seed_index, self.seed = seed_index, ensemble.seed_at(self.config, seed_index)
        if (count := self.config.num_seeds) > 1:
            shapes = jax.eval_shape(lambda: steps.init_state(self.algorithm, jax.random.key(0)))
            memory.check(
                f"{folder}: the states of config.num_seeds={count} seeds",
                count * sizes.state_bytes(shapes),
                "look at the run on a machine with more memory",
            )
        keys = [jax.random.key(seed) for seed in ensemble.seeds(self.config)]

        def read() -> ensemble.Members:
            with checkpoint.open_checkpoints(folder) as checkpoints:
                tried = checkpoint.candidates(checkpoints, which, self.config.evaluation.best)
                return ensemble.restore_or_init(
                    checkpoints,
                    lambda key: steps.init_state(self.algorithm, key),
                    keys,
                    layout.replicated,
                    tried,
                )

        state = checkpoint.undisturbed(read)[seed_index]
        self.step = int(state.step)
        self.phase = phase_of(self.algorithm.phases, self.step)
        self._ema = state.ema if ema else Ema(state.g.params, state.g.vars)
        self._d = state.d.replace(opt_state=())
        self._layout = layout
        self._sampler = jax.jit(steps.make_sampler(self.algorithm), static_argnames="phase")
        self._scorer = jax.jit(steps.make_scorer(self.algorithm), static_argnames="phase")

    def resolutions(self) -> list["Trained"]:
        """Returns a growing run at the end of each lower resolution, and then at this one.

        Raises:
          CheckpointError: the run has kept no checkpoint from the end of some resolution.
        """
        lower = self._lower_phases()
        self._check_kept(lower)
        return [*map(self._at_end_of, lower), self]

    def at_resolution(self, side: int) -> "Trained":
        """Returns a growing run at the end of one of its resolutions.

        Args:
          side: the resolution in pixels, at most that of this checkpoint, which gives the run
            itself.

        Raises:
          UserError: the run has no such resolution.
          CheckpointError: the run has kept no checkpoint from its end.
        """
        if side == self.phase.image_size:
            return self
        phases = {phase.image_size: phase for phase in self._lower_phases()}
        if side not in phases:
            sides = ", ".join(map(str, [*phases, self.phase.image_size]))
            raise UserError(
                f"resolution={side}: {self.folder} at step {self.step} has {sides}; take one of "
                "these, or leave it out"
            )
        self._check_kept([phases[side]])
        return self._at_end_of(phases[side])

    def _lower_phases(self) -> list[Phase]:
        pixels = self.phase.size.pixels
        return [phase for phase in self.algorithm.phases if phase.size.pixels < pixels]

    def _check_kept(self, phases: list[Phase]) -> None:
        """Raises a CheckpointError if there is no checkpoint from the end of some phase."""
        with checkpoint.open_checkpoints(self.folder) as checkpoints:
            kept = set(checkpoints.steps)
        for phase in phases:
            if phase.stop not in kept:
                raise checkpoint.CheckpointError(
                    f"{self.folder / checkpoint.FOLDER}: step {phase.stop}, the end of "
                    f"{phase.size}, is not there, only "
                    f"{', '.join(map(str, sorted(kept)))}; put it back, or look at one resolution"
                )

    def _at_end_of(self, phase: Phase) -> "Trained":
        options = self._devices, self.seed_index, self._trust, self._averaged
        return Trained(self.folder, str(phase.stop), *options)

    def inputs(self, num: int, seed: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns latents and labels to generate samples from.

        Args:
          num: the number of samples, N.
          seed: the seed of the latents; None takes the run's, which gives the latents of the
            pictures that it wrote during training.

        Returns:
          The latents, float32 (N, Z), and the labels, int32 (N,), which take the classes in turn.

        Raises:
          UserError: the memory does not hold them.
        """
        held = 2 * num * sizes.latent_bytes(self.algorithm)  # On the device, and here.
        memory.check(f"the latents of {num} samples", held, "ask for fewer at a time")
        key = jax.random.key(self.seed if seed is None else seed)
        z, label = jax.device_get(steps.sample_inputs(self.algorithm, key, num))
        return z, label

    def streamed_latents(self, num: int, seed: int | None = None) -> np.ndarray | sampling.Rows:
        """Returns the latents of `inputs` as rows that are drawn when they are asked for.

        If the algorithm draws latents otherwise than by one array of numbers, it is that array.

        Raises:
          UserError: the memory does not hold the array.
        """
        key = jax.random.key(self.seed if seed is None else seed)
        draw = latents.rows(self.algorithm.latent, steps.sample_key(key), num)
        return self.inputs(num, seed)[0] if draw is None else sampling.Rows(num, draw)

    def generate(self, z: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Generates images.

        Args:
          z: (N, Z), the latents.
          label: int32 (N,), the classes; 0 for an unconditional run.

        Returns:
          The images, uint8 (N, H, W, C).

        Raises:
          UserError: the memory does not hold them.
        """
        self.check_memory(len(z))
        images, done = np.empty((len(z), *self.image_shape), np.uint8), 0
        for batch in self.shown_batches(z, label):
            images[done : done + len(batch)] = batch
            done += len(batch)
        return images

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the samples, which grow with the run's resolution."""
        height, width, channels = self.domain.shapes(self.phase)["image"].shape
        return height, width, channels

    @cached_property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one latent, (Z,)."""
        latent = self.algorithm.latent
        return jax.eval_shape(lambda: latent(jax.random.key(0), 1)).shape[1:]

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the averaged generator and of the discriminator, by these names."""
        return {"generator": self._ema.params, "discriminator": self._d.params}

    def check_memory(self, num: int) -> None:
        """Refuses more samples than the memory holds, before they are made.

        Args:
          num: the number of samples that would be held at once.

        Raises:
          UserError: they are too many.
        """
        held = num * math.prod(self.image_shape)
        memory.check(f"{num} samples", held, "ask for fewer at a time")

    def shown_batches(
        self, z: np.ndarray | sampling.Rows, label: np.ndarray | sampling.Rows
    ) -> Iterator[np.ndarray]:
        """Yields the batches of `batches`, and shows on a terminal how many are made."""
        with tqdm(total=len(z), desc="samples", disable=None, leave=False) as bar:
            for batch in self.batches(z, label):
                yield batch
                bar.update(len(batch))

    def batches(
        self, z: np.ndarray | sampling.Rows, label: np.ndarray | sampling.Rows
    ) -> Iterator[np.ndarray]:
        """Yields the images that `generate` returns, in batches, uint8 (n, H, W, C).

        Args:
          z: (N, Z), the latents.
          label: int32 (N,), the classes; 0 for an unconditional run.
        """
        return sampling.sample_batches(
            self._sampler, self._ema, z, label, phase=self.phase, sharding=self._layout.batch
        )

    def scores(
        self, images: UInt8[np.ndarray, "n h w c"], label: Int[np.ndarray, " n"]
    ) -> Float32[np.ndarray, " n"]:
        """Computes the discriminator's scores of images, in inference mode.

        A discriminator that compares the images of a group sees each of them among training images,
        which are the same for all.

        Args:
          images: as large as the samples are in this phase.
          label: their classes; 0 for an unconditional run.

        Raises:
          UserError: the run's algorithm scores no single images.
          DataError: training images are needed, and can no longer be read.
        """
        if self.algorithm.score is None:
            raise UserError(
                f"{self.folder}: the algorithm {self.config.algorithm} has no `score` of an image"
            )
        if not len(images):
            return np.zeros(0, np.float32)
        group = self.algorithm.group_size
        if group > 1:
            source = self.training_images()
            others = np.random.RandomState(0).randint(source.size, size=group - 1)
            company = source.fetch(others)
            images, label = (
                np.stack([[each, *rest] for each in of_images]).reshape(-1, *of_images.shape[1:])
                for of_images, rest in ((images, company["image"]), (label, company["label"]))
            )
        batches = sampling.sample_batches(
            self._scorer, self._d, images, label, phase=self.phase, sharding=self._layout.batch
        )
        return np.concatenate(list(batches))[::group]

    def training_images(self) -> sources.Source:
        """Opens the images that the generator was trained on, at their size in this phase.

        Raises:
          DataError: the images can no longer be read.
        """
        return self.images_of("train")

    def images_of(self, split: str) -> sources.Source:
        """Opens the run's images of a split, "train" or "validation", at their size in this phase.

        Raises:
          DataError: the images can no longer be read.
        """
        return self.domain.open(split, self.phase.image_size)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, or its index if it has no name; () for an unconditional run."""
        classes = self.algorithm.num_classes
        if classes == 1:
            return ()
        try:
            names = self.training_images().label_names
        except DataError:  # The images were moved away, but sampling does not need them.
            names = ()
        return names if len(names) == classes else tuple(str(i) for i in range(classes))

    def classes(self, chosen: Sequence[str] = ()) -> np.ndarray:
        """Returns the indices of classes.

        Args:
          chosen: names of classes or, where no class has that name, indices; by default all
            classes.

        Returns:
          The indices, int32 (K,); [0] for an unconditional run.

        Raises:
          UserError: there is no such class, or the run is unconditional.
        """
        if not chosen:
            return np.arange(self.algorithm.num_classes, dtype=np.int32)
        names = self.class_names
        if not names:
            raise UserError(
                f"--label={','.join(chosen)}: the run's model has no classes (it is "
                "unconditional); leave the flag out"
            )
        return np.array([class_index(each, names) for each in chosen], np.int32)
