"""Loggers: services outside of a run's folder that are told of its metrics and pictures too.

To add one, write a subclass of `Logger` and list it in `LOGGERS`. What a logger does goes on in a
thread of its own: none stops a run, or makes it wait longer than `SECONDS` at its end.
"""

import importlib.util
import json
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict

from ganjax.config import Fields
from ganjax.errors import UserError
from ganjax.runtime import regular, storage

# The file in a run's folder with the name that each logger has for the run.
FILE = "loggers.json"
# The project, or experiment, of runs, unless the environment names another.
PROJECT = "ganjax"
# The most calls that wait for a logger, and the seconds that it has for them when a run ends.
MOST_WAITING, SECONDS = 10_000, 30.0
# Several loggers write their file.
_WRITING = threading.Lock()


Hparams = Mapping[str, str | float | bool]


class LoggedRun(NamedTuple):
    """What a logger is told of a run when it begins.

    Attributes:
      folder: the run's folder.
      config: the fields of its config, from `hparams`.
      id: what the logger called the run, if it has logged it before; "" otherwise.
    """

    folder: Path
    config: Hparams
    id: str


class Logger:
    """The interface of all loggers. Any method may raise any error, of which the user is told.

    Attributes:
      package: the package on which it depends, and which the extra of ganjax of the logger's name
        brings.
      asks: whether its beginning may ask the user something, for which the run then waits.
    """

    package: ClassVar[str] = ""
    asks: ClassVar[bool] = False

    def begin(self, run: LoggedRun) -> str:
        """Begins to log a run, or goes on, and returns what the logger calls it."""
        raise NotImplementedError

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Logs metrics by name."""
        raise NotImplementedError

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Logs pictures by name, uint8 (H, W, C)."""
        raise NotImplementedError

    def close(self, failed: bool) -> None:
        """Ends the logging of a run, and says whether the run has failed."""
        raise NotImplementedError


