"""The building blocks of config schemas: groups of fields, their defaults and one-line errors.

Every part of ganjax declares its own fields where it is built: a network next to its module, a
penalty next to its function. `ganjax.training.schema` declares the fields of the training loop and
loads whole configs; an algorithm's `Config` puts both together.
"""

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

import ml_collections
import pydantic
from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from ganjax.config_file import explain, group_for_number, tags
from ganjax.errors import UserError
from ganjax.runtime.limits import LARGEST

if TYPE_CHECKING:
    ConfigDict = Any  # A type checker cannot know its attributes, the fields of a schema.
else:
    ConfigDict = ml_collections.ConfigDict

PositiveInt = Annotated[int, Field(gt=0, le=LARGEST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST)]
# Of what a program has one after the other or side by side: it must be written before it runs.
Repeats = Annotated[int, Field(gt=0, le=65_536)]
# Of layers one after the other, each of which is traced on its own.
DEEPEST = 256
Depth = Annotated[int, Field(gt=0, le=DEEPEST)]
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=DEEPEST, strict=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Level = Annotated[int, Field(ge=0, le=255)]


class InOneLine:
    """Makes one error of those of a union's members: `Annotated[int | Text, InOneLine("...")]`.

    Args:
      message: what a value should be.
    """

    def __init__(self, message: str):
        self._message = message

    def __get_pydantic_core_schema__(
        self, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Returns the schema of the union, with the message in place of its members' errors."""
        schema: Any = handler(source)
        return schema | {"custom_error_type": "union", "custom_error_message": self._message}


# A number of repeats, or one that the run finds by itself.
AUTO = "auto"
RepeatsOrAuto = Annotated[
    Repeats | Literal["auto"], InOneLine(f"should be a whole number from 1 to 65536, or {AUTO!r}")
]


def _split(value: Any) -> Any:
    """Splits a text, or what ml_collections makes of --config.<field>=kid,fid: a tuple of one.

    An empty text, as of --config.<field>=, has no names.
    """
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, tuple | list) and len(value) == 1 and isinstance(value[0], str):
        return tuple(name.strip() for name in value[0].split(",")) if value[0].strip() else ()
    return value


N = TypeVar("N")
# Names, which a flag separates by commas.
Names = Annotated[tuple[N, ...], Field(strict=False), BeforeValidator(_split)]

# The package of the algorithms that come with ganjax.
ALGORITHMS = "ganjax.algorithms"
# Under this name a field's schema says when it may change: one of the two.
MAY_CHANGE = "may_change"
ALWAYS, IF_NAMED = "always", "if_named"


class ConfigError(UserError):
    """A `UserError` about a config that cannot be run.

    Its message names the field, its value and the mend.
    """


class Idle(NamedTuple):
    """A field that has no effect, because of the values of other fields.

    Attributes:
      name: the name of the field within its group.
      reason: why it has none, and what to set besides; "" if it may be set all the same, because
        an ablation of a shipped config leaves it set. Its docstring then says when it is idle.
    """

    name: str
    reason: str = ""


class Fields(pydantic.BaseModel):
    """A group of config fields, which is frozen, strict about types and closed to unknown names.

    A field's default means "without it", so that a config states only what makes its experiment,
    and runs of versions that did not know the field can be loaded. A field for which no value means
    that (a size, a number of steps) has no default, and every config states it.

    Attributes:
      kept: the names of fields that a part keeps when it becomes one of this kind, if they were
        set to something other than the default (`take_kinds`).
    """

    kept: ClassVar[tuple[str, ...]] = ()

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )

    @classmethod
    def follow(cls, group: Any, config: Any, changes: Mapping[str, Any], at: str) -> None:
        """Changes what in a raw group follows fields of the config that flags are about to change.

        Args:
          group: the group's fields, a dict or ConfigDict, which may be changed in place.
          config: the whole config before the change.
          changes: the fields that will be set, as in `take_kinds`.
          at: the name of the group within the config, with a dot at its end, or "".
        """

    def idle(self) -> Iterator[Idle]:
        """Yields the fields of this group that have no effect.

        A group that overrides this also yields those of its base, since an algorithm's `Config`
        mixes groups.
        """
        yield from ()


