"""What has happened to a run besides training: its beginning, changes, returns and choices.

It is kept in the run's config.json beside the fields, since both are then replaced at once: a kill
leaves the old fields with the old history, or the new with the new. A run to which nothing of the
kind has happened has none.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from ganjax.config import ConfigError, Fields, NonNegativeInt, Repeats

# The key in config.json.
KEY = "history"


class Change(Fields):
    """A field that changed while the run was trained.

    Attributes:
      step: the number of steps that were trained before the change.
      field: the dotted name of the field, without "config.".
      before: its value until then, in types of JSON.
      after: its value from then on.
    """

    step: NonNegativeInt
    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"from step {self.step}: {self.field} {shown(self.before)} -> {shown(self.after)}"


class Return(Fields):
    """A return of the run to an earlier step, from which it was trained anew.

    Attributes:
      step: the step that it was taken back to.
      put_aside: the folder, within that of the run, with what came after this step; "" if there was
        nothing.
      asked: whether the user named the step, not only a field that was to change.
    """

    step: NonNegativeInt
    put_aside: str = ""
    asked: bool = False


class Origin(Fields):
    """The checkpoint of another run from which a run began.

    Attributes:
      run: the absolute path of that run's folder.
      which: the checkpoint that the user asked for: "best", "last" or a step.
      step: its step.
      players: "both", or "generator" if the discriminator began anew.
      allow: the differences that the user allowed (`ganjax.training.matching.RULES`).
      seal: the checksum of the checkpoint's metadata; None if it is of an older version.
    """

    run: str
    which: str
    step: NonNegativeInt = 0
    players: Literal["both", "generator"] = "both"
    allow: Annotated[tuple[str, ...], Field(strict=False)] = ()
    seal: int | None = None

    def __str__(self) -> str:
        return f"--init_from={self.run}:{self.step}"

    def is_as(self, other: "Origin") -> bool:
        """Returns whether a user asked for the same by other words."""
        known: dict[str, Any] = {"step": 0, "seal": None}
        return self.model_copy(update=known) == other.model_copy(update=known)


class Dispatch(Fields):
    """A number of steps that a run takes in one dispatch, which it chose by timing its first steps.

    Attributes:
      step: the number of steps that were trained before it holds.
      steps: the number of steps in a dispatch, until the phase ends.
    """

    step: NonNegativeInt
    steps: Repeats


class History(Fields):
    """The history of a run.

    Attributes:
      init_from: where the weights of its beginning come from; None if they were initialised.
      changes: the fields that changed, in the order of their steps.
      returns: the steps that the run was taken back to, in the order in which it was.
      dispatches: the numbers of steps in a dispatch that the run chose, in the order of their steps
        (`ganjax.training.dispatch`).
    """

    init_from: Origin | None = None
    changes: Annotated[tuple[Change, ...], Field(strict=False)] = ()
    returns: Annotated[tuple[Return, ...], Field(strict=False)] = ()
    dispatches: Annotated[tuple[Dispatch, ...], Field(strict=False)] = ()

    def going_on(
        self, step: int, before: Mapping[str, Any], after: Mapping[str, Any], named: Iterable[str]
    ) -> "History":
        """Returns the history of a run that goes on from a step with other fields.

        Changes at later steps than this, which are trained anew, then count from this step.

        Args:
          step: the step.
          before: the fields with which the run was trained last.
          after: the fields with which it goes on.
          named: the dotted names of the fields that differ.
        """
        undone = [change for change in self.changes if change.step >= step]
        then = undo(before, undone)
        names = dict.fromkeys([*(change.field for change in undone), *named])
        changes = [
            Change(step=step, field=name, before=value_of(then, name), after=value_of(after, name))
            for name in names
            if value_of(then, name) != value_of(after, name)
        ]
        kept = [change for change in self.changes if change.step < step]
        return self.model_copy(update={"changes": (*kept, *changes)})

    def lines(self, step: int) -> list[str]:
        """Returns lines that tell what has just happened to a run that goes on from a step."""
        lines = [str(change) for change in self.changes if change.step == step]
        if self.init_from and not step:
            origin = self.init_from
            what = "generator" if origin.players == "generator" else "weights"
            lines.append(f"begins with the {what} of {origin.run} at its step {origin.step}")
        last = self.returns[-1] if self.returns else None
        if last and last.step == step and last.put_aside:
            lines.append(f"what came after step {step} is in {last.put_aside} of the run's folder")
        return lines

    def stretches(self, fields: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
        """Returns the stretches of a run in which its fields were the same, in order.

        Args:
          fields: the fields with which the run was trained last.

        Returns:
          For each stretch the step that it began after, and the fields.
        """
        starts = sorted({0} | {change.step for change in self.changes})
        return [
            (start, undo(fields, (c for c in self.changes if c.step > start))) for start in starts
        ]


def parse(content: Mapping[str, Any], where: str) -> History:
    """Returns the history in the content of a config.json.

    Args:
      content: the content of the file.
      where: the file's name for an error message.

    Raises:
      ConfigError: it is no history.
    """
    try:
        return History.model_validate(content.get(KEY, {}))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (KEY, *first["loc"])))
        raise ConfigError(f"{where}: {place}: {first['msg']}; restore the file") from None


def stored(history: History) -> dict[str, Any]:
    """Returns what a config.json holds of a history: nothing if nothing has happened."""
    content = history.model_dump(mode="json", exclude_defaults=True)
    return {KEY: content} if content else {}


def undo(fields: Mapping[str, Any], changes: Iterable[Change]) -> dict[str, Any]:
    """Returns the fields as they were before changes, the latest of which is the last."""
    fields = copy.deepcopy(dict(fields))
    for change in reversed(list(changes)):
        path, _, name = change.field.rpartition(".")
        group = value_of(fields, path) if path else fields
        if isinstance(group, dict):
            group[name] = change.before
    return fields


def value_of(fields: Mapping[str, Any], name: str) -> Any:
    """Returns the value of a field by its dotted name, without "config."; None if there is none."""
    value: Any = fields
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def shown(value: Any) -> str:
    """Returns a value of a field, in types of JSON, as a flag takes it."""
    if isinstance(value, list):
        value = tuple(value)
    return value if isinstance(value, str) else repr(value).replace(" ", "")
