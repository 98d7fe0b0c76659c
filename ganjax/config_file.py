"""Config files, which are programs, and what is wrong with a config, as one line."""

import contextlib
import difflib
import os
import runpy
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ml_collections import ConfigDict

from ganjax import shipped
from ganjax.errors import CLOSE, UserError, meant, question

if TYPE_CHECKING:
    import pydantic
    from pydantic.fields import FieldInfo

GET_CONFIG = "get_config"
# The tags of a field that holds a number or a group of fields in its place, whose discriminator is
# no text (`ganjax.engine.schedules`).
NUMBER, GROUP = "<number>", "<group>"


def load(file: str, *preset: str) -> ConfigDict:
    """Runs a config file, and returns the config that its `get_config` makes.

    Args:
      file: the path of the file.
      *preset: the name of the preset, if one is asked for.

    Raises:
      UserError: the file has no `get_config`, fails, or makes something else than a config.
    """
    with located(file):
        get_config = runpy.run_path(file).get(GET_CONFIG)
    if not callable(get_config):
        raise UserError(f"{file} has no function {GET_CONFIG}, which returns the config")
    with located(file):
        config = get_config(*preset)
    if not isinstance(config, dict | ConfigDict):
        what = "nothing: is a return missing?" if config is None else f"a {type(config).__name__}"
        raise UserError(f"{file}: its {GET_CONFIG} should return a ConfigDict, and returns {what}")
    return config if isinstance(config, ConfigDict) else ConfigDict(config)


def load_named(named: str) -> ConfigDict:
    """Returns the config that a text names, as the flag --config does.

    Args:
      named: the name of a shipped config or the path of a config file, followed by :<preset> if
        wanted.

    Raises:
      UserError: there is no such config, or its file makes none.
    """
    name, colon, preset = named.partition(":")
    return load(str(find(name)), *([preset] if colon else []))


def find(name: str) -> Path:
    """Returns the config file of a shipped config's name or of a path.

    Raises:
      UserError: there is none.
    """
    file = shipped.config_file(name)
    if file is None:
        names = shipped.config_names()
        near = difflib.get_close_matches(Path(name).stem, names, 1)
        likely = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"--config={name}: there is no such file; {likely}give a path, or the name of a config "
            f"that comes with ganjax: {', '.join(names)}"
        )
    return file


@contextlib.contextmanager
def located(file: str) -> Iterator[None]:
    """Replaces any error by one line that says where in a file it is; a UserError stays as it is.

    Args:
      file: the path of the file, or what else the line should name.

    Raises:
      UserError: the body failed.
    """
    try:
        yield
    except UserError:
        raise
    except SyntaxError as error:
        raise UserError(f"{error.filename}:{error.lineno}: {_described(error)}") from None
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [each for each in frames if os.path.abspath(each.filename) == os.path.abspath(file)]
        where = f"{file}:{own[-1].lineno}" if own else file
        # An assignment to a field that a ConfigDict does not have fails inside its package.
        of_field = isinstance(error, AttributeError | KeyError) and frames[-1].filename.endswith(
            os.path.join("ml_collections", "config_dict", "config_dict.py")
        )
        raise UserError(f"{where}: {no_field(error) if of_field else _described(error)}") from None


def no_field(error: Any) -> str:
    """Returns one line for the error of a ConfigDict that lacks a field.

    That error of ml_collections is an AttributeError around a KeyError around the text.
    """
    while isinstance(error, Exception) and error.args:
        error = error.args[0]
    name, *hints = str(error).replace("'", "").replace('"', "").splitlines() or [""]
    # Where a field is set, the line also says that the config is locked and what else it has.
    name = name.removeprefix("Key ").partition(" does not exist")[0]
    return "; ".join([f"the config has no field {name}", *hints])


def _described(error: BaseException) -> str:
    """Returns an error's type and message."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return ": ".join(filter(None, (type(error).__name__, message)))


def explain(
    error: "pydantic.ValidationError", schema: type["pydantic.BaseModel"], raw: dict
) -> str:
    """Describes a validation error in one line: the field, its value and the mend.

    Args:
      error: the error that validation raised.
      schema: the group of fields by which the content was validated.
      raw: the validated content.
    """
    return _line(_first(error.errors()), schema, raw)


def _first(errors: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the error to report, where a misspelt name precedes the field missing for it."""
    missing = {error["loc"] for error in errors if error["type"] == "missing"}
    for error in errors:
        *group, name = error["loc"]
        if error["type"] == "extra_forbidden":
            missing_here = [str(loc[-1]) for loc in missing if list(loc[:-1]) == group]
            if difflib.get_close_matches(str(name), missing_here, 1, CLOSE):
                return error
    return errors[0]


