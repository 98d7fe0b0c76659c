"""How a run goes on with other fields, or from an earlier step.

A run that goes on is the run that it was: its fields stay as they are. Some may change unnamed,
such as the number of steps, and some if the user names them, such as rates
(`ganjax.config.may_change_if_named`). From then on the run is another one, so that what was trained
beyond its step by the old fields is put aside: moved to aside/<number>, a folder that can be
sampled and compared as a run's.

Everything is put aside before config.json is replaced, which is the change itself. After a kill in
between the run goes on as it was before, from the step to which it was to be taken back.
"""

import itertools
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ganjax.config import ConfigError, differences, idle
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import phase_of
from ganjax.engine.state import GanState, Player
from ganjax.errors import meant, question
from ganjax.parallel import distributed
from ganjax.runtime import regular, storage
from ganjax.training import checkpoint, history, update_counts
from ganjax.training.checkpoint_folders import steps_in
from ganjax.training.history import History, Return
from ganjax.training.report import RAW
from ganjax.training.schema import LoopConfig
from ganjax.training.start import Start
from ganjax.training.writer import METRICS, read_metrics

# The folder, within a run's, of what was put aside.
ASIDE = "aside"
# The most fields whose values a message names.
MOST = 3


class Turn(NamedTuple):
    """A step after which a run goes on otherwise than it did.

    Attributes:
      step: the step.
      changed: the dotted names of the fields that change, without "config.".
      returns: whether the user has named the step.
    """

    step: int
    changed: Sequence[str]
    returns: bool


def turn(
    workdir: Path, before: LoopConfig, config: LoopConfig, past: History, start: Start
) -> Turn | None:
    """Returns the turn that a run takes, or None if it goes on as it was.

    A turn that is asked for again, as by a command that is repeated after a kill, is none.

    Args:
      workdir: the run's folder, which has a checkpoint.
      before: the config with which it was trained last.
      config: the config with which it is to go on.
      past: its history.
      start: what the user allows.

    Raises:
      ConfigError: a field changed that may not, or that is not named; or there is no such step.
    """
    named = _named(config, start)
    old, new = before.model_dump(mode="json"), config.model_dump(mode="json")
    # A field that has no effect, neither before nor now, makes no other run.
    may_differ = config.continuable | (idle(config) & idle(before))
    changed = [name for name in differences(new, old) if name not in may_differ]
    if refused := [name for name in changed if name not in named]:
        raise another(workdir, old, new, refused, config.nameable)
    changed = [name.removeprefix("config.") for name in changed]
    steps = steps_in(workdir / checkpoint.FOLDER)
    if start.from_step is None:
        return Turn(max(steps), changed, returns=False) if changed else None
    last = past.returns[-1] if past.returns else None
    if not changed and last and last.asked and last.step == start.from_step:
        print(
            f"ganjax: {workdir} was taken back to step {last.step} before, and goes on from there"
        )
        return None
    if start.from_step not in steps:
        raise ConfigError(
            f"--from_step={start.from_step}: {workdir / checkpoint.FOLDER} holds the steps "
            f"{', '.join(map(str, sorted(steps)))}; name one of these"
        )
    return Turn(start.from_step, changed, returns=True)


def take(
    workdir: Path, before: LoopConfig, config: LoopConfig, past: History, turn: Turn
) -> History:
    """Puts aside what came after a turn, and returns the history that config.json is to hold.

    See `turn` for the arguments.
    """
    old, new = before.model_dump(mode="json"), config.model_dump(mode="json")
    aside = put_aside(workdir, turn.step)
    past = past.going_on(turn.step, old, new, turn.changed)
    if turn.returns or aside:
        taken = Return(step=turn.step, put_aside=aside, asked=turn.returns)
        past = past.model_copy(update={"returns": (*past.returns, taken)})
    return past


def put_aside(workdir: Path, step: int) -> str:
    """Moves what a run has made after a step to a new folder within the run's.

    The folder gets the later checkpoints and pictures, and copies of config.json, data.json and
    metrics.jsonl, so that it is the folder of a run too.

    Returns:
      The folder's path relative to the run's, or "" if there was nothing.
    """
    later = [
        workdir / checkpoint.FOLDER / str(each)
        # The latest first: whatever a kill leaves, the steps before it are there.
        for each in sorted(steps_in(workdir / checkpoint.FOLDER), reverse=True)
        if each > step
    ]
    later += [path for path, drawn in _pictures(workdir) if drawn > step]
    metrics = workdir / METRICS
    measured = read_metrics(metrics) if metrics.exists() else []
    if not later and all(row["step"] <= step for row in measured):
        return ""
    (workdir / ASIDE).mkdir(exist_ok=True)
    aside = storage.make_first(workdir / ASIDE / str(number) for number in itertools.count(1))
    for name in ("config.json", "data.json", METRICS):
        if (workdir / name).exists():
            with (
                regular.open_bytes(workdir / name) as old,
                storage.replacing(aside / name) as temporary,
                temporary.open("wb") as new,
            ):
                shutil.copyfileobj(old, new)
    for path in later:
        target = aside / path.relative_to(workdir)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    # Before config.json is replaced: a machine that loses its power must not keep that alone.
    for folder in {each for path in later for each in (path.parent, workdir)}:
        storage.sync(folder)
    return str(aside.relative_to(workdir))


