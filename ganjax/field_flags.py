"""The flags --config.<field>: what each means, and what a mistaken one may have meant.

The meanings come from the docstrings of the schema.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import ml_collections
from absl import flags

from ganjax import errors
from ganjax.config import ConfigDict, Fields, OneOf, algorithm_module
from ganjax.config_file import group_for_number
from ganjax.errors import UserError

WIDTH = 100
INDENT = " " * 6


def describe(config: ConfigDict) -> str:
    """Returns a line and a paragraph for each field of a config.

    The line is the flag that sets the field to the value that it has, and the paragraph says what
    the field means, which values it takes if they are few, and its default if that is another.

    Args:
      config: the config, as `get_config` of a config file returns it.

    Raises:
      ConfigError: the config names no algorithm.
    """
    schema = algorithm_module(config.get("algorithm")).Config
    return "\n".join(_lines(schema, config, "config"))


def meanings(schema: type[Fields]) -> dict[str, str]:
    """Returns what the fields of a group mean, from "Attributes" in the docstrings of its classes.

    Args:
      schema: the group. The docstring of a class takes precedence over those of its bases.
    """
    found: dict[str, str] = {}
    for owner in reversed(schema.__mro__):
        _, _, listed = inspect.cleandoc(owner.__dict__.get("__doc__") or "").partition(
            "\nAttributes:\n"
        )
        for match in re.finditer(r"(?m)^  (\w+): (.*(?:\n    .*)*)", listed):
            found[match[1]] = " ".join(match[2].split())
    return found


def choices(schema: type[Fields], name: str) -> tuple[str, ...]:
    """Returns the values of a field that takes one of a few texts, and none of any other field."""
    info = schema.model_fields[name]
    named = [each.names for each in info.metadata if isinstance(each, OneOf)]
    return named[0] if named else tuple(v for v in get_args(info.annotation) if type(v) is str)


def kinds(schema: type[Fields], name: str) -> dict[str, type[Fields]]:
    """Returns the kinds of a part, such as networks, by the tag that names each in the config.

    Args:
      schema: the group that has the part.
      name: the part's field, which has a discriminator.
    """
    info = schema.model_fields[name]
    assert isinstance(info.discriminator, str)
    members = get_args(info.annotation)
    return {tag: kind for kind in members for tag in choices(kind, info.discriminator)}


def given(argv: Sequence[str]) -> dict[str, str]:
    """Returns what the flags --config.<field> say, by the dotted names of the fields."""
    found = {}
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        flag, equals, value = argument.partition("=")
        if match := re.fullmatch(r"--?config\.(.+)", flag):
            found[match[1]] = value if equals else following
    return found


def check(config: ConfigDict, path: str, value: str) -> None:
    """Refuses a flag for a field that the config, with the kinds that it has by now, lacks.

    Args:
      config: the config.
      path: the dotted name of the field.
      value: what the flag sets it to.

    Raises:
      UserError: there is no such field.
    """
    at, group = "config", config
    for name in path.split("."):
        if not isinstance(group, ml_collections.ConfigDict) or "[" in name:
            return  # An element of a value: ml_collections says what is wrong with it.
        if name not in group:
            near = [f"{at}.{each}" for each in errors.meant(name, group)]
            found_here = bool(near) and near[0].rpartition(".")[0] == at
            # Of a kind that a flag has chosen, the user may not know the fields.
            known = "" if found_here and group is config else f"there are {', '.join(group)}"
            mend = " ".join(filter(None, (errors.question(near), known)))
            raise UserError(f"--config.{path}={value}: {at} has no field {name}; {mend}")
        at, group = f"{at}.{name}", group[name]
    is_group = isinstance(group, ml_collections.ConfigDict)
    if is_group and not value.lstrip().startswith("{"):
        raise UserError(f"--config.{path}={value}: {_of_group(at, group, value)}")


def _of_group(at: str, group: ConfigDict, value: str) -> str:
    """Returns what is said of a value that a flag gives to a whole group of fields.

    Args:
      at: the group's name.
      group: the group, which may have a field that says of which kind it is.
      value: the value, which may be such a kind.
    """
    tag = next((each for each in ("network", "name", "policy") if each in group), None)
    mend = f"did you mean --{at}.{tag}={value}?" if tag else f"set its fields, {', '.join(group)}"
    return f"it is a group of fields; {mend}"


def unknown(error: flags.UnrecognizedFlagError, known: Sequence[str]) -> str:
    """Returns the message about a flag that does not exist.

    Args:
      error: the error of the flag, which is raised after all other flags are parsed.
      known: the names of the command's flags.
    """
    name, text = error.flagname, str(error.flagvalue)
    given = text if text.startswith("-") else f"--{name}"
    if name.startswith("config.") and "config" in known and flags.FLAGS["config"].value is None:
        return f"{given}: it sets a field of the config that --config names, which is missing"
    near = [f"--{each}" for each in resembling(name, known)]
    return f"{given}: there is no such flag; {errors.question(near) or '--help lists the flags'}"


def resembling(name: str, known: Sequence[str]) -> list[str]:
    """Returns the names of the flags that resemble a name, those of fields of the config too.

    Args:
      name: what was written in place of a flag's name.
      known: the names of the command's flags.
    """
    names: dict[str, Any] = dict.fromkeys(known)
    config = flags.FLAGS["config"].value if "config" in names else None
    if isinstance(config, ml_collections.ConfigDict):
        names["config"] = config
    return errors.meant(name, names)


def _lines(schema: type[Fields], group: ConfigDict, at: str, tag: str = "") -> Iterator[str]:
    """Yields the lines of a group's fields but its tag, and then those of the groups inside it."""
    texts, groups = meanings(schema), []
    for name in schema.model_fields:
        if isinstance(group.get(name), ml_collections.ConfigDict):
            groups.append(name)
        elif name != tag:
            yield f"--{at}.{name}={_shown(group.get(name))}"
            yield from _wrapped(f"{texts.get(name, '')}{_values(schema, name, group.get(name))}")
    for name in groups:
        info, part, path = schema.model_fields[name], group[name], f"{at}.{name}"
        yield ""
        yield f"{path}:"
        yield from _wrapped(texts.get(name, ""))
        held, own_tag = group_for_number(info) or info.annotation, ""
        if isinstance(info.discriminator, str):
            own_tag, of_kind = info.discriminator, kinds(schema, name)
            held = of_kind[part[own_tag]]
            yield f"--{path}.{own_tag}={part[own_tag]}"
            yield from _wrapped(f"the kind, which decides the fields. One of {', '.join(of_kind)}.")
        assert isinstance(held, type)
        yield from _lines(held, part, path, own_tag)


def _values(schema: type[Fields], name: str, value: Any) -> str:
    """Returns the sentences about a field's values: the few that it takes, and its default."""
    info, few = schema.model_fields[name], choices(schema, name)
    text = f" One of {', '.join(few)}." if few else ""
    default = info.get_default(call_default_factory=True)
    if not info.is_required() and default != value:
        text += f" The default of the field is {_shown(default)}."
    return text


def _shown(value: Any) -> str:
    """Returns a value as a flag takes it."""
    return value if isinstance(value, str) else repr(value).replace(" ", "")


def _wrapped(text: str) -> Iterator[str]:
    """Yields the lines of a paragraph under a flag."""
    yield from textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
