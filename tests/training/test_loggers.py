"""Loggers: what each is told, what goes on when one fails, and the real ones without a network."""

import contextlib
import json
import struct
import threading
from typing import ClassVar

import numpy as np
import pytest
from small import shipped

from ganjax.errors import UserError
from ganjax.training import loggers, schema
from ganjax.training.loggers import LOGGERS, Background, LoggedRun, Logger, hparams
from ganjax.training.writer import Writer, read_metrics

PICTURE = np.random.RandomState(0).randint(0, 256, (8, 12, 3), np.uint8)
FIELDS = {"batch_size": 64, "loss": "hinge", "data.mirror": True, "widths": "[4, 4]"}


class Notes(Logger):
    """A logger that notes what it is told, and fails where its class says."""

    package = "json"
    told: ClassVar = []
    fails = ()

    def begin(self, run):
        self._note("begin", run)
        return "id-7"

    def scalars(self, step, scalars):
        self._note("scalars", step, scalars)

    def images(self, step, images):
        self._note("images", step, images)

    def close(self, failed):
        self._note("close", failed)

    def _note(self, *call):
        self.told.append(call)
        if call[0] in self.fails:
            raise OSError(f"no network\nfor {call[0]}")


@pytest.fixture
def notes(monkeypatch):
    monkeypatch.setitem(LOGGERS, "notes", Notes)
    monkeypatch.setattr(Notes, "told", [])
    return Notes


@contextlib.contextmanager
def writing(folder, step=0):
    said = []
    with Writer(folder, step, 100, loggers=["notes"]) as writer:
        writer.say = said.append
        for logger in writer._loggers:
            logger._say = said.append
        writer.write_hparams(FIELDS, ["d_loss"])
        yield writer, said


def test_a_logger_is_told_of_the_run_and_what_it_called_it_before(notes, tmp_path):
    with writing(tmp_path) as (writer, said):
        writer.write_scalars(1, {"d_loss": 0.5})
        writer.write_images(1, {"samples": PICTURE})
    first = [
        ("begin", LoggedRun(tmp_path, FIELDS, "")),
        ("scalars", 1, {"d_loss": 0.5}),
        ("images", 1, {"samples": PICTURE}),
        ("close", False),
    ]
    assert notes.told == first
    assert json.loads((tmp_path / loggers.FILE).read_text()) == {"notes": "id-7"}
    notes.told.clear()
    with pytest.raises(ValueError, match="diverged"), writing(tmp_path, 1):
        raise ValueError("diverged")
    assert notes.told == [("begin", LoggedRun(tmp_path, FIELDS, "id-7")), ("close", True)]
    assert not said


def test_a_stop_by_a_signal_is_no_failure(notes, tmp_path):
    with pytest.raises(SystemExit), writing(tmp_path):
        raise SystemExit(143)
    assert notes.told[-1] == ("close", False)


@pytest.mark.parametrize("fails", [("scalars",), ("scalars", "images", "close"), ("close",)])
def test_a_logger_that_fails_is_told_once_and_the_run_goes_on(notes, monkeypatch, tmp_path, fails):
    monkeypatch.setattr(Notes, "fails", fails)
    with writing(tmp_path) as (writer, said):
        for step in (1, 2, 3):
            writer.write_scalars(step, {"d_loss": 0.5})
        writer.write_images(3, {"samples": PICTURE})
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    assert [call[0] for call in notes.told] == ["begin", *["scalars"] * 3, "images", "close"]
    (line,) = said
    assert line == (
        "--logger=notes failed, so it misses some; training goes on (OSError: no network for "
        f"{fails[0]})"
    )


@pytest.mark.parametrize("asks", [False, True])
def test_a_logger_that_cannot_begin_is_told_nothing_more(notes, monkeypatch, tmp_path, asks):
    monkeypatch.setattr(Notes, "fails", ("begin",))
    monkeypatch.setattr(Notes, "asks", asks)
    with writing(tmp_path) as (writer, said):
        writer.write_scalars(1, {"d_loss": 0.5})
    assert [call[0] for call in notes.told] == ["begin"]
    assert said[0].startswith(
        "--logger=notes failed, so it is told nothing of this run; training g"
    )
    assert not (tmp_path / loggers.FILE).exists()


def test_a_logger_that_hangs_does_not_make_a_run_wait(monkeypatch, tmp_path):
    released, said = threading.Event(), []

    class Hanging(Notes):
        told: ClassVar = []  # Its thread goes on after this test.

        def scalars(self, step, scalars):
            released.wait(20)

    monkeypatch.setattr(loggers, "SECONDS", 0.01)
    monkeypatch.setattr(loggers, "MOST_WAITING", 2)
    logger = Background("notes", Hanging(), said.append)
    logger.begin(tmp_path, FIELDS)
    for step in range(5):
        logger.scalars(step, {"d_loss": 0.5})
    logger.close(failed=False)
    released.set()
    assert "2 calls wait for it" in said[0]
    assert said[1].startswith(
        "--logger=notes: it has not taken everything within 0.01 s; the run i"
    )