def with_rates(state: GanState, algorithm: Algorithm) -> GanState:
    """Returns a restored state whose optimisers have the numbers of the config.

    Optax keeps numbers that it might change in the optimiser's state, where those of the checkpoint
    would go before the config's; and of a rate that has become a schedule the number of updates.
    """
    phase = phase_of(algorithm.phases, int(state.step))
    stage = algorithm.in_phase(phase)
    players = {}
    for name, tx, a_step in (("g", stage.g_tx, 1), ("d", stage.d_tx, stage.n_critic)):
        player: Player = getattr(state, name)
        counted = update_counts.filled(player.opt_state, a_step * (int(state.step) - phase.start))
        players[name] = player.replace(opt_state=_with_numbers_of(tx, counted))
    return state.replace(**players)


def _with_numbers_of(tx: optax.GradientTransformation, opt_state: Any) -> Any:
    def holds(node: Any) -> bool:
        return isinstance(node, optax.InjectStatefulHyperparamsState)

    if not any(map(holds, jax.tree.leaves(opt_state, is_leaf=holds))):
        return opt_state
    # The numbers do not depend on the parameters, for which one stands here.
    initial = iter(filter(holds, jax.tree.leaves(tx.init(jnp.zeros(())), is_leaf=holds)))

    def replaced(node):
        if not holds(node):
            return node
        numbers = jax.device_get(next(initial).hyperparams)
        placed = {
            name: distributed.device_put(numbers[name], number.sharding)
            for name, number in node.hyperparams.items()
        }
        return node._replace(hyperparams=placed)

    return jax.tree.map(replaced, opt_state, is_leaf=holds)


def another(
    workdir: Path,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    changed: Sequence[str],
    nameable: frozenset[str] = frozenset(),
) -> ConfigError:
    """Returns the error of one line for a config that the run in a folder does not go on with.

    Args:
      workdir: the folder.
      old: the run's fields.
      new: the fields of the config.
      changed: the dotted names of the fields that differ.
      nameable: those that may change if they are named.
    """
    differ, flags = compared(old, new, changed, f" (see {workdir / 'config.json'})")
    mends = [f"give {flags}"]
    if nameable >= set(changed):
        names = ",".join(name.removeprefix("config.") for name in changed)
        mends.append(f"change from here on by --allow_change={names}")
    return ConfigError(
        f"{workdir} holds a run with another {differ}: {', or '.join(mends)}, or take --new or "
        "another --workdir"
    )


def compared(
    old: Mapping[str, Any], new: Mapping[str, Any], changed: Sequence[str], where: str = ""
) -> tuple[str, str]:
    """Returns how some fields differ, and the flags that give them their old values, as texts.

    Args:
      old: the old fields.
      new: the new fields.
      changed: the dotted names of the fields that differ.
      where: what follows if not all of them are named.
    """
    told = changed[:MOST]
    differ = ", ".join(f"{name} ({_value(old, name)}, not {_value(new, name)})" for name in told)
    flags = " ".join(flag for name in told for flag in _flags(name, _raw(old, name)))
    if more := len(changed) - len(told):
        differ, flags = f"{differ} and {more} more{where}", f"{flags} and so on"
    return differ, flags


def _named(config: LoopConfig, start: Start) -> frozenset[str]:
    """Returns the dotted names of the fields that the user allows to change.

    Raises:
      ConfigError: one of them may not.
    """
    allowed = config.nameable | config.continuable
    names = [name.removeprefix("config.") for name in start.allow_change]
    for name in names:
        if f"config.{name}" not in allowed:
            may = sorted(each.removeprefix("config.") for each in config.nameable)
            like = [each for each in meant(name, config.model_dump()) if each in may]
            raise ConfigError(
                f"--allow_change={name}: {question(like)}{' ' if like else ''}a run keeps its "
                "networks, images and methods; take --new or another --workdir, or name what may "
                f"change: {', '.join(may)}"
            )
    return frozenset(f"config.{name}" for name in names)


def _pictures(workdir: Path) -> Iterator[tuple[Path, int]]:
    """Yields the pictures that a run has drawn, with their steps."""
    for path in (workdir / "samples").rglob("step_*.png"):
        number = path.stem.removeprefix("step_").removesuffix(RAW)
        if number.isdecimal():
            yield path, int(number)


def _flags(name: str, value: Any) -> Iterator[str]:
    """Yields the flags that set a field, one for each field of a schedule."""
    if isinstance(value, Mapping):
        for each in value:
            yield from _flags(f"{name}.{each}", value[each])
    else:
        yield shlex.quote(f"--{name}={history.shown(value)}")


def _value(fields: Mapping[str, Any], name: str) -> str:
    return history.shown(_raw(fields, name))


def _raw(fields: Mapping[str, Any], name: str) -> Any:
    return history.value_of(fields, name.removeprefix("config."))
