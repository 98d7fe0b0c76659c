"""Training of a config from Python."""

import contextlib
import signal
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from ganjax import configs
from ganjax.api import arguments, notebook
from ganjax.api.runs import Run, keep_programs, load
from ganjax.errors import in_python, naming_arguments
from ganjax.runtime import descriptors
from ganjax.training import loop, schema, start
from ganjax.training.display import Display, Terminal


class _Terminal(Terminal):
    """Lines and a progress bar, which name arguments in place of flags."""

    def say(self, text: str) -> None:
        super().say(in_python(text))


@naming_arguments
def train(
    config: Any,
    workdir: str | Path,
    *,
    quiet: bool = False,
    new: bool = False,
    init_from: str | Path = "",
    init_players: Literal["both", "generator"] = "both",
    init_allow: Sequence[str] = (),
    trust: bool = False,
    allow_change: Sequence[str] = (),
    from_step: int | None = None,
    loggers: Collection[str] = (),
) -> Run | Any:
    """Trains a config to its end, from the latest checkpoint if the folder holds its run.

    >>> config = ganjax.configs.load("cwgan_gp")
    >>> config.log_every = 50
    >>> ganjax.train(config, "runs/cwgan_gp", quiet=True)
    <Run runs/cwgan_gp at step ...: 32x32x1, 10 classes>

    It does what `ganjax train` does, and writes the same files. In a notebook the progress is shown
    below the cell, with the latest samples. Interrupting it (the notebook's stop, or Ctrl-C) saves
    a checkpoint and raises a KeyboardInterrupt; the same call goes on from there.

    Args:
      config: the config, which `ganjax.configs.load` returns, or a name that it takes.
      workdir: the run's folder, which is made if it does not exist.
      quiet: whether nothing is shown.
      new: whether a run begins in a folder of its own: `workdir`, or <workdir>-2 and so on.
      init_from: the folder of another run, with whose weights a new run begins; <folder>:<step>
        takes another checkpoint than its best.
      init_players: "both", or "generator" to take no discriminator from there.
      init_allow: how that run may differ: "classes", "resolution" (docs/runs.md).
      trust: whether that run may name code that is not ganjax's (docs/security.md).
      allow_change: names of fields that may change when a run goes on, such as
        "d_optimiser.learning_rate" (docs/runs.md).
      from_step: the step of the checkpoint to go on from; later ones are put aside.
      loggers: the names of services that are told of the run, such as "wandb" (docs/loggers.md).

    Returns:
      The run at its best checkpoint, as `ganjax.load` chooses it.

    Raises:
      UserError: the config cannot be trained, or training has diverged.
    """
    keep_programs()
    descriptors.allow_most()
    if isinstance(config, str | Path):
        config = configs.load(config)
    path = Path(workdir).expanduser()
    begin = start.Start(
        new=new,
        init_from=str(init_from),
        init_players=init_players,
        init_allow=arguments.names(init_allow),
        trust=trust,
        allow_change=arguments.names(allow_change),
        from_step=None if from_step is None else arguments.whole("from_step", from_step, 0),
    )
    shown = Display() if quiet else notebook.Notebook() if notebook.is_open() else _Terminal()
    with start.new_folder(path) if new else contextlib.nullcontext(path) as folder:
        try:
            loop.train(config, folder, shown, begin, arguments.names(loggers))
        except loop.Interrupted as stopped:
            if stopped.code != 128 + signal.SIGINT:
                raise
            raise KeyboardInterrupt(
                f"the run in {folder} is saved; ganjax.train with the same config goes on"
            ) from None
    return load(folder, trust=_named(config))


def _named(config: Any) -> tuple[str, ...]:
    """Returns what the config names that may be code, which the user has just executed."""
    fields = schema.load(config).config
    return fields.algorithm, fields.data.source