def test_a_damaged_file_of_names_begins_anew(notes, tmp_path):
    for text in ("{", "[]", '{"notes": 3}'):
        (tmp_path / loggers.FILE).write_text(text)
        with writing(tmp_path):
            pass
        assert notes.told[-2][1].id == ""


def test_a_logger_that_is_not_there_is_refused_with_the_mend(monkeypatch):
    with pytest.raises(UserError, match=r"--logger=visdom: there are wandb, mlflow, trackio"):
        loggers.check(["visdom"])
    monkeypatch.setattr(Notes, "package", "no_such_package")
    monkeypatch.setitem(LOGGERS, "wandb", Notes)
    with pytest.raises(UserError, match=r"no_such_package is not .* pip install 'ganjax\[wandb\]'"):
        loggers.check(["wandb"])


def test_hyper_parameters_are_texts_numbers_and_booleans():
    found = hparams(schema.load(shipped("wgan_gp")).config)
    assert found["n_critic"] == 1
    assert found["data.mirror"] is False
    assert found["generator.widths"] == "[128, 64, 32]"
    assert found["evaluation.metrics"] == "[]"
    assert {type(value) for value in found.values()} == {str, int, float, bool}


def told(name, folder):
    """Tells a real logger of a run that is stopped after step 2 and goes on."""
    said = []
    for steps in ((1, 2), (2, 3)):
        logger = Background(name, LOGGERS[name](), said.append)
        logger.begin(folder, hparams(schema.load(shipped("wgan_gp")).config))
        for step in steps:
            logger.scalars(step, {"d_loss": step / 2, "kid_efflite0": 0.25})
        logger.images(steps[-1], {"samples": PICTURE, "samples/seed_1": PICTURE[..., :1]})
        logger.close(failed=False)
    assert not said
    return json.loads((folder / loggers.FILE).read_text())[name]


def leveldb_records(content, start):
    """The records of a log of LevelDB, in which wandb keeps what it has not sent."""
    whole, block = b"", 1 << 15
    while content:
        left = block - start % block
        if left < 7:  # A header does not fit: the next block begins.
            content, start = content[left:], start + left
            continue
        _, length, kind = struct.unpack("<IHB", content[:7])
        whole += content[7 : 7 + length]
        content, start = content[7 + length :], start + 7 + length
        if kind in (1, 4):  # A whole record, or the last part of one.
            yield whole
            whole = b""


slow_and_noisy = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run's folder, beside which packages keep what they keep."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


class TestReal:
    """Those whose packages are installed, in their modes without a network."""

    pytestmark = slow_and_noisy

    def test_mlflow(self, folder, tmp_path, monkeypatch):
        pytest.importorskip("mlflow")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{tmp_path / 'mlruns'}")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        found = told("mlflow", folder)
        from mlflow.tracking import MlflowClient

        client = MlflowClient()
        run = client.get_run(found)
        assert run.info.run_name == "run"
        assert run.info.status == "FINISHED"
        assert run.data.params["generator.widths"] == "[128, 64, 32]"
        history = [(m.step, m.value) for m in client.get_metric_history(found, "d_loss")]
        assert history == [(1, 0.5), (2, 1.0), (2, 1.0), (3, 1.5)]
        names = [file.path for file in client.list_artifacts(found, "images")]
        assert len([name for name in names if "seed_1" in name and name.endswith(".png")]) == 2

    def test_trackio(self, folder, tmp_path, monkeypatch):
        monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        pytest.importorskip("trackio")
        found = told("trackio", folder)
        from trackio.sqlite_storage import SQLiteStorage

        rows = SQLiteStorage.get_logs(loggers.PROJECT, found)
        losses = [(row["step"], row["d_loss"]) for row in rows if "d_loss" in row]
        assert losses == [(1, 0.5), (2, 1.0), (2, 1.0), (3, 1.5)]
        assert sum("samples" in row for row in rows) == 2

    def test_wandb(self, folder, monkeypatch):
        monkeypatch.setenv("WANDB_MODE", "offline")
        pytest.importorskip("wandb")
        found = told("wandb", folder)
        from wandb.proto.wandb_internal_pb2 import Record

        history = []
        for file in sorted(folder.glob(f"wandb/offline-run-*-{found}/run-{found}.wandb")):
            for data in leveldb_records(file.read_bytes()[7:], 7):
                items = Record.FromString(data).history.item
                history.append({i.key or ".".join(i.nested_key): i.value_json for i in items})
        losses = [(row["step"], row["d_loss"]) for row in history if "d_loss" in row]
        assert losses == [("1", "0.5"), ("2", "1"), ("2", "1"), ("3", "1.5")]
        assert sum(any(key.startswith("samples") for key in row) for row in history) == 2