class OneOf:
    """The keys of a table as the values of a field: `Annotated[str, OneOf(LOSSES)]`.

    Args:
      table: the names that the field can take; a new line of the table is a new value.

    Attributes:
      names: these names, in order.
    """

    def __init__(self, table: Iterable[str]):
        self.names = tuple(table)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Returns the schema of a Literal of the names."""
        del source, handler
        return core_schema.literal_schema(list(self.names))


def may_change(default: Any) -> Any:
    """Declares a field with a default that may differ between a run and its continuation.

    A change of any other field makes another run, or has to be named (`may_change_if_named`).
    """
    return Field(default=default, json_schema_extra={MAY_CHANGE: ALWAYS})


def may_change_if_named(default: Any = ...) -> Any:
    """Declares a field that may change when a run goes on, if the user names it.

    No array of a state may depend on it in number, shape or meaning.

    Args:
      default: the field's default; without one, every config states the field.
    """
    return Field(default=default, json_schema_extra={MAY_CHANGE: IF_NAMED})


def changeable(group: Fields, when: str = ALWAYS, prefix: str = "config") -> Iterator[str]:
    """Yields the dotted names of the fields of a config that may change when a run goes on.

    Args:
      group: the config, or a group of its fields.
      when: `ALWAYS` for those declared by `may_change`, `IF_NAMED` for those declared by
        `may_change_if_named`.
      prefix: the dotted name of the group.
    """
    for name, info in type(group).model_fields.items():
        value, extra = getattr(group, name), info.json_schema_extra
        if isinstance(extra, dict) and extra.get(MAY_CHANGE) == when:
            yield f"{prefix}.{name}"
            if isinstance(value, Fields):  # In place of a number.
                yield from (f"{prefix}.{name}.{each}" for each in type(value).model_fields)
        elif isinstance(value, Fields):
            yield from changeable(value, when, f"{prefix}.{name}")


def idle(config: Fields) -> frozenset[str]:
    """Returns the dotted names of the fields of a config that have no effect."""
    return frozenset(f"config.{name}" for name, _, _ in _idle(config))


def refuse_idle(config: Fields) -> None:
    """Refuses a new run that sets a field which has no effect.

    Runs that exist are not refused, since older versions let them set it.

    Raises:
      ConfigError: such a field is set to something other than its default.
    """
    for name, group, each in _idle(config):
        value, default = getattr(group, each.name), type(group).model_fields[each.name].default
        if each.reason and value != default:
            raise ConfigError(f"config.{name}={value!r}: {each.reason}, or leave it at {default!r}")


def _idle(group: Fields, at: str = "") -> Iterator[tuple[str, Fields, Idle]]:
    """Yields the dotted name, the group and the reason of each field that has no effect."""
    for each in group.idle():
        *path, name = each.name.split(".")
        yield f"{at}{each.name}", reduce(getattr, path, group), each._replace(name=name)
    for name, value in group:
        if isinstance(value, Fields):
            yield from _idle(value, f"{at}{name}.")


def defaults(schema: type[Fields], **fields: Any) -> ConfigDict:
    """Returns a ConfigDict of all fields of a group, which a config file may change.

    Args:
      schema: the group of fields.
      **fields: values of fields, as a dict for a group inside this one. Other fields have their
        defaults.

    Raises:
      ConfigError: a field without a default is missing, or a value is invalid.
    """
    try:
        return untyped(schema.model_validate(fields).model_dump())
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, schema, fields)) from None


def untyped(fields: Mapping[str, Any]) -> ConfigDict:
    """Returns fields as a ConfigDict whose fields take values of any type.

    By default a ConfigDict keeps the types of its first values, where a field may hold a number or
    a schedule, one size or two. Whatever a field cannot hold is refused by the schema, in one line.
    """
    return ml_collections.ConfigDict(fields, type_safe=False)


def presets(
    *makers: Callable[[], ConfigDict], **named: Callable[[], ConfigDict]
) -> Callable[[str], ConfigDict]:
    """Returns the `get_config` of a config file, which makes a config by the name of its preset.

    Args:
      *makers: functions that each make the config of one preset. The first one's is the default,
        which `--config=configs/<file>.py` selects; `--config=configs/<file>.py:<name>` selects a
        preset by the name of its function.
      **named: further such functions, by the names of their presets.

    Returns:
      A function from the name of a preset, "" for the default, to its config. Its attribute
      `presets` is the dict of all functions by name, with the default under "".
    """
    known = {"": makers[0]} | {maker.__name__: maker for maker in makers[1:]} | named

    def get_config(preset: str = "") -> ConfigDict:
        if preset not in known and preset != makers[0].__name__:
            names = [*(maker.__name__ for maker in makers), *named]
            close = [f"did you mean {n}? " for n in difflib.get_close_matches(preset, names, 1)]
            raise ConfigError(f"preset {preset!r}: {''.join(close)}there are {', '.join(names)}")
        return known.get(preset, makers[0])()

    get_config.presets = known
    return get_config


def is_own_algorithm(name: str) -> bool:
    """Returns whether config.algorithm names a module that is ganjax's, and no one else's code."""
    file = Path(__file__).resolve().parent / "algorithms" / f"{name}.py"
    return name.startswith(f"{ALGORITHMS}.") or (name.isidentifier() and file.is_file())


def algorithm_module(name: Any) -> ModuleType:
    """Imports the module that config.algorithm names, which has a `Config` and a `build`.

    Args:
      name: a file of ganjax/algorithms, or the name of any other module.

    Raises:
      ConfigError: there is no such module, or it describes no algorithm.
    """
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"config.algorithm={name!r}: name a file of ganjax/algorithms")
    path = f"{ALGORITHMS}.{name}" if is_own_algorithm(name) else name
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise  # The module exists, but one that it imports is missing.
        raise ConfigError(
            f"config.algorithm={name!r}: there is no module {path}; name a file of "
            "ganjax/algorithms or a module of your own, which Python finds by PYTHONPATH"
        ) from None
    if not (hasattr(module, "Config") and hasattr(module, "build")):
        raise ConfigError(f"config.algorithm={name!r}: {path} has no Config and build")
    return module


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


def differences(one: dict, other: dict, prefix: str = "config") -> list[str]:
    """Returns the dotted names of the fields in which two config dicts differ, in order.

    Args:
      one: a config, or a group of its fields, as a dict.
      other: another one.
      prefix: the dotted name of both.
    """
    names = []
    for name in [*one, *(name for name in other if name not in one)]:
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += differences(a, b, f"{prefix}.{name}")
        elif a != b:
            names.append(f"{prefix}.{name}")
    return names
