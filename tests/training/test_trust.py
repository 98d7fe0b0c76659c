"""A run from elsewhere: its config.json is data, which makes no reader execute other code."""

import json
import sys
from functools import partial

import pytest
from absl import flags
from absl.testing import flagsaver
from small import shipped, shrink

import ganjax
from ganjax import compare, evaluate, sample
from ganjax.analysis import comparison, progress
from ganjax.analysis.trained import Trained
from ganjax.config import ConfigError
from ganjax.training import migrations, schema, trust, workdir
from ganjax.training.loop import train


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A run's folder that brings along the module that its config.json names as algorithm."""
    folder = tmp_path / "run"
    (folder / "checkpoints" / "1").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    (folder / "strange.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'executed')!r}).touch()\n"
    )
    fields = schema.load(shrink(shipped("wgan_gp"))).config.model_dump(mode="json")
    fields |= {migrations.KEY: migrations.FORMAT, "algorithm": "strange.inner"}
    (folder / workdir.CONFIG).write_text(json.dumps(fields))
    yield folder
    for name in ("strange", "strange.inner"):
        sys.modules.pop(name, None)


def typed(command, *arguments):
    """Runs a command with flags of its own."""
    values = set(flags.FLAGS)
    command.define_flags()
    try:
        with flagsaver.flagsaver():
            command.main(flags.FLAGS([command.__name__, *arguments]))
    finally:
        for name in set(flags.FLAGS) - values:
            delattr(flags.FLAGS, name)


READERS = {
    "workdir.read": workdir.read,
    "workdir.read_fields": workdir.read_fields,
    "Trained": Trained,
    "ganjax.load": ganjax.load,
    "comparison.compare": lambda folder: comparison.compare([folder, folder]),
    "progress.draw": progress.draw,
    "progress.evolution": progress.evolution,
    "ganjax.sample": lambda folder: typed(sample, f"--workdir={folder}"),
    "ganjax.sample evolution": lambda folder: typed(sample, "evolution", f"--workdir={folder}"),
    "ganjax.evaluate": lambda folder: typed(
        evaluate, f"--workdir={folder}", "--metrics=log_likelihood"
    ),
    "ganjax.compare": lambda folder: typed(compare, str(folder)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_executes_no_code_that_a_run_names(stranger, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refusal = r"config.json: config.algorithm='strange.inner' would .* add .*trust=True"
    with pytest.raises(ConfigError, match=refusal):
        READERS[name](stranger)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["Trained", "ganjax.sample"])
def test_a_run_that_is_trusted_may_bring_its_algorithm(stranger, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reader = {
        "Trained": partial(Trained, trust=True),
        "ganjax.sample": lambda folder: typed(sample, "--trust", f"--workdir={folder}"),
    }[name]
    with pytest.raises(ConfigError, match=r"there is no module strange\.inner"):
        reader(stranger)
    assert (tmp_path / "executed").exists(), "the package around the module is executed"


def test_going_on_imports_only_the_algorithm_that_the_command_names(stranger, tmp_path, tiny):
    with pytest.raises(ConfigError, match=r"holds a run with another config\.algorithm \("):
        train(tiny, stranger)
    assert not (tmp_path / "executed").exists()


def test_a_function_that_a_run_names_as_its_images_is_not_called(stranger, tmp_path):
    path = stranger / workdir.CONFIG
    fields = json.loads(path.read_text()) | {"algorithm": "gan"}
    path.write_text(json.dumps(fields | {"data": {"source": "python:strange:images"}}))
    with pytest.raises(ConfigError, match=r"config.data.source='python:strange:images' would exec"):
        Trained(stranger)
    assert not (tmp_path / "executed").exists()


def test_a_trusted_name_is_that_name_alone():
    fields = {"algorithm": "my.gan"}
    trust.refuse_code(fields, "there", ["my.gan"])
    with pytest.raises(ConfigError, match=r"there: config.algorithm='my.gan'"):
        trust.refuse_code(fields, "there", ["my"])
    for own in ("gan", "progan", "ganjax.algorithms.gan", None, 3):
        trust.refuse_code({"algorithm": own}, "there", False)
    for foreign in ("ganjax.algorithms_of_mine", "os", "mine", ""):
        with pytest.raises(ConfigError, match="would execute code"):
            trust.refuse_code({"algorithm": foreign}, "there", False)


def test_only_sets_of_tfds_itself_are_opened_untold():
    for source in (
        "embedded:mnist5k",
        "records:a",
        "tfds:mnist",
        "tfds:a/b-1.0:3.*.*",
        "tfds:mnist:3.0.1",
        "folder:a:b/c=d",
    ):
        trust.refuse_code({"data": {"source": source}}, "there", False)
    strange = ("tfds:space:mnist", "tfds:mnist/data_dir=/there", "tfds:a/b:1.0.0/x=1")
    for source in (*strange, "python:strange:images"):
        with pytest.raises(ConfigError, match=rf"there: config.data.source='{source}' would exec"):
            trust.refuse_code({"data": {"source": source}}, "there", False)
        trust.refuse_code({"data": {"source": source}}, "there", [source])
