"""Times the train step of configs/ada.py in ganjax and in Keras on TensorFlow, on CPU.

TensorFlow gets an environment of its own:
    python -m venv keras_venv && keras_venv/bin/pip install tensorflow-cpu
    python -m experiments.benchmarks.keras_step --python=keras_venv/bin/python --rounds=8

The step is that of Keras' example without augmentation (64x64, width 128), in Keras as a
tf.function with and without jit_compile. Before the clock starts, two steps from the same weights
and noise are shown to give the same losses, in float64 and without dropout. Then the processes
alternate, a few steps at a time, and wait for input in between.
"""

import argparse
import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from experiments.benchmarks import job
from experiments.benchmarks.clock import (
    OURS,
    Unequal,
    alternate,
    program,
    report,
    summary,
    threads,
)
from experiments.benchmarks.contender import Contender, start
from experiments.benchmarks.ours import STEPS, Ours, Start, load
from experiments.benchmarks.torch_noise import noise_of
from experiments.tools import arguments
from ganjax.engine.state import GanState
from ganjax.runtime import huge_pages

HERE = Path(__file__).parent
CONTENDERS = {"keras tf.function": False, "keras jit_compile": True}
CONFIG, FIELDS = "ada:emoji64", {"augment": {"policy": "none"}}
AVERAGES = ("mean", "var")  # Keras does not correct them for their start.
# The relative tolerances of the losses of the first and of the second step.
TOLERANCES = (1e-6, 1e-3)


def weights(state: GanState) -> dict[str, np.ndarray]:
    """Returns the weights of both players, "g_0", ..., "d_0", ..., in the order of Keras."""

    def norm(player, i):
        name = f"BatchNorm_{i}"
        averages = player.vars["batch_stats"][name]
        return [player.params[name]["bias"], *(averages[n] for n in AVERAGES)]

    g, d = state.g.params, state.d.params
    first = np.asarray(g["ConvTranspose_0"]["kernel"])
    # The first layer is dense in Keras: (4, 4, O, Z) -> (Z, 16 O).
    found = {"g": [first.transpose(3, 0, 1, 2).reshape(first.shape[3], -1), *norm(state.g, 0)]}
    last = len(g) // 2
    for i in range(1, last):
        found["g"] += [g[f"ConvTranspose_{i}"]["kernel"], *norm(state.g, i)]
    found["g"] += [g[f"ConvTranspose_{last}"]["kernel"], g[f"ConvTranspose_{last}"]["bias"]]
    last, found["d"] = len(d) // 2, []
    for i in range(last):
        found["d"] += [d[f"Conv_{i}"]["kernel"], *norm(state.d, i)]
    kernel = np.asarray(d[f"Conv_{last}"]["kernel"])
    found["d"] += [kernel.reshape(-1, kernel.shape[-1]), d[f"Conv_{last}"]["bias"]]
    return {
        f"{name}_{i}": np.asarray(array)
        for name, arrays in found.items()
        for i, array in enumerate(arrays)
    }


