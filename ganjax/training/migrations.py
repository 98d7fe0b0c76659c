"""Runs of older versions: what their config.json says, in the fields of this version.

A run's config.json and its checkpoints carry the number of their format, `FORMAT` for those that
this version writes; those without a number are of format 1. A change of fields that old runs could
not be read with raises `FORMAT` and adds a function to `MIGRATIONS`.
"""

from collections.abc import Callable
from typing import Any, TypeGuard

from ganjax.config import ConfigError

FORMAT = 2
KEY = "format"

Config = dict[str, Any]


def _from_1(config: Config) -> Config:
    """Takes away fields that did nothing beside the network, algorithm or source of their run."""
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


# By the format that each reads; it writes the next one.
MIGRATIONS: dict[int, Callable[[Config], Config]] = {1: _from_1}


def upgraded(content: Config, where: str) -> Config:
    """Returns the fields of a config.json of this or an older format, in those of this version.

    Args:
      content: what the file holds.
      where: the file, for the error.

    Raises:
      ConfigError: the format is a newer version's, or no number.
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


def _is(group: Any, **fields: Any) -> TypeGuard[Config]:
    return isinstance(group, dict) and all(group.get(n) == value for n, value in fields.items())


def _without(group: Config, name: str) -> Config:
    return {field: value for field, value in group.items() if field != name}
