"""Images as what a run is about: their sets, grids of samples, and figures of samples."""

from collections.abc import Iterable
from functools import cache, cached_property
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.data.base import Source
from ganjax.engine import step as steps
from ganjax.engine.phases import Phase
from ganjax.engine.sizes import ImageSize, size_of
from ganjax.metrics import features
from ganjax.metrics.table import METRICS, network_outputs
from ganjax.parallel import distributed
from ganjax.pictures import images
from ganjax.training import evaluation, leaks
from ganjax.training.domain import Bytes, Domain, Draw, Measure, Measured, Need
from ganjax.training.schema import RunConfig
from ganjax.training.writer import METRICS as ROWS
from ganjax.training.writer import read_metrics

if TYPE_CHECKING:
    from ganjax.training.setup import Run


class Images(Domain):
    """The domain of runs that generate images (`ganjax.training.domain.Domain`)."""

    generates = "images"
    instead = "ganjax sample"
    config: RunConfig

    @property
    def mirror(self) -> bool:
        """Whether the images of training batches are flipped by coins."""
        return self.config.data.mirror

    @property
    def on_device(self) -> bool:
        """Whether the whole set is kept in the devices' memory."""
        return self.config.data.on_device

    def open(self, split: str, image_size: ImageSize) -> Source:
        # Imported here, so that whoever only compiles a step needs no library of images.
        from ganjax.data.sources import open_source

        return open_source(self.config.data, split, image_size=image_size)

    @property
    def image_size(self) -> ImageSize:
        return self.config.image_size

    def check(self, compared: Iterable[Source] = (), holds_out: bool = True) -> None:
        evaluation.check(self.config, compared, holds_out)

    def notes(self) -> list[str]:
        size, fields = size_of(self.config.image_size), self.config.evaluation
        if size.is_square or not network_outputs(METRICS[name] for name in fields.metrics):
            return []
        return [
            f"images of {size} are squashed to a square for {fields.features}: its figures compare "
            "with those of images of that shape alone"
        ]

    def load(self) -> None:
        _ = self.feature_params

    @cached_property
    def feature_params(self) -> features.Params | None:
        """The parameters of the metrics' feature network, or None if no metric needs one."""
        return evaluation.load(self.config)

    def shapes(self, phase: Phase) -> dict[str, jax.ShapeDtypeStruct]:
        shape = (*phase.size, self.config.data.channels)
        return {
            "image": jax.ShapeDtypeStruct(shape, jnp.uint8),
            "label": jax.ShapeDtypeStruct((), jnp.int32),
        }

    def bytes(self, phase: Phase) -> Bytes:
        values = phase.size.pixels * self.config.data.channels
        return Bytes(values, 4 * values)

    def needs(self, latent: int) -> list[Need]:
        config = self.config
        image = size_of(config.image_size).pixels * config.data.channels
        rows, columns = config.sample_grid
        likelihood = config.evaluation.log_likelihood
        samples = config.evaluation.num_samples if config.evaluation.metrics else 0
        return [
            Need(
                f"config.sample_grid={config.sample_grid}: the samples of a picture",
                rows * columns * (4 * image + latent),
                "set fewer rows or columns",
            ),
            Need(
                f"config.evaluation.log_likelihood={likelihood}: the samples and their latents",
                # As floats, and once more around their mean.
                likelihood * (8 * image + latent),
                "set fewer",
            ),
            Need(
                f"config.evaluation.num_samples={samples}: the latents of the samples",
                samples * latent,
                "set fewer",
            ),
        ]

    def pictures(self, run: "Run") -> Draw:
        """Returns the function that draws a grid of samples, from the same latents every time."""
        num_classes = run.algorithm.num_classes
        num = grid_size(self.config.sample_grid, num_classes)
        # One program, since each operation on its own would be compiled as another.
        draw_inputs = jax.jit(lambda key: steps.sample_inputs(run.algorithm, key, num))

        @cache
        def inputs(index):
            of_member = jax.device_get(draw_inputs(run.local_keys[index]))
            return distributed.device_put(of_member, run.layout.replicated)

        first_phase = run.algorithm.phases[0]
        captions = class_names(num, num_classes, run.images[first_phase].training)
        columns = self.config.sample_grid[1]
        if captions:  # Samples of a class stand in columns of their own.
            columns = images.columns(num, len(set(captions)))

        def draw(generator, phase, index):
            samples = run.programs.sampler(generator, *inputs(index), phase=phase)
            return lambda: images.sheet(
                np.asarray(jax.device_get(samples)), columns, above=captions
            )

        return draw

    def measure(self, run: "Run") -> Measure:
        """Returns the function that computes the figures of samples, and leaks of augmentations."""
        sampler, several = run.programs.sampler, len(run.seeds) > 1
        evaluate = evaluation.Evaluator(
            run.algorithm,
            self.config,
            sampler=sampler,
            sharding=run.layout.all_devices,
            params=self.feature_params,
        )
        measure_leaks = [
            leaks.make_measure(run.algorithm, key=key, sampler=sampler) for key in run.local_keys
        ]
        # The smallest shares so far in each phase, since each phase has probes of its own.
        # Process 0 writes the rows, maybe later than others come here, and alone gives warnings.
        rows = read_metrics(run.folder / ROWS) if jax.process_index() == 0 else ()
        least_leaks = {
            phase: [
                leaks.least_of(
                    [row for row in rows if phase.start < row["step"] <= phase.stop],
                    seed if several else None,
                )
                for seed in run.seeds
            ]
            for phase in run.algorithm.phases
        }

        def measure(ema, phase, index):
            of_phase, key = run.images[phase], run.local_keys[index]
            figures = evaluate(ema, phase, of_phase.training, of_phase.held_out, key)
            figures = distributed.broadcast_from_primary(figures)
            if len({each.image_size for each in run.algorithm.phases}) > 1:
                # Figures at different resolutions do not compare: the resolution goes with them.
                figures = {"image_size": phase.image_size} | figures
            leaked = measure_leaks[index](ema, phase, of_phase.training)
            warnings = leaks.warnings(leaked, least_leaks[phase][index])
            return Measured(figures | leaked, tuple(warnings))

        return measure


def grid_size(grid: tuple[int, int], num_classes: int) -> int:
    """Returns the number of images in a grid, which is the same for each class if all have room.

    Args:
      grid: the grid's numbers of rows and columns.
      num_classes: the number of classes that are sampled.
    """
    rows, columns = grid
    return rows * columns // num_classes * num_classes or rows * columns


def class_names(num: int, num_classes: int, source: Source) -> list[str]:
    """Returns the class name of each of `num` samples, or an empty list without classes.

    Args:
      num: the number of samples, which take the classes in turn.
      num_classes: the number of classes that are sampled.
      source: the training images, whose classes may have names.
    """
    if num_classes == 1:
        return []
    names = source.label_names or [str(i) for i in range(num_classes)]
    return [names[i % num_classes] for i in range(num)]
