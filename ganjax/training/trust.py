"""What a run's config.json may name without the user's word, since a folder may be a stranger's.

A config file is a program, and whoever passes it to --config runs it. A config.json is data: a
reader of a run executes no code that comes with it or that it points to.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from ganjax.config import ConfigError, is_own_algorithm

# The kind of sources that are functions of a user's own.
FUNCTION = "python:"
# A set of TFDS itself, perhaps with a config and a version. A namespace before it downloads code,
# and arguments after it may point to a folder whose description names modules.
OWN_TFDS = re.compile(r"tfds:\w+(/[\w+.-]+)?(:[\d.*]+)?")


def refuse_code(fields: Mapping[str, Any], where: str, trust: bool | Collection[str]) -> None:
    """Refuses the fields of a config.json that name code outside of ganjax; nothing is imported.

    Args:
      fields: the fields, unchecked.
      where: the file's name for the error message.
      trust: True if the run is trusted; or the values of fields that are, since the user has given
        the same ones.

    Raises:
      ConfigError: config.algorithm is a module outside of ganjax.algorithms, or config.data.source
        a function, or a set for which TFDS would import modules that are not its own.
    """
    if trust is True:
        return
    trusted = trust or ()
    data = fields.get("data")
    source = data.get("source") if isinstance(data, Mapping) else None
    algorithm = fields.get("algorithm")
    named = []
    if isinstance(algorithm, str) and not is_own_algorithm(algorithm):
        named.append(("algorithm", algorithm))
    if isinstance(source, str) and not _is_own(source):
        named.append(("data.source", source))
    for name, value in named:
        if value not in trusted:
            raise ConfigError(
                f"{where}: config.{name}={value!r} would execute code that is not ganjax's; if you "
                "know that code and trust it, add --trust (in Python trust=True)"
            )


def _is_own(source: str) -> bool:
    """Returns whether a value of config.data.source names no code but ganjax's and TFDS's own."""
    if source.startswith("tfds:"):
        return OWN_TFDS.fullmatch(source) is not None
    return not source.startswith(FUNCTION)
