"""`import ganjax`: the examples of its names, what they return and refuse, and that it is light."""

import ast
import dataclasses
import doctest
import functools
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from conftest import ROOT
from PIL import Image
from small import shrink

import ganjax
from ganjax import config_file, sample
from ganjax.api.runs import Run
from ganjax.data import sources
from ganjax.engine import step as steps
from ganjax.errors import naming_arguments
from ganjax.metrics import features
from ganjax.metrics.layers import Activations
from ganjax.ops import lowering
from ganjax.training import checkpoint, loop, schema, workdir
from ganjax.training.start import Start

pytestmark = pytest.mark.usefixtures("native_convolutions")

RUN = "runs/cwgan_gp"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a tiny conditional run that is finished; shipped configs are tiny too.

    It is the working folder of all tests of this file. The run's parameters are those that training
    begins with, since to compile its steps takes long.
    """
    load = config_file.load
    with pytest.MonkeyPatch.context() as patch, lowering.native_convolutions():
        patch.setattr(config_file, "load", lambda *named: shrink(load(*named)))
        patch.chdir(tmp_path_factory.mktemp("session"))
        config, module = schema.load(ganjax.configs.load("cwgan_gp"))
        source = sources.open_source(config.data, "train", image_size=config.image_size)
        workdir.claim(Path(RUN), config, source.fingerprint)
        with checkpoint.open_checkpoints(Path(RUN), 2) as checkpoints:
            state = steps.init_state(module.build(config), jax.random.key(config.seed))
            for step in (2, 4):
                finished = state.replace(step=jax.numpy.int32(step))
                checkpoint.save(checkpoints, step, finished, {}, {})
        rows = [{"step": step, "epoch": step / 2, "d_loss": 1 / step} for step in (1, 2, 3, 4)]
        rows[2:2] = [{"step": 2, "epoch": 1.0, "val_d_loss": 2}]
        Path(RUN, "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        yield


@pytest.fixture(scope="module")
def run(here):
    return ganjax.load(RUN)


def examples():
    """(name, doctest) of every public name that has an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in ganjax.__all__:
        for found in finder.find(getattr(ganjax, name), f"ganjax.{name}", globs={}):
            if found.examples:
                yield found.name, found


EXAMPLES = dict(examples())


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_public_names(name):
    test = EXAMPLES[name]
    test.globs = {"ganjax": ganjax, "np": np}
    told = []
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.DocTestRunner(optionflags=options).run(test, out=told.append)
    assert not result.failed, "".join(told)


def colours(params, x):
    """A network in efflite0's place, which takes long to compile."""
    made = jax.numpy.concatenate([x.mean((1, 2)), x.std((1, 2))], -1) / 64
    return Activations(made, made, (x,))


@pytest.mark.usefixtures("here")
def test_the_code_of_the_documentation_runs(monkeypatch):
    """Its run, which would be trained, is the one that is there."""
    network = features.NETWORKS["efflite0"]._replace(
        make_params=lambda tensors: {}, prepare=lambda images: images * 1.0, apply=colours
    )
    monkeypatch.setitem(features.NETWORKS, "efflite0", network)
    monkeypatch.setattr(ganjax, "train", lambda config, workdir: ganjax.load(RUN))
    Path("runs/mine").symlink_to("cwgan_gp")
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    session = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, session)
    assert session["steps"].shape == session["losses"].shape == (4,)
    assert session["scores"].shape == (64,)
    assert session["figures"]["kid_efflite0"] > 0


def test_every_public_name_has_an_example_and_is_no_module_of_another_kind():
    names = set(ganjax.__all__) - {"__version__"}
    public = {f"ganjax.{name}" for name in names}
    for owner in (ganjax.Run, ganjax.configs):
        own = f"ganjax.{owner.__name__.removeprefix('ganjax.')}"
        public |= {f"{own}.{name}" for name in own_names(owner)}
    assert public == EXAMPLES.keys()
    modules = {path.stem for path in (ROOT / "ganjax").rglob("*.py")}
    folders = {path.name for path in (ROOT / "ganjax").rglob("*") if path.is_dir()}
    assert names & (modules | folders) == {"configs"}
    assert inspect.ismodule(ganjax.configs)
    fields = {field.name for field in dataclasses.fields(Start)}
    assert fields < inspect.signature(ganjax.train).parameters.keys()
    for path in (ROOT / "ganjax").glob("[!_]*.py"):  # `from ganjax import sample` is the module.
        assert path.stem == "main" or f"\ndef {path.stem}(" not in path.read_text(), path
    assert names <= set(dir(ganjax))
    with pytest.raises(AttributeError, match="no attribute 'sampel'; it offers"):
        _ = ganjax.sampel
    assert not hasattr(ganjax, "_no_such")


