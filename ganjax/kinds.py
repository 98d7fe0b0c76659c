"""What follows in a config when flags or a sweep set some fields: kinds, sizes, schedules."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, get_args

import ml_collections
from pydantic.fields import FieldInfo

from ganjax.config import Fields, algorithm_module, untyped
from ganjax.config_file import group_for_number, tags


def take_kinds(config: Any, changes: Mapping[str, Any]) -> None:
    """Gives parts of new kinds their fields and defaults, before flags or a sweep set fields.

    A part such as config.discriminator has a field, here `network`, that says of which kind it is,
    and each kind has fields and defaults of its own. Of the old kind only what was set of the
    fields `Fields.kept` stays, such as normalisation, on which the method may rely.

    What follows another field that is about to change, such as the widths of networks image_size,
    is changed with it (`Fields.follow`).

    Args:
      config: the whole config, a dict or ConfigDict, which is changed in place.
      changes: the fields that will be set, by their names without "config.", such as
        "discriminator.network", with their values; those of flags may be texts.

    Raises:
      ConfigError: the config names no algorithm.
    """
    name = changes.get("algorithm", config.get("algorithm"))
    schema = algorithm_module(name).Config
    _take_kinds(schema, config, config, changes, "")
    schema.follow(config, config, changes, "")


def _take_kinds(
    schema: type[Fields], group: Any, config: Any, changes: Mapping[str, Any], at: str
) -> None:
    for name, info in schema.model_fields.items():
        held, part = info.annotation, group.get(name)
        if replacement := group_for_number(info):
            _take_number(replacement, info, group, name, changes, f"{at}{name}")
        elif not isinstance(part, dict | ml_collections.ConfigDict):
            continue
        elif isinstance(info.discriminator, str):
            tag = part.get(info.discriminator)
            new = changes.get(f"{at}{name}.{info.discriminator}", tag)
            of_tag: dict[Any, Any] = {
                t: k for k in get_args(held) for t in tags(k, info.discriminator)
            }
            held = of_tag.get(new)
            if held and new != tag:
                kept = _kept(of_tag.get(tag), held, part)
                new_part = {n: _default(f) for n, f in held.model_fields.items()} | kept
                part = new_part if isinstance(part, dict) else untyped(new_part)
                group[name] = part
        if isinstance(held, type) and issubclass(held, Fields):
            _take_kinds(held, part, config, changes, f"{at}{name}.")
            held.follow(part, config, changes, f"{at}{name}.")


def _kept(old: type[Fields] | None, new: type[Fields], part: Any) -> dict[str, Any]:
    """Returns the fields that a part of a new kind keeps of an old one."""
    known = old.model_fields if old else {}
    both = [
        name for name in new.kept if name in part and name in known and name in new.model_fields
    ]
    return {name: part[name] for name in both if part[name] != _default(known[name])}


def _take_number(
    replacement: Any, info: FieldInfo, group: Any, name: str, changes: Mapping[str, Any], at: str
) -> None:
    """Makes a group of a number, or a number of a group, if changes ask for the other."""
    holds_group = isinstance(group.get(name), dict | ml_collections.ConfigDict)
    if at in changes:
        given = changes[at]
        new = given if isinstance(given, dict) else _default(info) if holds_group else None
    elif not holds_group and any(change.startswith(f"{at}.") for change in changes):
        new = replacement.constant(group.get(name))
    else:
        return
    if new is not None:
        typed = isinstance(group, ml_collections.ConfigDict)
        with group.ignore_type() if typed else nullcontext():
            group[name] = new


def _default(info: FieldInfo) -> Any:
    default = info.get_default(call_default_factory=True)
    return default.model_dump() if isinstance(default, Fields) else default