def _line(error: Mapping[str, Any], schema: type["pydantic.BaseModel"], raw: dict) -> str:
    """Describes one pydantic error as "config.<field>=<value>: <what is wrong and the mend>"."""
    names, parts = ["config"], [str(p) for p in error["loc"] if p not in (NUMBER, GROUP)]
    group, kind = schema, ""  # The group that has the last name, and its kind if it has several.
    held: Any = schema  # The type of the last name's value.
    while parts:
        names.append(parts.pop(0))
        info = getattr(held, "model_fields", {}).get(names[-1])
        group, held = held, info and info.annotation
        if info and parts:
            kind, raw = "", raw.get(names[-1], {})
        if info and (replacement := group_for_number(info)):
            held = replacement
        elif info and info.discriminator and parts:
            # pydantic puts the tag of the kind that it chose into the location.
            tag = parts.pop(0)
            kind = f"{info.discriminator}={tag!r}"
            held = next(s for s in get_args(held) if tag in tags(s, info.discriminator))
    field = ".".join(names)
    if error["type"] == "extra_forbidden":
        known = list(group.model_fields)
        close = difflib.get_close_matches(names[-1], known, 1, CLOSE)
        # If the similar name is given as well, this is no typo but a field of another kind.
        if close and not (kind and close[0] in raw):
            mend = f"did you mean {close[0]}?"
        elif kind:
            mend = (
                f"with {kind} there are only {', '.join(known)}; take it away, or give "
                f"{'.'.join(names[:-1])} whole, by ganjax.config.defaults"
            )
        else:
            group_name = ".".join(names[:-1])
            resembling = [f"{group_name}.{each}" for each in meant(names[-1], raw)]
            others = [each for each in resembling if each != field]
            known = f"there are {', '.join(known)}"
            mend = " ".join(filter(None, (question(others), known)))
        return f"{field}={error['input']!r}: no such field; {mend}"
    if error["type"] == "missing" and isinstance(error["loc"][-1], int):
        group_name, value = field.rpartition(".")[0], error["input"]
        return f"{group_name}={value!r}: it has too few values; give {error['loc'][-1] + 1} or more"
    if error["type"] == "missing":
        return f"{field} is missing: it has no default, so the config file must set it"
    if error["type"].startswith("union_tag"):
        name = error["ctx"]["discriminator"].strip("'")
        tag = error["input"].get(name) if isinstance(error["input"], dict) else error["input"]
        all_tags = [tag for s in get_args(held) for tag in tags(s, name)]
        if error["type"] == "union_tag_not_found":
            return f"{field}.{name} is missing: it is one of {', '.join(all_tags)}"
        return f"{field}.{name}={tag!r}: there are {', '.join(all_tags)}"
    if error["type"] in ("model_type", "model_attributes_type"):
        info = group.model_fields[names[-1]]
        mend = f"set its fields, {', '.join(getattr(held, 'model_fields', {}))}"
        if isinstance(info.discriminator, str):
            mend = f"set {field}.{info.discriminator}"
        return f"{field}={error['input']!r}: it is a group of fields; {mend}"
    message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{field}={error['input']!r}: {message}"


def group_for_number(info: "FieldInfo") -> Any:
    """Returns the group of fields that a field may hold in place of a number, or None.

    Args:
      info: the field, a number's or one of `ganjax.engine.schedules`.
    """
    # Of pydantic only a Discriminator has the attribute; others are of kinds of parts.
    if not any(callable(getattr(each, "discriminator", None)) for each in info.metadata):
        return None
    return get_args(get_args(info.annotation)[1])[0]


def tags(schema: type["pydantic.BaseModel"], discriminator: str) -> tuple[str, ...]:
    """Returns the names by which a field says that a part is of this kind.

    Args:
      schema: the fields of the kind.
      discriminator: the name of that field, such as "network".
    """
    return get_args(schema.model_fields[discriminator].annotation)