def own_names(owner):
    """The public functions and properties that a class or module defines itself."""
    of_class = (property, functools.cached_property)
    for name, each in vars(owner).items():
        function = inspect.isfunction(each) and each.__module__ in (owner.__name__, Run.__module__)
        if not name.startswith("_") and (function or isinstance(each, of_class)):
            yield name


def test_types_and_homes_of_public_names_agree():
    """What a type checker is told is what is imported."""
    tree = ast.parse((ROOT / "ganjax" / "__init__.py").read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {a.name: n.module for n in checked.body for a in n.names}
    homes = {name: ganjax._HOMES[name] for name in told} | {"configs": "ganjax"}
    assert told == homes
    assert set(told) | {"__version__"} == set(ganjax.__all__)
    for name, home in told.items():
        assert getattr(ganjax, name) is getattr(importlib.import_module(home), name)


def test_import_ganjax_imports_nothing_else():
    code = "import sys, ganjax; print([m for m in sys.modules if m.startswith(('ganjax.', 'jax'))])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, timeout=60)
    assert said.stdout.strip() == b"[]", said.stderr


@pytest.fixture
def command():
    """Runs `ganjax sample`, and returns the arrays of its --raw."""
    before = set(flags.FLAGS)
    sample.define_flags()

    def raw(*arguments):
        with flagsaver.flagsaver():
            sample.main(
                flags.FLAGS(
                    ["sample", f"--workdir={RUN}", "--raw=a.npz", "--overwrite", *arguments]
                )
            )
        with np.load("a.npz") as arrays:
            return dict(arrays)

    yield raw
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def test_samples_are_those_of_the_command(run, command):
    by_default = command("--num=12")
    np.testing.assert_array_equal(run.sample(12), by_default["image"])
    of_class = command("--num=5", "--seed=7", "--label=3")
    np.testing.assert_array_equal(run.sample(5, seed=7, label=3), of_class["image"])
    np.testing.assert_array_equal(run.sample(5, seed=7, label="3"), of_class["image"])
    two = command("--num=4", "--seed=7", "--label=3,8")
    for label in ([3, 8, 3, 8], np.array([3, 8, 3, 8]), ["3", "8", "3", "8"]):
        np.testing.assert_array_equal(run.sample(4, seed=7, label=label), two["image"])
    assert (two["image"][1] != of_class["image"][1]).any(), "the class matters"
    z = run.latents(12)
    np.testing.assert_array_equal(run.generate(z, by_default["label"]), by_default["image"])
    np.testing.assert_array_equal(run.generate(jax.numpy.asarray(z)), by_default["image"])


def test_the_discriminator_scores_images_as_its_class(run):
    images = run.reals(6)
    labels = np.array([0, 1, 2, 0, 1, 2])
    expected = run._trained.scores(images, labels.astype(np.int32))
    np.testing.assert_array_equal(run.discriminate(images, labels), expected)
    as_one = run.discriminate(images, 1)
    np.testing.assert_allclose(as_one[[1, 4]], expected[[1, 4]], rtol=1e-5)
    assert abs(as_one[0] - expected[0]) > 1e-5


def test_what_a_run_holds(run):
    trained = run._trained
    sampled = trained.algorithm.sample(
        run.params["generator"], trained._ema.vars, run.latents(2), np.array([0, 1]), trained.phase
    )
    levels = np.rint((np.asarray(sampled) + 1) * 127.5)
    np.testing.assert_allclose(levels, run.sample(2), atol=1)
    curves = run.metrics()
    np.testing.assert_array_equal(curves["d_loss"].step, [1, 2, 3, 4])
    np.testing.assert_array_equal(curves["d_loss"].value, [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_array_equal(curves["val_d_loss"], [[2], [2]])
    assert curves["val_d_loss"].value.dtype == float
    reals = run.reals()
    assert reals.shape == (500, 32, 32, 1)
    np.testing.assert_array_equal(np.sort(run.reals(500, "train")[:3].ravel())[-1:], [255])
    again = run.config
    again.seed = 5
    assert run.config.seed == 0, "a copy"


def test_pictures_are_shown_at_a_width_that_can_be_seen(run):
    samples = run.sample(6)
    picture = ganjax.grid(samples, columns=3)
    assert picture.size[0] >= 512
    factor = picture.size[0] // (3 * 34 - 2)
    cell = np.asarray(picture)[: 32 * factor, 34 * factor : 66 * factor]
    np.testing.assert_array_equal(cell[::factor, ::factor], samples[1, ..., 0])
    captioned = ganjax.grid(samples, columns=3, captions=["x"] * 6)
    assert captioned.size[1] > picture.size[1]
    assert isinstance(picture, Image.Image)


def test_the_other_split_of_a_data_source_gives_the_floor(run):
    fakes = run.sample(40)
    figures = ganjax.measure("embedded:mnist5k", fakes, ["log_likelihood"], fit="pad")
    assert figures.keys() == figures.floor.keys()
    assert figures.protocol["real"]["count"] == 500
    np.savez("fakes.npz", image=fakes)
    again = ganjax.measure("embedded:mnist5k", "fakes.npz", "log_likelihood", fit="pad")
    assert figures == again


REFUSED = {
    "num": (lambda r: r.sample(0), r"^num=0: give a whole number from 1 to "),
    "no whole num": (lambda r: r.sample(1.5), r"^num=1.5: give a whole number"),
    "num of reals": (lambda r: r.reals("all"), r"^num='all': give a whole number"),
    "seed": (lambda r: r.sample(1, seed=-1), r"^seed=-1: .* from 0 to 4294967295"),
    "seed that is a text": (lambda r: r.sample(1, seed="0"), r"^seed='0': give a whole number"),
    "columns": (lambda r: ganjax.grid(r.sample(2), columns=-1), r"^columns=-1: give a whole"),
    "no whole seed_index": (
        lambda r: ganjax.load(r.folder, seed_index="0"),
        r"^seed_index='0': give a",
    ),
    "label": (lambda r: r.sample(2, label=10), r"^label=10: there .* indices are from 0 to 9"),
    "negative": (lambda r: r.sample(2, label=[0, -1]), r"^label=-1: there is no such class"),
    "named": (lambda r: r.sample(2, label="cat"), r"^label=cat: there is no such class"),
    "labels": (lambda r: r.sample(2, label=[1, 2, 3]), r"^label is \(3,\): give one class, or 2"),
    "float": (lambda r: r.sample(2, label=1.5), r"^label is float64: give indices or names"),
    "z": (lambda r: r.generate(np.zeros((2, 3))), r"^z is float64 \(2, 3\): .* float32 \(N, 32\)"),
    "single_z": (lambda r: r.generate(np.zeros(32)), r"^z is float64 \(32,\): "),
    "floats": (
        lambda r: r.discriminate(np.zeros((2, 32, 32, 1), np.float32), 1),
        r"^images are float32: give uint8, levels from 0 to 255",
    ),
    "small": (
        lambda r: r.discriminate(np.zeros((2, 28, 28, 1), np.uint8), 1),
        r"^images are \(2, 28, 28, 1\): the run's are \(N, 32, 32, 1\)",
    ),
    "unlabelled": (lambda r: r.discriminate(r.reals(2)), r"^label is missing: .* discriminator"),
    "split": (lambda r: r.reals(split="test"), r"^split='test': there are 'train' and 'valid"),
    "reals": (lambda r: r.reals(501), r"^num=501: the split 'validation' has 500 images"),
    "which": (
        lambda r: ganjax.load(RUN, 3),
        r"^which=3: name best, last or one of the steps .* 2, 4",
    ),
    "resolution": (
        lambda r: ganjax.load(RUN, resolution=16),
        r"^resolution=16: runs/cwgan_gp at step 4 has 32; take one of these",
    ),
    "seed_index": (lambda r: ganjax.load(RUN, seed_index=1), r"^seed_index=1: the run has 1 seed"),
    "metric": (lambda r: ganjax.measure("a", "b", "kidd"), r"^metrics=kidd: there are kid, "),
    "fake": (lambda r: ganjax.measure(r.reals(9), "b.png"), r"^fake=b.png: there is no such fol"),
    "image": (
        lambda r: ganjax.measure(r.reals(9), np.zeros((2, 8, 8, 1))),
        r"^fake images is float64 \(2, 8, 8, 1\); images are uint8",
    ),
    "grid": (lambda r: ganjax.grid(r.reals(2)[0]), r"^images are uint8 \(32, 32, 1\): give uint8"),
    "captions": (lambda r: ganjax.grid(r.reals(2), captions=["a"]), r"^captions are 1: give 2"),
    "config": (lambda r: ganjax.configs.load("wgan-gp"), r"^config=wgan-gp: there is no such file"),
    "preset": (lambda r: ganjax.train("wgan_gp:big", "runs/b"), r"^preset 'big': there are digits"),
    "field": (
        lambda r: ganjax.configs.load("wgan_gp", {"lr": 1}),
        r"^override lr=1: wgan_gp has no such field",
    ),
    "another": (
        lambda r: ganjax.train("wgan_gp", RUN),
        r"^runs/cwgan_gp holds a run with another .* or take new=True or another workdir",
    ),
}


@pytest.mark.parametrize(
    ("of_flags", "of_arguments"),
    [
        ("--a_b=3: take --c or another --d", "a_b=3: take c or another d"),
        ("/x--y/z: add --trust (in Python trust=True)", "/x--y/z: add trust=True"),
        (
            "run ganjax sample grid --num=3 --out=a; --b",
            "run ganjax sample grid --num=3 --out=a; b",
        ),
        ("--config.n=1: set --config.m", "config.n=1: set config.m"),
        ("take --new, or add --trust; --newer=1", "take new=True, or add trust=True; newer=1"),
        ("curves: tensorboard --logdir=a", "curves: tensorboard --logdir=a"),
    ],
)
def test_messages_name_arguments_in_place_of_flags_but_in_whole_commands(of_flags, of_arguments):
    @naming_arguments
    def fail():
        raise ganjax.UserError(of_flags)

    with pytest.raises(ganjax.UserError) as caught:
        fail()
    assert str(caught.value) == of_arguments


def test_what_training_says_names_arguments_too(here, monkeypatch, capsys):
    monkeypatch.setattr(loop, "train", lambda config, folder, shown, *_: shown.say("begin: --new"))
    ganjax.train("cwgan_gp", RUN)
    assert capsys.readouterr().out == "begin: new=True\n"


@pytest.mark.parametrize("case", REFUSED)
def test_the_impossible_is_refused_in_one_line_that_names_the_argument(run, case):
    call, message = REFUSED[case]
    with pytest.raises(ganjax.UserError, match=message) as caught:
        call(run)
    assert len(str(caught.value).splitlines()) == 1


def test_changes_are_those_of_flags(here):
    config = ganjax.configs.load("wgan_gp", {"discriminator.network": "mlp", "n_critic": 2})
    assert config.discriminator.network == "mlp"
    assert config.discriminator.widths == (512, 512, 512), "its own defaults"
    assert config.n_critic == 2


def test_how_a_run_begins_is_what_the_flags_say(here, monkeypatch):
    calls = []
    monkeypatch.setattr(loop, "train", lambda *arguments: calls.append(arguments))
    Path("runs/x").mkdir()
    with pytest.raises(ganjax.UserError, match=r"x-2: no run is there"):  # Nothing was trained.
        ganjax.train("wgan_gp", "runs/x", new=True, init_from=Path(RUN), init_allow=["classes"])
    with pytest.raises(ganjax.UserError, match=r"x: no run is there"):
        ganjax.train("wgan_gp", "runs/x", allow_change=["seed"], from_step=2)
    (_, made, _, new, _), (_, there, _, on, _) = calls
    assert (made.name, there.name) == ("x-2", "x")
    assert (new, on) == (
        Start(new=True, init_from=RUN, init_allow=("classes",)),
        Start(allow_change=("seed",), from_step=2),
    )
    with pytest.raises(ganjax.UserError, match=r"^from_step: new=True begins a run of which"):
        ganjax.train("wgan_gp", "runs/x", new=True, from_step=2)


def test_an_interrupted_call_is_a_keyboard_interrupt(here, monkeypatch):
    def stop(number):
        def train(*arguments):
            raise loop.Interrupted(128 + number)

        monkeypatch.setattr(loop, "train", train)

    stop(2)
    with pytest.raises(KeyboardInterrupt, match=r"runs/x is saved; .* with the same config"):
        ganjax.train("wgan_gp", "runs/x", quiet=True)
    stop(15)
    with pytest.raises(loop.Interrupted):
        ganjax.train("wgan_gp", "runs/x", quiet=True)
