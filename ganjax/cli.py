"""The frame of all commands: flags that several of them share, and errors of one line."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from ganjax.errors import UserError
from ganjax.runtime import huge_pages, signals

# The errors that parsers of flags and config files raise.
PARSING = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError)
# The help of --which.
WHICH = (
    "The checkpoint: best, by config.evaluation.best (the last where that is none), last, or "
    "the number of a step."
)


def run(
    main: Callable[[list[str]], None],
    define_flags: Callable[[], None],
    required: str | None = None,
    check: Callable[[list[str]], None] = lambda argv: None,
    commands: Sequence[str] = (),
    positional: bool = False,
) -> None:
    """Runs a command as `absl.app.run` does, but prints a user's error as one line.

    After such an error the process ends with exit code 2. If the command is the main module of its
    process, the process is first restarted with huge pages (`huge_pages.restart`).

    Args:
      main: the command, which is called with the arguments that are not flags, after its name.
      define_flags: the function that defines the command's flags.
      required: the name of a flag that must be given, if there is one.
      check: a function that checks the arguments before they are parsed, and may raise a UserError.
      commands: words of which one may be given as the first argument.
      positional: whether any other words may be given as arguments.
    """
    if main.__globals__ is vars(sys.modules["__main__"]):
        huge_pages.restart()

    def parse(argv):
        try:
            argv = [_without_home(argument) for argument in argv]
            check(argv)
            rest = flags.FLAGS(argv)
            missing = required is not None and flags.FLAGS[required].value is None
        except (UserError, *PARSING) as error:
            text = str(error)
            if "Traceback" in text:  # An error in a config file comes with its whole traceback.
                text = text.strip().splitlines()[-1].removeprefix("ValueError: ")
            elif isinstance(error, AttributeError | KeyError):
                text = _no_field(error, argv)
            _fail(text)
        words = rest[1:]
        if commands and words:
            if words[0] not in commands:
                _fail(f"{words[0]!r} is no command: there are {', '.join(commands)}")
            words = words[1:]
        if words and not positional:
            _fail(f"{words[0]!r} is no flag; flags begin with --")
        if missing:
            _fail(f"--{required} is missing")
        if not flags.FLAGS["verbosity"].present:
            # Messages of libraries are shown only if --verbosity asks for them.
            logging.set_verbosity(logging.WARNING)
        return rest

    def guarded(argv):
        try:
            main(argv)
        except (UserError, OSError) as error:
            _fail(error)

    signals.quit_at_once("it had not begun")
    define_flags()
    app.run(guarded, flags_parser=parse)


def path(text: str) -> Path:
    """Returns the path that a text names, where a leading ~ stands for the user's home."""
    return Path(text).expanduser()


class _PathParser(flags.ArgumentParser):
    """Parses a path, whose leading ~ the shell leaves as it is after --flag=."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        """Returns the path with the user's home in place of a leading ~."""
        return os.path.expanduser(argument)


def define_path(name: str, default: str | None, help_text: str) -> None:
    """Defines a flag that names a file or folder; its value is a text, without ~."""
    flags.DEFINE(_PathParser(), name, default, help_text)


def define_config() -> None:
    """Defines --config, which names a config file, and --config.<field>, which sets its fields."""
    config_flags.DEFINE_config_file(
        "config", None, "A file of configs/, followed by :<preset> if wanted.", lock_config=True
    )


def define_seed_index() -> None:
    """Defines --seed_index, which selects one of a run's several seeds."""
    flags.DEFINE_integer(
        "seed_index", 0, "Which of the run's config.num_seeds seeds, from 0.", lower_bound=0
    )


def check_config(argv: list[str]) -> None:
    """Refuses a --config that names no file, for which ml_collections would print a whole page.

    Args:
      argv: the command's arguments.

    Raises:
      UserError: there is no such file.
    """
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "config":
            path = (value if equals else following).partition(":")[0]
            if not Path(path).is_file():
                raise UserError(f"--config={path}: there is no such file")


def _without_home(argument: str) -> str:
    """Returns --config=~/<file> with the user's home in place of ~, and others as they are."""
    name, equals, value = argument.partition("=")
    if equals and name.lstrip("-") == "config":
        return f"{name}={os.path.expanduser(value)}"
    return argument


def _no_field(error: object, argv: list[str]) -> str:
    """Returns one line for the error that ml_collections raises for an unknown field.

    That error is an AttributeError around a KeyError around the text.
    """
    while isinstance(error, Exception) and error.args:
        error = error.args[0]
    name, *hints = str(error).splitlines()
    name = name.strip("'")
    typed = [word for word in argv if word.partition("=")[0].endswith(f".{name}")]
    return "; ".join([f"{(typed or [name])[0]}: the config has no field {name}", *hints])


def _fail(message: object) -> None:
    """Prints an error as one line and exits with code 2."""
    text = " ".join(str(message).split())
    print(f"ganjax: {text}", file=sys.stderr)
    sys.exit(2)
