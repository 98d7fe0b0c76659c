"""Times a train step with ganjax's convolutions and with those of flax.linen, on CPU.

    python -m experiments.benchmarks.flax_step --config=dcgan:celeb_a --batch_size=32

Networks and step are the same, but in one of the two the layers call the operations that
`flax.linen.Conv` and `flax.linen.ConvTranspose(transpose_kernel=True)` call, and JAX differentiates
them. There the updates of D are unrolled, because XLA on CPU is slow with such convolutions inside
a loop. Before the clock starts, both are shown to arrive at the same parameters after a step in
float64.
"""

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import lax

from experiments.benchmarks import job
from experiments.benchmarks.clock import (
    OURS,
    Unequal,
    alternate,
    report,
    summary,
)
from experiments.benchmarks.contender import start
from experiments.benchmarks.ours import Ours, load
from experiments.tools import arguments
from ganjax.errors import UserError
from ganjax.models import layers
from ganjax.ops import convolutions as ops
from ganjax.runtime import huge_pages

FLAX = "flax.linen's convolutions"
# The tolerance, relative to the change of all parameters in a step. Gradient penalties are always
# computed in float32, and Adam's first update magnifies their rounding where a gradient is near 0.
TOLERANCE = 1e-3
# Few steps in a row suffice: Flax's take so long that the other contender's threads no longer spin.
RUN = 2
SAME = (1, "SAME")  # Stride and padding.
LAYOUT = ("NHWC", "HWIO", "NHWC")


@contextlib.contextmanager
def flax_convolutions() -> Iterator[None]:
    """Makes functions that are traced in this context convolve as flax.linen does.

    Resampling is then an operation of its own.
    """
    ours = ops.conv, ops.conv_transpose, dict(layers.RESAMPLED)
    ops.conv, ops.conv_transpose = _conv, _conv_transpose
    layers.RESAMPLED["up"] = lambda x, kernel, feature_group_count=1: _conv(
        layers.repeat(x), kernel, *SAME, feature_group_count
    )
    layers.RESAMPLED["down"] = lambda x, kernel, feature_group_count=1: layers.mean_pool(
        _conv(x, kernel, *SAME, feature_group_count)
    )
    try:
        yield
    finally:
        ops.conv, ops.conv_transpose, resampled = ours
        layers.RESAMPLED.update(resampled)


def _conv(x, kernel, strides, padding, feature_group_count=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        _pair(strides),
        _pads(padding),
        dimension_numbers=LAYOUT,
        feature_group_count=feature_group_count,
    )


def _conv_transpose(x, kernel, strides, padding, feature_group_count=1):
    if feature_group_count != 1:
        raise ValueError("lax has no transposed convolution of groups")
    return lax.conv_transpose(
        x,
        kernel,
        _pair(strides),
        _pads(padding),
        dimension_numbers=LAYOUT,
        transpose_kernel=True,
    )


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def _pads(padding):
    return padding if isinstance(padding, str) else [_pair(each) for each in _pair(padding)]


def check_equal(config: str, fields: dict) -> float:
    """Checks in float64 that one step from the same state arrives at the same parameters.

    Args:
      config: the name of a config, as `experiments.benchmarks.ours.load` takes it.
      fields: values for some of its fields.

    Returns:
      The norm of the difference between the two results, divided by the norm of the change that the
      step made to the parameters of both players.

    Raises:
      Unequal: the difference is above the tolerance.
    """

    def parameters(ours: Ours) -> list[np.ndarray]:
        # Copies, since a step reuses the memory of its state.
        return [np.array(leaf) for leaf in jax.tree.leaves((ours.state.g, ours.state.d))]

    with jax.enable_x64(True):
        loaded = load(config, **fields | {"batch_size": 8})
        ours = Ours(loaded, "float64")
        with flax_convolutions():
            peer = Ours(loaded, "float64", unroll=True)
        before = parameters(ours)
        ours.step()
        peer.step()
        after, got = parameters(ours), parameters(peer)

    def distance(these, those):
        return np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(these, those, strict=True)))

    difference = float(distance(got, after) / distance(after, before))
    print(f"one step: the same parameters to {difference:.1e} of the way they went", flush=True)
    if not difference < TOLERANCE:
        raise Unequal(f"{FLAX}: the parameters differ by {difference:.1e} of the way they went")
    return difference


def compare(config: str, fields: dict, rounds: int) -> dict:
    """Times a step with ganjax's convolutions and with Flax's.

    Args:
      config: the name of a config, as `experiments.benchmarks.ours.load` takes it.
      fields: values for some of its fields.
      rounds: the number of rounds in which each is timed.

    Returns:
      The summary of `experiments.benchmarks.clock.summary`, with the `batch_size` and the
      `difference` that `check_equal` returns.

    Raises:
      UserError: there is no such config.
      job.Failed: the two do not arrive at the same parameters, or a process ended.
    """
    which = {"config": config, "fields": fields}
    result: dict[str, Any] = {"difference": {FLAX: job.run("flax_step.check_equal", **which)}}
    result["batch_size"] = load(config, **fields).config.batch_size
    with contextlib.ExitStack() as stack:
        contenders = {
            name: stack.enter_context(start("flax_step.contender", **which, name=name)).steps
            for name in (OURS, FLAX)
        }
        return result | summary(alternate(contenders, rounds, RUN))


def contender(config: str, fields: dict, name: str) -> Callable[[], object]:
    """Returns the step of `OURS` or `FLAX`; called in the process that takes it."""
    loaded = load(config, **fields)
    if name == OURS:
        return Ours(loaded).step
    with flax_convolutions():
        return Ours(loaded, unroll=True).step


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--config", default="dcgan:celeb_a", help="<name>[:<preset>] of a file of configs/"
    )
    parser.add_argument("--rounds", type=arguments.count, default=4)
    parser.add_argument("--batch_size", type=arguments.count, help="instead of the config's")
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
    fields = {"batch_size": args.batch_size} if args.batch_size else {}
    try:
        report(compare(args.config, fields, args.rounds))
    except (UserError, job.Failed) as error:
        parser.error(str(error))


if __name__ == "__main__":
    huge_pages.restart()
    main()
