"""What schemas of configs are made of: groups of fields, checked, with errors of one line.

Each part of ganjax declares its own fields where it is built (a network beside its module, a
penalty beside its function). `ganjax.training.schema` puts them together and loads configs.
"""

import difflib
from typing import Annotated, get_args

import pydantic
from pydantic import Field, PositiveInt

from ganjax.errors import UserError

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Level = Annotated[int, Field(ge=0, le=255)]


class ConfigError(UserError):
    """A config that cannot be run."""


class Fields(pydantic.BaseModel):
    """A group of fields: frozen, strict in types, closed to unknown names."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


def explain(error: pydantic.ValidationError, schema: type[Fields], raw: dict) -> str:
    """One line for the first error that `schema` found in `raw`: the field, its value, the mend."""
    return _line(_first(error.errors()), schema, raw)


def _first(errors: list[dict]) -> dict:
    """The one to tell: of a field that is missing since its name is misspelt, that."""
    missing = {error["loc"] for error in errors if error["type"] == "missing"}
    for error in errors:
        *group, name = error["loc"]
        if error["type"] == "extra_forbidden":
            beside = [str(loc[-1]) for loc in missing if list(loc[:-1]) == group]
            if difflib.get_close_matches(str(name), beside, 1):
                return error
    return errors[0]


def _line(error: dict, schema: type[Fields], raw: dict) -> str:
    """One pydantic error as "config.<field>=<value>: <what is wrong and the mend>"."""
    names, parts = ["config"], [str(part) for part in error["loc"]]
    group, kind = schema, ""  # The one that the last name is of, and which of several it is.
    while parts:
        names.append(parts.pop(0))
        info = getattr(schema, "model_fields", {}).get(names[-1])
        group, schema = schema, info and info.annotation
        if info and parts:
            kind, raw = "", raw.get(names[-1], {})
        if info and info.discriminator and parts:
            # Of several schemas, pydantic names the one that it took by its tag.
            tag = parts.pop(0)
            kind = f"{info.discriminator}={tag!r}"
            schema = next(s for s in get_args(schema) if tag in _tags(s, info.discriminator))
    field = ".".join(names)
    whole = f"give {names[-2]} whole in a copy of the config file"
    if error["type"] == "extra_forbidden":
        known = list(group.model_fields)
        close = difflib.get_close_matches(names[-1], known, 1)
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
    if error["type"] == "missing":
        if kind:
            return f"{field} is missing: {kind} needs it. A flag adds no field: {whole}"
        return f"{field} is missing: the config file must set it"
    if error["type"].startswith("union_tag"):
        name = error["ctx"]["discriminator"].strip("'")
        tag = error["input"].get(name) if isinstance(error["input"], dict) else error["input"]
        tags = [tag for s in get_args(schema) for tag in _tags(s, name)]
        return f"{field}.{name}={tag!r}: there are {', '.join(tags)}"
    message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{field}={error['input']!r}: {message}"


def _tags(schema: type[Fields], discriminator: str) -> tuple[str, ...]:
    return get_args(schema.model_fields[discriminator].annotation)


def differences(one: dict, other: dict, prefix: str = "config") -> list[str]:
    """The dotted names of the fields in which two config dicts differ, in order."""
    names = []
    for name in [*one, *(name for name in other if name not in one)]:
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += differences(a, b, f"{prefix}.{name}")
        elif a != b:
            names.append(f"{prefix}.{name}")
    return names