class Peer(Contender):
    """Keras in a process of its own, with the weights of ganjax's state.

    Args:
      python: the Python of an environment with TensorFlow.
      ours: ganjax's step, whose config and weights the peer takes.
      jit_compile: whether tf.function compiles by XLA.
      dtype: the dtype of the parameters.

    Raises:
      Unequal: the numbers of parameters differ.
    """

    def __init__(self, python: str, ours: Start, jit_compile: bool, dtype: str):
        config = ours.config
        adam = config.g_optimiser
        if adam != config.d_optimiser:
            raise ValueError("the peer has one set of Adam's fields for both players")
        options = {
            "threads": threads(),
            "dtype": dtype,
            "jit_compile": jit_compile,
            "latent_dim": config.latent_dim,
            "image_size": config.image_size,
            "batch_size": config.batch_size,
            "generator_widths": config.generator.widths,
            "discriminator_widths": config.discriminator.widths,
            "slope": config.discriminator.slope,
            "dropout": config.discriminator.final_dropout,
            "batch_norm": config.batch_norm.model_dump(),
            "adam": adam.model_dump(),
            "ema": config.ema.decay,
        }
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [python, "-P", str(HERE / "keras_peer.py"), json.dumps(options)]
        super().__init__(command, env=environment)
        try:
            self._load(ours)
        except BaseException:
            self.__exit__()
            raise

    def _load(self, ours: Start) -> None:
        counts = [
            sum(leaf.size for leaf in jax.tree.leaves(player.params))
            + sum(each[n].size for each in player.vars["batch_stats"].values() for n in AVERAGES)
            for player in (ours.state.g, ours.state.d)
        ]
        if self.hello["parameters"] != counts:
            raise Unequal(f"the peer has {self.hello['parameters']} parameters, ours is {counts}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.npz"
            np.savez(path, allow_pickle=False, **weights(ours.state))
            self.ask(weights=str(path))


def check_equal(python: str) -> dict:
    """Checks in float64 that two steps from the same weights and noise have the same losses.

    The tolerance of the second step is larger: it starts from updated weights, and Adam's first
    update is as large as the learning rate however small a gradient is, so that rounding may change
    its sign. Moreover Keras adds eps before it corrects the bias.

    Args:
      python: the Python of an environment with TensorFlow.

    Returns:
      A dict of the peer's `versions` and of `difference`, the largest relative difference of each
      step.

    Raises:
      Unequal: a difference is above the tolerance, or the numbers of parameters differ.
    """
    fields, differences = FIELDS | {"batch_size": 8, "discriminator.final_dropout": 0.0}, []
    with jax.enable_x64(True), tempfile.TemporaryDirectory() as folder:
        ours, arrays = Ours(load(CONFIG, **fields), "float64"), str(Path(folder) / "arrays.npz")
        with Peer(python, ours, False, "float64") as peer:
            print(peer.hello)
            for step, tolerance in enumerate(TOLERANCES):
                (noise,) = noise_of(ours.config, ours.algorithm, ours.key, step, 8)
                np.savez(arrays, image=ours.batch["image"][0], z=noise["z"])
                expected, got = ours.step(), peer.ask(check=arrays)
                errors = {
                    name: abs(value - expected[name]) / (abs(expected[name]) or 1)
                    for name, value in got.items()
                }
                metric = max(errors, key=errors.__getitem__)
                print(f"step {step + 1}: equal to {errors[metric]:.1e} ({metric})", flush=True)
                if not errors[metric] < tolerance:
                    raise Unequal(f"keras: {metric} is {got[metric]}, ours is {expected[metric]}")
                differences.append(errors[metric])
            return {"versions": peer.hello["versions"], "difference": differences}


def compare(python: str, batch_size: int, rounds: int) -> dict:
    """Times a step of ganjax and of Keras.

    Args:
      python: the Python of an environment with TensorFlow.
      batch_size: the batch size of the step.
      rounds: the number of rounds in which each is timed.

    Returns:
      The summary of `experiments.benchmarks.clock.summary`, with the `batch_size`, the result of
      `check_equal`, and the `peak_mib` of each peer's process after a few steps.

    Raises:
      job.Failed: the contenders do not compute the same, or a process ended.
    """
    result = job.run("keras_step.check_equal", python=python)
    result |= {"batch_size": batch_size, "peak_mib": {}}
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(start("keras_step.contender", batch_size=batch_size))
        contenders, begin = {OURS: ours.steps}, Start(load(CONFIG, **FIELDS, batch_size=batch_size))
        for name, jit_compile in CONTENDERS.items():
            peer = stack.enter_context(Peer(python, begin, jit_compile, "float32"))
            contenders[name] = peer.steps
            peer.steps(STEPS)
            result["peak_mib"][name] = peer.ask(peak=True)
        return result | summary(alternate(contenders, rounds))


def contender(batch_size: int) -> Callable[[], object]:
    """Returns ganjax's step; called in the process that takes it."""
    return Ours(load(CONFIG, **FIELDS, batch_size=batch_size)).step


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--python",
        type=program,
        required=True,
        help="the Python of an environment with TensorFlow",
    )
    parser.add_argument("--rounds", type=arguments.count, default=8)
    parser.add_argument("--batch_size", type=arguments.count, default=32)
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.default_backend()}, batch size {args.batch_size}")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
    try:
        report(compare(args.python, args.batch_size, args.rounds))
    except job.Failed as error:
        parser.error(str(error))


if __name__ == "__main__":
    huge_pages.restart()
    main()
