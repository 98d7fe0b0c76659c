"""The arrays of two runs' networks: which of them fit, and the state that takes them over."""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ganjax.engine import step as steps
from ganjax.engine.state import GanState
from ganjax.models.progan import FADE
from ganjax.training import schema

# What a user may allow to differ, and what happens to it.
RULES = {
    "classes": "what belongs to classes begins anew",
    "resolution": "layers of resolutions that one of both lacks begin anew or are left out",
}
# For each array that is taken, by its name, the axis and the number of its first elements along
# that axis; None for the whole array.
Parts = Mapping[str, tuple[int, int] | None]
Arrays = dict[str, Any]


class Misfit(Exception):
    """An array of one run has no fitting one in the other; the message says which."""


class Side(NamedTuple):
    """One of two runs.

    Attributes:
      loaded: its config and the module of its algorithm.
      shapes: the shapes of its state.
    """

    loaded: schema.Loaded
    shapes: GanState


def weights(state: GanState, players: str) -> Arrays:
    """Returns the arrays, or shapes, of a state that another run can take, by their names.

    Args:
      state: the state.
      players: "both", or "generator" for it and its average alone.
    """
    leaves = jax.tree_util.tree_leaves_with_path(_taken(state, players))
    return {_name(path): leaf for path, leaf in leaves}


def parts(here: Side, there: Side, players: str, allow: Collection[str]) -> Parts:
    """Returns which parts of which arrays the one run takes from the other.

    Args:
      here: the run that takes them.
      there: the other run.
      players: as for `weights`.
      allow: those of `RULES` that apply.

    Raises:
      Misfit: an array of one of them has none in the other that fits.
    """
    own, others = (weights(side.shapes, players) for side in (here, there))
    own_classes, their_classes = ({}, {})
    if "classes" in allow:
        own_classes, their_classes = (_class_axes(side, players) for side in (here, there))
    may_lack = "resolution" in allow and _named_by_resolution(here.loaded.config)
    taken: dict[str, tuple[int, int] | None] = {}
    for name, array in own.items():
        shape, other = array.shape, others[name].shape if name in others else None
        if name in own_classes:
            # Before the classes along the axis may be others, as the latent before one-hot labels.
            axis = own_classes[name]
            count = shape[axis] - _classes(here)
            labels = _classes(there) if name in their_classes else 0
            if count and other != (*shape[:axis], count + labels, *shape[axis + 1 :]):
                raise Misfit(f"{name} is {other} there and {shape} here")
            if count:
                taken[name] = (axis, count)
        elif other == shape:
            taken[name] = None
        elif other is not None:
            raise Misfit(f"{name} is {other} there and {shape} here")
        elif not may_lack:
            raise Misfit(f"{name} is not there")
    if not may_lack and (left := others.keys() - own.keys() - their_classes.keys()):
        raise Misfit(f"{min(left)} is there and not here")
    return taken


def merged(taken: Parts, fresh: GanState, other: GanState) -> GanState:
    """Returns a state at step 0 with what it takes from another run's state.

    Args:
      taken: what it takes, from `parts`.
      fresh: the state as it is initialised.
      other: the other run's state.
    """
    others = weights(other, "both")

    def chosen(path, leaf):
        name = _name(path)
        if name not in taken:
            return leaf
        part = taken[name]
        if part is None:
            return others[name]
        axis, count = part
        kept = jax.lax.slice_in_dim(others[name], 0, count, axis=axis)
        rest = jax.lax.slice_in_dim(leaf, count, None, axis=axis)
        return jnp.concatenate([kept, rest], axis)

    changed = jax.tree_util.tree_map_with_path(chosen, _taken(fresh, "both"))
    players = {}
    for name, of_player in changed.items():
        player = getattr(fresh, name)
        vars = {**player.vars, **of_player["vars"]}
        players[name] = player.replace(params=of_player["params"], vars=vars)
    return fresh.replace(**players)


def helpful(
    old: Mapping[str, Any], new: Mapping[str, Any], config: schema.LoopConfig
) -> Iterator[str]:
    """Yields those of `RULES` that may help where weights do not fit.

    Args:
      old: the fields of the other run.
      new: the fields of this run.
      config: the config of this run.
    """
    if old["data"].get("num_classes") != new["data"].get("num_classes"):
        yield "classes"
    of_sizes = [(fields.get("image_size"), fields.get("growth")) for fields in (old, new)]
    if of_sizes[0] != of_sizes[1] and _named_by_resolution(config):
        yield "resolution"


def _taken(state: GanState, players: str) -> dict[str, dict[str, Any]]:
    """Returns the parameters and variables of the players that `weights` names."""
    found = {}
    for name in ("g", "ema", "d") if players == "both" else ("g", "ema"):
        player = getattr(state, name)
        # How far layers are faded in depends on the step.
        vars = {each: values for each, values in player.vars.items() if each != FADE}
        found[name] = {"params": player.params, "vars": vars}
    return found


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _class_axes(side: Side, players: str) -> dict[str, int]:
    """Returns the axis of each array that depends on the number of classes, by the array's name."""
    config: Any = side.loaded.config
    module = side.loaded.module
    if getattr(config.data, "num_classes", 1) == 1:
        return {}
    data = config.data.model_copy(update={"num_classes": config.data.num_classes + 1})
    algorithm = module.build(config.model_copy(update={"data": data}))
    shapes = jax.eval_shape(partial(steps.init_state, algorithm), jax.random.key(0))
    more = weights(shapes, players)
    return {
        name: axis
        for name, array in weights(side.shapes, players).items()
        for axis, sizes in enumerate(zip(array.shape, more[name].shape, strict=True))
        if sizes[0] != sizes[1]
    }


def _named_by_resolution(config: schema.LoopConfig) -> bool:
    """Returns whether the names of layers say at which resolution they are."""
    networks = [getattr(config, name, None) for name in ("generator", "discriminator")]
    return all(getattr(network, "named_by_resolution", False) for network in networks)


def _classes(side: Side) -> int:
    """Returns the number of classes, which is 1 of reals without labels."""
    return getattr(side.loaded.config.data, "num_classes", 1)
