"""Compilation of a run's first train step beside whatever else comes before that step.

The step's program is traced and lowered before the run's state is initialised or restored, since
Python does one thing at a time. Then a thread compiles it beside that, and while files are opened,
so that the call of the step finds it compiled: JAX keeps programs by function, shapes and
shardings.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax

from ganjax.data import pipeline
from ganjax.engine.phases import Phase, phase_of
from ganjax.errors import UserError
from ganjax.training import dispatch
from ganjax.training.setup import Run


@contextlib.contextmanager
def compiling(
    run: Run, step: int, pace: Callable[[int, Phase], int]
) -> Iterator[Callable[[], None]]:
    """Compiles the program that comes after `step` steps, beside the body of this context.

    Several processes do not, since the order of their programs should be the same. Nor does a run
    that begins another phase than the first, before which its state may have other shapes.

    Args:
      run: the run.
      step: the number of finished steps.
      pace: the function that returns the number of steps in a dispatch after a step of a phase.

    Yields:
      The function that waits until the program is compiled.
    """
    phase = phase_of(run.algorithm.phases, step)
    if jax.process_count() > 1 or step >= phase.stop:
        yield lambda: None
        return
    size = pace(step, phase)
    count = next(dispatch.counts(step, phase.stop, size, run.due(phase)))
    thread = threading.Thread(target=_compile, args=(_lowered(run, phase, count),))
    thread.start()
    try:
        yield thread.join
    except UserError as error:  # A command ends with it at once, and compiles nothing to the end.
        error.leaves_threads |= thread.is_alive()
        raise


def _lowered(run: Run, phase: Phase, count: int) -> jax.stages.Lowered:
    """Returns the program of a dispatch of `count` steps, lowered."""
    state = jax.tree.map(
        _placed, run.state_shapes, jax.tree.broadcast(run.state_sharding, run.state_shapes)
    )
    batches = pipeline.shapes(
        run.images[phase].training,
        phase,
        reals=run.algorithm.real_batches,
        count=count,
        sharding=run.layout.batches,
    )
    number = len(run.seeds)
    return run.programs.ensemble.lower((state,) * number, (batches,) * number, run.keys, phase)


def _compile(lowered: jax.stages.Lowered) -> None:
    """Compiles a program; an error is left to the call of the step."""
    with contextlib.suppress(Exception):
        lowered.compile()


def _placed(leaf: jax.ShapeDtypeStruct, sharding: Any) -> jax.ShapeDtypeStruct:
    """Returns the shape of a leaf of the state with its sharding."""
    return leaf.update(sharding=sharding)
