"""The frame of all commands: parsing, help, and errors of one line."""

import contextlib
import gc
import os
import sys
import textwrap
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from absl import app, flags, logging

from ganjax import config_file, errors, shipped
from ganjax.errors import UserError
from ganjax.runtime import huge_pages, platforms, signals

# The errors that parsers of flags and config files raise.
PARSING = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError)
# The most characters of an error's line.
LONGEST = 4_000
# The most names that are listed of what a missing flag may be.
MOST_NAMES = 20
HELP = frozenset({"--help", "-help", "-h"})


def run(
    main: Callable[[list[str]], None],
    define_flags: Callable[[], None],
    required: str | None = None,
    check: Callable[[list[str]], None] = lambda argv: None,
    commands: Sequence[str] = (),
    positional: bool | Collection[str] = False,
    computes: bool = True,
) -> None:
    """Runs a command as `absl.app.run` does, but prints a user's error as one line.

    After such an error the process ends with exit code 2. With --help it prints the command's
    docstring, its flags and, if a config is given, every field of that. If the command is the main
    module of its process, the process is first restarted with huge pages (`huge_pages.restart`).

    Args:
      main: the command, which is called with the arguments that are not flags, after its name.
      define_flags: the function that defines the command's flags.
      required: the name of a flag that must be given, if there is one.
      check: a function that checks the arguments before they are parsed, and may raise a UserError.
      commands: words of which one may be given as the first argument.
      positional: whether any other words may be given as arguments; or those of `commands` that
        take other words.
      computes: whether the command computes anything, for which huge pages are worth a restart.
    """
    # Before the restart, after which Python would not listen to an inherited, ignored SIGINT.
    signals.quit_at_once("it had not begun")
    if computes and main.__globals__ is vars(sys.modules["__main__"]):
        huge_pages.restart()
        # Imports and tracing make many objects that stay: a search for cycles every 700 of them
        # takes a tenth of a command's start (docs/speed.md).
        gc.set_threshold(50_000, 20, 100)

    def parse(argv):
        try:
            argv = [_without_home(argument) for argument in argv]
            if computes:
                platforms.check()
            check(argv)
            rest = flags.FLAGS([each for each in argv if each not in HELP])
            missing = required is not None and flags.FLAGS[required].value is None
        except (UserError, *PARSING) as error:
            _fail(_explained(error, own))
        if not HELP.isdisjoint(argv):
            _print_help(str(main.__globals__["__doc__"]), own)
            sys.exit(0)
        command, words = "", rest[1:]
        if commands and words:
            command, *words = words
            if command not in commands:
                known = f"there are {', '.join(commands)}"
                _fail(_misplaced(command, own, "command", known))
        takes_words = positional if isinstance(positional, bool) else command in positional
        if words and not takes_words:
            _fail(_misplaced(words[0], own, "flag", "flags begin with --"))
        if missing:
            _fail(_missing(str(required)))
        if not flags.FLAGS["verbosity"].present:
            # Messages of libraries are shown only if --verbosity asks for them.
            logging.set_verbosity(logging.WARNING)
        return rest

    others = set(flags.FLAGS)
    define_flags()
    own = sorted(set(flags.FLAGS) - others)
    app.run(partial(_guarded, main), flags_parser=parse)


def _explained(error: BaseException, own: Sequence[str]) -> str:
    """Returns the message of an error that parsing raised; `own` are the command's flags."""
    if isinstance(error, flags.UnrecognizedFlagError):
        # Imported here, so that commands without a config start at once.
        from ganjax import field_flags

        return field_flags.unknown(error, own)
    if isinstance(error, AttributeError | KeyError):
        return config_file.no_field(error)
    return str(error)