class Wandb(Logger):
    """Weights & Biases. WANDB_PROJECT names the project, and WANDB_MODE=offline needs no account.

    Every line has its own "step", since wandb's steps may not go back, as a run does that goes on.
    """

    package = "wandb"
    asks = True  # For an account, if none is known.

    def begin(self, run: LoggedRun) -> str:
        self._wandb = imported("wandb")
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.folder.resolve().name,
            id=run.id or None,
            resume="allow",
            dir=run.folder,
            config=dict(run.config),
            # The run's own log.txt has what it prints.
            settings=self._wandb.Settings(console="off"),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        return self._run.id

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log({"step": step, **scalars})

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        pictures = {name: self._wandb.Image(image) for name, image in images.items()}
        self._run.log({"step": step, **pictures})

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class Mlflow(Logger):
    """MLflow. MLFLOW_TRACKING_URI names the server or the folder, MLFLOW_EXPERIMENT_NAME the rest.

    Parameters are those of the run's beginning, since MLflow lets none change.
    """

    package = "mlflow"
    # As many parameters as one request may have, and the longest text.
    MOST, LONGEST = 100, 6_000

    def begin(self, run: LoggedRun) -> str:
        self._entities = imported("mlflow.entities")
        self._client = imported("mlflow.tracking").MlflowClient()
        if run.id:
            self._client.update_run(run.id, status="RUNNING")
            self._id = run.id
            return self._id
        named = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(named)
        experiment = found.experiment_id if found else self._client.create_experiment(named)
        name = run.folder.resolve().name
        self._id = self._client.create_run(experiment, run_name=name).info.run_id
        param = self._entities.Param
        params = [param(name, str(value)[: self.LONGEST]) for name, value in run.config.items()]
        for first in range(0, len(params), self.MOST):
            self._client.log_batch(self._id, params=params[first : first + self.MOST])
        return self._id

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        now, metric = int(1_000 * time.time()), self._entities.Metric
        metrics = [metric(name, value, now, step) for name, value in scalars.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, image in images.items():
            self._client.log_image(self._id, image, key=name, step=step)

    def close(self, failed: bool) -> None:
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")


class Trackio(Logger):
    """Trackio, which keeps runs on this machine, or in the Space that TRACKIO_SPACE_ID names."""

    package = "trackio"

    def begin(self, run: LoggedRun) -> str:
        self._trackio = imported("trackio")
        # Trackio knows runs by name, which therefore must be this run's alone.
        name = run.id or f"{run.folder.resolve().name}-{uuid.uuid4().hex[:8]}"
        self._run = self._trackio.init(
            PROJECT,
            name=name,
            config=dict(run.config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return name

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log(dict(scalars), step=step)

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        pictures = {name: self._trackio.Image(image) for name, image in images.items()}
        self._run.log(pictures, step=step)

    def close(self, failed: bool) -> None:
        del failed
        self._run.finish()


LOGGERS: dict[str, type[Logger]] = {"wandb": Wandb, "mlflow": Mlflow, "trackio": Trackio}


def imported(name: str) -> Any:
    """Imports a module of a package that need not be installed, whose types nobody checks."""
    return importlib.import_module(name)


def hparams(config: Fields) -> Hparams:
    """Returns the fields of a config by their dotted names, those of several values as JSON."""
    fields = flatten_dict(config.model_dump(mode="json"), sep=".")
    return {
        name: value if isinstance(value, str | float | int) else json.dumps(value)
        for name, value in fields.items()
    }


def check(names: Collection[str]) -> None:
    """Checks that there are loggers of these names, whose packages are installed.

    Raises:
      UserError: one is not there.
    """
    for name in names:
        if name not in LOGGERS:
            raise UserError(f"--logger={name}: there are {', '.join(LOGGERS)}")
        package = LOGGERS[name].package
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"--logger={name}: {package} is not installed; pip install 'ganjax[{name}]'"
            )


class Background:
    """Calls a logger in a thread, so that it can neither stop a run nor make it wait.

    The first error is told in a line; later ones are not, and the logger is called on. If its
    beginning fails, it is not called again. Methods may be called before that has ended.

    Args:
      name: the name of the logger in `LOGGERS`.
      logger: the logger.
      say: shows a line to the user.
    """

    def __init__(self, name: str, logger: Logger, say: Callable[[str], None]):
        self._name, self._logger, self._say = name, logger, say
        self._calls: queue.Queue[tuple[Callable[..., None], tuple]] = queue.Queue(MOST_WAITING)
        self._told = self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def begin(self, folder: Path, config: Hparams) -> None:
        """Begins to log a run, or goes on."""
        if self._logger.asks:
            self._begin(folder, config)
        else:
            self._call(self._begin, folder, config)
        self._thread.start()

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Logs metrics."""
        self._call(self._logger.scalars, step, dict(scalars))

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Logs pictures."""
        self._call(self._logger.images, step, dict(images))

    def close(self, failed: bool) -> None:
        """Ends the logging, for which the logger has `SECONDS`."""
        if not self._thread.ident:
            return
        self._call(self._close, failed, patience=SECONDS)
        self._thread.join(SECONDS)
        if self._thread.is_alive():
            self._say(
                f"--logger={self._name}: it has not taken everything within {SECONDS:g} s; the run "
                "is not kept waiting, and its folder has all"
            )

    def _call(self, call: Callable[..., None], *args: Any, patience: float = 0.0) -> None:
        """Adds a call to those that wait, for which it waits itself where they are too many."""
        if self._closed:
            return
        try:
            self._calls.put((call, args), timeout=patience)
        except queue.Full:
            self._fail(RuntimeError(f"{MOST_WAITING:,} calls wait for it"), "so it misses some")

    def _work(self) -> None:
        """Makes the calls in their order, up to the logger's `close`."""
        while not self._closed:
            call, args = self._calls.get()
            try:
                call(*args)
            except Exception as error:
                self._fail(error, "so it misses some")

    def _begin(self, folder: Path, config: Hparams) -> None:
        path = folder / FILE
        try:
            known = _known(path).get(self._name, "")
            begun = self._logger.begin(LoggedRun(folder, config, known))
            with _WRITING:
                storage.write_json(path, _known(path) | {self._name: begun})
        except Exception as error:
            self._closed = True
            self._fail(error, "so it is told nothing of this run")

    def _close(self, failed: bool) -> None:
        self._closed = True
        self._logger.close(failed)

    def _fail(self, error: Exception, outcome: str) -> None:
        """Tells of the first error."""
        if not self._told:
            self._told = True
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._say(f"--logger={self._name} failed, {outcome}; training goes on ({reason})")


def _known(path: Path) -> dict[str, str]:
    """Reads what loggers have called a run; {} where none has, or the file is damaged."""
    try:
        known = json.loads(regular.read_text(path))
    except (FileNotFoundError, *storage.NOT_JSON):
        return {}
    pairs = known.items() if isinstance(known, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}
