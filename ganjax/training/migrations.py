"""Migration of the config.json and the checkpoints of runs by older versions to this version.

A run's config.json and its checkpoints carry the number of their format, which is `FORMAT` if this
version wrote them, and 1 if they have none. A change of fields after which old runs could not be
read raises `FORMAT` and adds a function to `MIGRATIONS`; one of a state's arrays changes
`as_stored` and `completed`.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard, TypeVar

import jax.numpy as jnp
from jaxtyping import PyTree

from ganjax.config import ConfigError
from ganjax.engine.state import GanState

FORMAT = 4
KEY = "format"

Config = dict[str, Any]
State = TypeVar("State", GanState, tuple[GanState, ...])


def _from_1(config: Config) -> Config:
    """Removes fields that had no effect with the network, algorithm or source of their run."""
    config = dict(config)
    generator, discriminator = config.get("generator"), config.get("discriminator")
    if _is(generator, network="resnet", first_norm="channel"):
        config["generator"] = _without(generator, "first_norm")
    if _is(discriminator, network="dcgan", final_size=4):
        config["discriminator"] = _without(discriminator, "final_size")
    if config.get("algorithm") in ("progan", "ganjax.algorithms.progan"):
        config = _without(config, "batch_norm")
    data = config.get("data")
    if isinstance(data, dict) and not str(data.get("source")).startswith("folder:"):
        ignored = ("min_side", "max_skipped")
        config["data"] = {name: value for name, value in data.items() if name not in ignored}
    return config


def _from_2(config: Config) -> Config:
    """Leaves the moving average of the generator as it was, without `config.ema.warm_up`."""
    ema = config.get("ema")
    if isinstance(ema, dict) and set(ema) == {"decay", "half_life", "ramp_up"}:
        config = {**config, "ema": {**ema, "warm_up": False}}
    return config


def _from_3(config: Config) -> Config:
    """Writes a half-life that `ramp_up`, a share of the reals seen, bounded as a schedule."""
    ema = config.get("ema")
    if not isinstance(ema, dict) or "ramp_up" not in ema:
        return config
    ramp_up, half_life = ema["ramp_up"], ema.get("half_life")
    ema = _without(ema, "ramp_up")
    if ramp_up and half_life:
        over = max(1, round(half_life / ramp_up))
        ema["half_life"] = {"start": 0.0, "end": half_life, "over": over, "form": "linear"}
    return {**config, "ema": ema}


# Each function by the format that it reads; it returns the next one.
MIGRATIONS: dict[int, Callable[[Config], Config]] = {1: _from_1, 2: _from_2, 3: _from_3}


def upgraded(content: Config, where: str) -> Config:
    """Converts the content of a config.json, of this or an older format, to this version's fields.

    Args:
      content: the content of the file.
      where: the file's name for an error message.

    Returns:
      The fields, without the number of the format.

    Raises:
      ConfigError: the format is that of a newer version, or no number.
    """
    number = content.get(KEY, 1)
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise ConfigError(
            f"{where}: {KEY}={number!r}: this version of ganjax reads runs of formats 1 to "
            f"{FORMAT}; take a newer ganjax"
        )
    config = _without(content, KEY)
    for step in range(number, FORMAT):
        config = MIGRATIONS[step](config)
    return config


def as_stored(target: State, number: int) -> State:
    """Returns what a checkpoint of a format holds of a state of this version.

    Args:
      target: the shapes of the state's arrays; of an ensemble, those of its members' states.
      number: the format.
    """
    return target if number >= 3 else _map_statistics(_without_weights, target)


def completed(state: State, target: State, number: int) -> State:
    """Adds to the state in a checkpoint of a format what this version has besides.

    Until format 3 the averages of BatchNorm were not corrected for their start. They stay as they
    are with weights of 1.

    Args:
      state: the state, or those of members, as the checkpoint holds it.
      target: as for `as_stored`, with the shardings of the arrays.
      number: the format.
    """
    return state if number >= 3 else _map_statistics(_with_weights, state, target)


def _map_statistics(function: Callable[..., PyTree], state: Any, *others: Any) -> Any:
    """Applies a function to the collection "batch_stats" of both players and of the average."""
    if not isinstance(state, GanState):
        return tuple(
            _map_statistics(function, *members) for members in zip(state, *others, strict=True)
        )
    changed = {}
    for name in ("g", "d", "ema"):
        player, *of_others = (getattr(each, name) for each in (state, *others))
        if "batch_stats" in player.vars:
            statistics = function(*(each.vars["batch_stats"] for each in (player, *of_others)))
            changed[name] = player.replace(vars={**player.vars, "batch_stats": statistics})
    return state.replace(**changed)


def _without_weights(tree: PyTree) -> PyTree:
    if not isinstance(tree, Mapping):
        return tree
    names = set(tree) - {"weight"} if set(tree) == {"mean", "var", "weight"} else set(tree)
    return {name: _without_weights(tree[name]) for name in tree if name in names}


def _with_weights(tree: PyTree, target: PyTree) -> PyTree:
    if not isinstance(target, Mapping):
        return tree
    return {
        name: _with_weights(tree[name], leaf)
        if name in tree
        else jnp.ones(leaf.shape, leaf.dtype, device=leaf.sharding)
        for name, leaf in target.items()
    }


def _is(group: Any, **fields: Any) -> TypeGuard[Config]:
    return isinstance(group, dict) and all(group.get(n) == value for n, value in fields.items())


def _without(group: Config, name: str) -> Config:
    return {field: value for field, value in group.items() if field != name}
