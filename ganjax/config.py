"""What schemas of configs are made of: groups of fields, their defaults, errors of one line.

Every part of ganjax declares its own fields where it is built: a network beside its module, a
penalty beside its function. `ganjax.training.schema` holds what the training loop honours and
loads whole configs; an algorithm's `Config` puts both together.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_args

import ml_collections
import pydantic
from pydantic import Field, PositiveInt

from ganjax.errors import UserError

if TYPE_CHECKING:
    ConfigDict = Any  # Its attributes are the fields of a schema, which a type checker cannot know.
else:
    ConfigDict = ml_collections.ConfigDict

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Level = Annotated[int, Field(ge=0, le=255)]

MAY_CHANGE = "may_change"
# How alike a misspelt name must be to the one that is suggested (difflib's ratio).
CLOSE = 0.7


class ConfigError(UserError):
    """A config that cannot be run."""


class Fields(pydantic.BaseModel):
    """A group of fields: frozen, strict in types, closed to unknown names.

    A field has the default that means "without it", so that a config states only what makes its
    experiment, and runs of versions that did not know the field can be loaded. A field without a
    default (a size, a number of steps) has no such meaning, and every config states it.
    """

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


def may_change(default: Any) -> Any:
    """Declares a field that may differ between a run and its continuation.

    A change of any other field makes another run.
    """
    return Field(default=default, json_schema_extra={MAY_CHANGE: True})


def changeable(group: Fields, prefix: str = "config") -> Iterator[str]:
    """Yields the dotted names of the fields of a config that were declared by `may_change`."""
    for name, info in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, Fields):
            yield from changeable(value, f"{prefix}.{name}")
        elif isinstance(info.json_schema_extra, dict) and MAY_CHANGE in info.json_schema_extra:
            yield f"{prefix}.{name}"


def defaults(schema: type[Fields], **fields: Any) -> ConfigDict:
    """Returns a ConfigDict of all fields of a group, for a config file to change.

    Args:
      schema: the group.
      **fields: values of its fields; those of a group inside it as a dict. Others have their
        defaults.

    Raises:
      ConfigError: a field that has no default is not given, or a value is none that it can have.
    """
    try:
        return ml_collections.ConfigDict(schema.model_validate(fields).model_dump())
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, schema, fields)) from None


def presets(*makers: Callable[[], ConfigDict]) -> Callable[[str], ConfigDict]:
    """Returns the `get_config` of a config file, which makes a config by the name of its preset.

    Args:
      *makers: functions that make a config each. The first is the default's, which
        `--config=configs/<file>.py` takes; `--config=configs/<file>.py:<name>` takes the others,
        by the names of the functions.

    Returns:
      A function from the name of a preset, "" for the default, to its config. Its attribute
      `presets` is the dict of all, the default under "".
    """
    known = {"": makers[0]} | {maker.__name__: maker for maker in makers[1:]}

    def get_config(preset: str = "") -> ConfigDict:
        if preset not in known and preset != makers[0].__name__:
            raise ValueError(
                f"preset {preset!r}: there are {', '.join(m.__name__ for m in makers)}"
            )
        return known.get(preset, makers[0])()

    get_config.presets = known
    return get_config


def without_defaults_of_other_kinds(schema: type[Fields], raw: dict) -> dict:
    """Drops from a config what belongs to kinds of its parts that it does not take.

    A flag such as `--config.generator.network=resnet` changes the kind of a part and leaves the
    fields of the kind before. Those that the new kind does not have are dropped where they have
    the defaults of the kind before, and so say nothing; others are left, to be refused.

    Args:
      schema: of the config.
      raw: the config's content.
    """
    cleaned = dict(raw)
    for name, info in schema.model_fields.items():
        value = raw.get(name)
        if not isinstance(value, dict):
            continue
        kinds, kind = get_args(info.annotation), info.annotation
        if isinstance(info.discriminator, str):
            tag = value.get(info.discriminator)
            taken = [k for k in kinds if tag in _tags(k, info.discriminator)]
            if not taken:
                continue
            kind = taken[0]
            # The kind before is the one that knows most of the fields.
            given = value.keys()
            before = max(kinds, key=lambda k: len(given & k.model_fields.keys()))
            value = {
                field: content
                for field, content in value.items()
                if field in kind.model_fields or not _is_default(before, field, content)
            }
        if isinstance(kind, type) and issubclass(kind, Fields):
            value = without_defaults_of_other_kinds(kind, value)
        cleaned[name] = value
    return cleaned


def _is_default(kind: type[Fields], field: str, value: Any) -> bool:
    if field not in kind.model_fields:
        return False
    default = kind.model_fields[field].default
    default = default.model_dump() if isinstance(default, Fields) else default
    return default == (tuple(value) if isinstance(value, list) else value)


def explain(error: pydantic.ValidationError, schema: type[Fields], raw: dict) -> str:
    """Describes a validation error in one line: the field, its value and the mend.

    Args:
      error: what validating raised.
      schema: the group of fields that was validated.
      raw: the content that was validated.
    """
    return _line(_first(error.errors()), schema, raw)


def _first(errors: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the error to report; a misspelt name goes before the field missing for it."""
    missing = {error["loc"] for error in errors if error["type"] == "missing"}
    for error in errors:
        *group, name = error["loc"]
        if error["type"] == "extra_forbidden":
            missing_here = [str(loc[-1]) for loc in missing if list(loc[:-1]) == group]
            if difflib.get_close_matches(str(name), missing_here, 1, CLOSE):
                return error
    return errors[0]