def _misplaced(word: str, own: Sequence[str], kind: str, known: str) -> str:
    """Returns what is said of a word that is neither an argument nor the name of a command.

    Args:
      word: the word, which may be the value of a flag, or a flag without its dashes.
      own: the names of the command's flags.
      kind: what was expected in the word's place.
      known: how to write that.
    """
    fits = {
        "config": shipped.config_file(word.partition(":")[0]),
        "sweep": shipped.sweep_file(word.partition(":")[0]),
        "workdir": os.path.exists(word),
    }
    named = [each for each in fits if each in own and flags.FLAGS[each].value is None]
    near = [f"--{each}={word}" for each in named if fits[each]]
    name, equals, value = word.partition("=")
    if equals and not near:
        # Imported here, so that commands without a config start at once.
        from ganjax import field_flags

        near = [f"--{each}={value}" for each in field_flags.resembling(name, own)]
    return f"{word!r} is no {kind}; {errors.question(near) or known}"


def _missing(name: str) -> str:
    """Returns what is said where a flag that a command requires is not given."""
    known: dict[str, Callable[[], Sequence[object]]] = {
        "config": shipped.config_names,
        "sweep": shipped.sweep_names,
        "workdir": lambda: sorted(each.parent for each in Path("runs").glob("*/config.json")),
    }
    names = known.get(name, list)()[:MOST_NAMES]
    return f"--{name} is missing" + (f"; there are {', '.join(map(str, names))}" if names else "")


def _guarded(main: Callable[[list[str]], None], argv: list[str]) -> None:
    """Runs a command, and answers the errors that a user can mend by one line and exit code 2."""
    try:
        main(argv)
    except (UserError, OSError) as error:
        _fail(error, at_once=isinstance(error, UserError) and error.leaves_threads)
    except (MemoryError, OverflowError) as error:
        _fail(_too_large(str(error) or type(error).__name__))
    except (RuntimeError, AssertionError) as error:
        if no_devices := platforms.reason(error):
            _fail(no_devices)
        # JAX's own class, which a command that does not compute has not imported.
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        _fail(_too_large(str(error).splitlines()[0]))


def _too_large(reason: str) -> str:
    return f"memory or numbers are too small for what was asked ({reason}): set smaller sizes"


def _print_help(docstring: str, own: Sequence[str]) -> None:
    """Prints a command's docstring and its flags, and the fields of the config that is given.

    Args:
      docstring: the command's.
      own: the names of the command's flags.
    """
    signals.end_with_the_reader()
    print(docstring.strip())
    if own:
        print("\nFlags:")
    for name in own:
        flag = flags.FLAGS[name]
        default = "" if flag.default is None else f"={flag.default_as_str}".replace("'", "")
        few = getattr(flag.parser, "enum_values", ())
        values = f" One of {', '.join(few)}." if few else ""
        print(f"  --{name}{default}")
        text = f"{flag.help}{values}".removeprefix(f"<{'|'.join(few)}>: ")
        print(textwrap.fill(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6))
    if "config" in own and flags.FLAGS["config"].value is not None:
        # Imported here, because it imports the algorithm and JAX.
        from ganjax.field_flags import describe

        print("\nFields of the config, with their values in it:")
        print(describe(flags.FLAGS["config"].value))


def say(*lines: object) -> None:
    """Prints lines, in which names from elsewhere may stand (`errors.printable`)."""
    for line in lines:
        print(errors.printable(str(line)))


def fail_of(files: Sequence[str]) -> None:
    """Raises a UserError about files that a command has passed over, once it has done the others.

    Args:
      files: a line about each.
    """
    if files:
        raise UserError(f"{'; '.join(files)}. All others are done")


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
            config_file.find((value if equals else following).partition(":")[0])


def _without_home(argument: str) -> str:
    """Returns --config=~/<file> with the user's home in place of ~, and others as they are."""
    name, equals, value = argument.partition("=")
    if equals and name.lstrip("-") == "config":
        return f"{name}={os.path.expanduser(value)}"
    return argument


def _fail(message: object, at_once: bool = False) -> None:
    """Prints an error as one line and exits with code 2; `at_once` waits for no thread."""
    if isinstance(message, OSError) and message.filename is not None:
        message = f"{message.filename}: {message.strerror}"
    text = " ".join(str(message).split())
    text = errors.printable(text)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    print(f"ganjax: {text}", file=sys.stderr)
    if at_once:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(2)
    sys.exit(2)
