"""The configs of runs by name, for Python; a command's flags --config and --config.<field>.

>>> ganjax.configs.names()[:2]
['ada', 'ada:emoji64']
>>> config = ganjax.configs.load("wgan_gp")
>>> config.n_critic = 5
>>> config.generator.network
'dcgan'
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from ganjax import config_file, errors, shipped
from ganjax.config import ConfigDict, take_kinds
from ganjax.errors import UserError, naming_arguments


def names() -> list[str]:
    """Returns the names of all configs that come with ganjax, each with its presets after it.

    >>> "wgan_gp:celeb_a" in ganjax.configs.names()
    True
    """
    return [entry.name for entry in shipped.configs()]


@naming_arguments
def load(name: str | Path, changes: Mapping[str, Any] | None = None) -> ConfigDict:
    """Returns a config, whose fields can be read and set as attributes.

    >>> config = ganjax.configs.load("wgan_gp", {"d_optimiser.name": "rmsprop"})
    >>> sorted(config.d_optimiser)
    ['b2', 'decay', 'eps', 'learning_rate', 'name']

    Args:
      name: the name of a shipped config or the path of a config file, followed by :<preset> if
        wanted, such as "wgan_gp:celeb_a".
      changes: values of fields by their dotted names, as flags --config.<field> set them: another
        kind of a part gets the fields and defaults of that kind.

    Raises:
      UserError: there is no such config or field.
    """
    config = config_file.load_named(str(name))
    override(config, changes or {}, str(name))
    return config


@naming_arguments
def override(config: Any, changes: Mapping[str, Any], name: str = "the config") -> None:
    """Sets fields of a config as `load` does.

    >>> config = ganjax.load("runs/cwgan_gp").config
    >>> ganjax.configs.override(config, {"discriminator.network": "mlp", "seed": 1})
    >>> config.discriminator.widths
    (512, 512, 512)

    Args:
      config: the config, a ConfigDict or a nested dict, which is changed in place.
      changes: values of fields by their dotted names; a dict gives a whole group.
      name: the name of the config, for an error message.

    Raises:
      UserError: there is no such field.
    """
    if not changes:
        return
    # Imported here, because it imports JAX.
    from ganjax.training import epochs

    take_kinds(config, changes)
    for path, value in changes.items():
        *groups, field = path.split(".")
        group = config
        for part in groups:
            group = group.get(part)
            if not isinstance(group, dict | ml_collections.ConfigDict):
                raise UserError(f"override {path}={value!r}: {name} has no group {part}")
        if field not in group:
            mend = errors.question(errors.meant(path, config) or errors.meant(field, config))
            mend = mend or f"there are {', '.join(group)}"
            raise UserError(f"override {path}={value!r}: {name} has no such field; {mend}")
        group[field] = dict(value) if isinstance(value, Mapping) else value
    epochs.prefer(config, changes)