def _line(error: Mapping[str, Any], schema: type[Fields], raw: dict) -> str:
    """Describes one pydantic error as "config.<field>=<value>: <what is wrong and the mend>"."""
    names, parts = ["config"], [str(part) for part in error["loc"]]
    group, kind = schema, ""  # The one that the last name is of, and which of several it is.
    held: Any = schema  # The type of what the last name holds.
    while parts:
        names.append(parts.pop(0))
        info = getattr(held, "model_fields", {}).get(names[-1])
        group, held = held, info and info.annotation
        if info and parts:
            kind, raw = "", raw.get(names[-1], {})
        if info and info.discriminator and parts:
            # Of several schemas, pydantic names the one that it took by its tag.
            tag = parts.pop(0)
            kind = f"{info.discriminator}={tag!r}"
            held = next(s for s in get_args(held) if tag in _tags(s, info.discriminator))
    field = ".".join(names)
    whole = f"give {names[-2]} whole in a copy of the config file"
    if error["type"] == "extra_forbidden":
        known = list(group.model_fields)
        close = difflib.get_close_matches(names[-1], known, 1, CLOSE)
        # Of another kind rather than a typo where what it is like is there too.
        if close and not (kind and close[0] in raw):
            mend = f"did you mean {close[0]}?"
        elif kind:
            mend = (
                f"with {kind} there are only {', '.join(known)}. A flag takes no field away: "
                f"take it out of the file, or {whole}"
            )
        else:
            mend = f"there are {', '.join(known)}"
        return f"{field}={error['input']!r}: no such field; {mend}"
    if error["type"] == "missing" and isinstance(error["loc"][-1], int):
        group_name, value = field.rpartition(".")[0], error["input"]
        return f"{group_name}={value!r}: it has too few values; give {error['loc'][-1] + 1} or more"
    if error["type"] == "missing":
        return f"{field} is missing: it has no default, so the config file must set it"
    if error["type"].startswith("union_tag"):
        name = error["ctx"]["discriminator"].strip("'")
        tag = error["input"].get(name) if isinstance(error["input"], dict) else error["input"]
        tags = [tag for s in get_args(held) for tag in _tags(s, name)]
        return f"{field}.{name}={tag!r}: there are {', '.join(tags)}"
    message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{field}={error['input']!r}: {message}"


def _tags(schema: type[Fields], discriminator: str) -> tuple[str, ...]:
    return get_args(schema.model_fields[discriminator].annotation)


def differences(one: dict, other: dict, prefix: str = "config") -> list[str]:
    """Returns the dotted names of the fields in which two config dicts differ, in order."""
    names = []
    for name in [*one, *(name for name in other if name not in one)]:
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += differences(a, b, f"{prefix}.{name}")
        elif a != b:
            names.append(f"{prefix}.{name}")
    return names
