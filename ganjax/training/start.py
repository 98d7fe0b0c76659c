"""How a run is to begin or to go on, besides its config: what the flags of `ganjax train` say."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax

from ganjax.config import ConfigError
from ganjax.errors import UserError
from ganjax.parallel import distributed
from ganjax.runtime import storage


@dataclass(frozen=True)
class Start:
    """How a run begins or goes on. The defaults begin it or go on with it, whichever fits.

    Attributes:
      new: whether the run is to begin in a folder of its own (`new_folder`).
      init_from: the run, as a folder or <folder>:<checkpoint>, from whose weights a new run begins
        (`ganjax.training.transfer`); "" initialises them.
      init_players: "both", or "generator" to take no discriminator from there.
      init_allow: what may differ between both runs (`ganjax.training.matching.RULES`).
      trust: whether that run may name code that is not ganjax's (`ganjax.training.trust`).
      allow_change: the dotted names of fields, with or without "config.", that may differ from
        those of the run in the folder. Which fields these can be is a rule
        (`ganjax.training.schema.LoopConfig.nameable`).
      from_step: the step of a checkpoint from which the run goes on. What came after it is put
        aside (`ganjax.training.continuing`). None goes on from the last checkpoint.

    Raises:
      UserError: these do not go together.
    """

    new: bool = False
    init_from: str = ""
    init_players: Literal["both", "generator"] = "both"
    init_allow: tuple[str, ...] = ()
    trust: bool = False
    allow_change: tuple[str, ...] = ()
    from_step: int | None = None

    def __post_init__(self):
        """Refuses what does not go together."""
        if not self.init_from and (self.init_allow or self.init_players != "both"):
            name = "init_allow" if self.init_allow else "init_players"
            raise UserError(f"--{name}: it needs --init_from, which names a run")
        goes_on = {"allow_change": self.allow_change, "from_step": self.from_step is not None}
        for name, given in goes_on.items():
            if self.new and given:
                raise UserError(
                    f"--{name}: --new begins a run of which nothing is there; leave one out"
                )


# Whichever fits: the beginning, or the last checkpoint.
AS_IT_IS = Start()


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Makes a new folder for a run: the one that is named or, if it exists, <name>-2, <name>-3, ...

    Of commands that do so at once each gets its own, and all processes of one run the same. The
    folder is removed if nothing is in it when the context ends, as after a refusal.

    Raises:
      ConfigError: there can be no such folder.
    """
    folder = folder if folder.name not in ("", "..") else folder.resolve()
    number = 0

    def numbered(number: int) -> Path:
        return folder if number == 1 else folder.with_name(f"{folder.name}-{number}")

    def candidates() -> Iterator[Path]:
        nonlocal number
        for number in itertools.count(1):
            yield numbered(number)

    with distributed.sharing_errors():
        if jax.process_index() == 0:
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                storage.make_first(candidates())
            except OSError as error:
                raise no_folder(folder, error) from None
    made = numbered(int(distributed.broadcast_from_primary({"number": float(number)})["number"]))
    try:
        yield made
    finally:
        if jax.process_index() == 0:
            with contextlib.suppress(OSError):  # It is not empty.
                made.rmdir()


def no_folder(workdir: Path, error: OSError) -> ConfigError:
    """Returns the error of one line for a folder that cannot be made or written."""
    return ConfigError(
        f"--workdir={workdir}: no run can be kept there ({error.strerror or error}); name a "
        "folder that can be written"
    )
