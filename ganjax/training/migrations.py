"""Migration of the config.json of runs by older versions to the fields of this version.

A run's config.json and its checkpoints carry the number of their format, which is `FORMAT` if this
version wrote them, and 1 if they have none. A change of fields after which old runs could not be
read raises `FORMAT` and adds a function to `MIGRATIONS`.
"""

from collections.abc import Callable
from typing import Any, TypeGuard

from ganjax.config import ConfigError

FORMAT = 2
KEY = "format"

Config = dict[str, Any]


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


# Each function by the format that it reads; it returns the next one.
MIGRATIONS: dict[int, Callable[[Config], Config]] = {1: _from_1}


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


def _is(group: Any, **fields: Any) -> TypeGuard[Config]:
    return isinstance(group, dict) and all(group.get(n) == value for n, value in fields.items())


def _without(group: Config, name: str) -> Config:
    return {field: value for field, value in group.items() if field != name}
