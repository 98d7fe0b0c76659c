"""The layers of both networks as a table, like that of Keras' `Model.summary`.

An algorithm consists of functions, so that `flax.linen.tabulate`, which takes a module, does not
apply. Instead, the calls of Flax modules are recorded while the initial state is traced, which
computes nothing and serves any algorithm whose networks are made of such modules.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

from ganjax.engine import step as steps
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.state import GanState, Player
from ganjax.models import norms

# A longer table is not printed at the start of a run.
MOST_ROWS = 40

Path = tuple[str, ...]
Shape = tuple[int, ...]


class Layer(NamedTuple):
    """A layer of a network.

    Attributes:
      name: the path of its module in the network.
      kind: the class of its module.
      output: the shape of its output for a batch of one image.
      trainable: the number of its parameters that an optimiser updates.
      others: the number of its other values, such as the averages of BatchNorm.
    """

    name: str
    kind: str
    output: Shape
    trainable: int
    others: int


class Network(NamedTuple):
    """One of the two networks.

    Attributes:
      name: "generator" or "discriminator".
      layers: its layers, in the order in which they are called, without dropout of rate 0.
      trainable: the number of its parameters that an optimiser updates.
      others: the number of its other values.
    """

    name: str
    layers: tuple[Layer, ...]
    trainable: int
    others: int

    @property
    def total(self) -> str:
        """The numbers of parameters as a line."""
        return (
            f"{self.name}: {self.trainable + self.others:,} parameters, {self.trainable:,} "
            f"trainable and {self.others:,} not"
        )


class _Call(NamedTuple):
    path: Path
    kind: str
    output: Shape
    # The shapes of a whole network's parameters by their paths; None of a layer.
    params: dict[Path, Shape] | None


def trace(algorithm: Algorithm, key: jax.Array) -> tuple[GanState, tuple[Network, Network]]:
    """Traces the initialisation of an algorithm.

    Args:
      algorithm: the algorithm.
      key: any random key.

    Returns:
      The shapes of its state at step 0, and its generator and discriminator.
    """
    calls: list[_Call] = []
    with nn.intercept_methods(partial(_record, calls)):
        state = jax.eval_shape(partial(steps.init_state, algorithm), key)
    generator = _network("generator", state.g, calls)
    return state, (generator, _network("discriminator", state.d, calls))


def table(networks: Sequence[Network]) -> str:
    """Returns the layers of networks as text, with the numbers of parameters.

    Args:
      networks: the networks. The first axis of their layers' outputs is printed as N.
    """
    return "\n\n".join("\n".join([*_rows(network), network.total]) for network in networks)


def short(networks: Sequence[Network]) -> str:
    """Returns the same, but only the numbers of parameters of networks of many layers."""
    if sum(len(network.layers) for network in networks) <= MOST_ROWS:
        return table(networks)
    lines = [network.total for network in networks]
    return "\n".join([*lines, "(ganjax summary NAME lists their layers)"])


def _record(
    calls: list[_Call],
    call: Callable,
    args: tuple,
    kwargs: dict,
    context: nn.module.InterceptorContext,
) -> Any:
    """Calls a method of a module, and records it if it is the module's `__call__`."""
    output, module = call(*args, **kwargs), context.module
    no_layer = isinstance(module, nn.Dropout) and module.rate == 0
    if context.method_name == "__call__" and not no_layer:
        params = None if module.path else _shapes(module.variables.get("params", {}))
        shape = jax.tree.leaves(output)[0].shape
        calls.append(_Call(tuple(module.path), type(module).__name__, shape, params))
    return output


def _network(name: str, player: Player, calls: Sequence[_Call]) -> Network:
    """Describes the network of a player, given the calls of both players' modules."""
    shapes = _shapes(player.params)
    of_player: dict[Path, _Call] = {}
    since: list[_Call] = []
    for each in calls:
        since.append(each)
        if each.params is not None:  # The call of a network ends after those of its layers.
            if each.params.items() <= shapes.items():
                # Of a growing network every resolution is called, and has most layers again.
                of_player |= {call.path: call for call in since if call.path not in of_player}
            since = []
    whole = of_player.pop((), None)  # Values of its own, outside of all layers, come last.
    of_player |= {} if whole is None else {(): whole}
    trainable = _counts(player.params, of_player)
    values = [_counted(variables) for variables in player.vars.values()]
    others = _counts(values, of_player)
    layers = tuple(
        Layer("/".join(path) or name, call.kind, call.output, trainable[path], others[path])
        for path, call in of_player.items()
        if trainable[path] or others[path] or not _contains_layers(path, of_player)
    )
    return Network(name, layers, _size(player.params), _size(values))


def _counted(variables: PyTree) -> PyTree:
    """Leaves out the weights of BatchNorm's averages, as Keras counts no steps of an optimiser."""
    flat = flatten_dict(variables)
    return unflatten_dict({path: leaf for path, leaf in flat.items() if path[-1] != norms.WEIGHT})


def _contains_layers(path: Path, paths: Iterable[Path]) -> bool:
    """Returns whether the module at a path consists of others."""
    return any(other[: len(path)] == path and other != path for other in paths)


def _counts(trees: PyTree, paths: Collection[Path]) -> Counter[Path]:
    """Counts the values in trees by the innermost of the modules at `paths` that each is of."""
    counts: Counter[Path] = Counter()
    for tree in trees if isinstance(trees, list) else [trees]:
        for path, leaf in _leaves(tree).items():
            within = (path[:length] for length in range(len(path), -1, -1))
            counts[next((module for module in within if module in paths), ())] += leaf.size
    return counts


def _shapes(tree: PyTree) -> dict[Path, Shape]:
    return {path: leaf.shape for path, leaf in _leaves(tree).items()}


def _leaves(tree: PyTree) -> dict[Path, Any]:
    """Returns the leaves of nested dicts by their paths, whose names may have a "/" inside."""
    return {tuple("/".join(path).split("/")): leaf for path, leaf in flatten_dict(tree).items()}


def _size(tree: PyTree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _rows(network: Network) -> list[str]:
    """Returns the lines of a network's table, its columns aligned."""
    header = (network.name, "kind", "output", "trainable", "not trainable")
    rows = [header] + [
        (
            layer.name,
            layer.kind,
            f"({', '.join(['N', *map(str, layer.output[1:])])})",
            f"{layer.trainable:,}",
            f"{layer.others:,}",
        )
        for layer in network.layers
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if i < 3 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
