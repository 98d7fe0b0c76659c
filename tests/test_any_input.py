"""Properties of all input: configs, files of labels, shapes and folders make sense or are refused.

Examples are drawn by hypothesis, always the same ones.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from absl import flags
from conftest import ROOT
from hypothesis import strategies as st
from ml_collections import ConfigDict
from PIL import Image
from small import shipped

from experiments.faults import files, mutations, readers
from ganjax import cli, shared_flags
from ganjax.data import annotations, fit, folder
from ganjax.data.fields import DataFields
from ganjax.errors import DataError, UserError
from ganjax.training import schema

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def examples(count):
    return hypothesis.settings(max_examples=count, deadline=None, derandomize=True, database=None)


def leaves(config, at=""):
    """The dotted names of a config's fields."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{at}{name}.")
        else:
            yield f"{at}{name}"


NAMES = ("wgan_gp", "progan", "ada", "cgan", "r3gan", "tagging")
CONFIGS = {name: shipped(name).to_dict() for name in NAMES}
FIELDS = sorted({(name, path) for name in CONFIGS for path in leaves(ConfigDict(CONFIGS[name]))})
# Values of every type, of fields of this kind and of none.
VALUES = st.one_of(
    st.sampled_from([each for each in mutations.VALUES if not isinstance(each, list | dict)]),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(-2, 2**33), max_size=4).map(tuple),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


def is_one_line(error, text=""):
    """Commands join lines and cut what is too long, so that it must only say something."""
    assert str(error).strip()
    assert text in str(error)


def test_every_reader_is_among_the_faults():
    assert set(files.NAMES) == set(readers.READERS)


@examples(60)
@hypothesis.given(st.sampled_from(FIELDS), VALUES)
def test_any_value_of_a_field_makes_a_config_or_one_error_that_names_the_field(place, value):
    name, path = place
    config = json.loads(json.dumps(CONFIGS[name]), object_hook=dict)
    *groups, last = path.split(".")
    group = config
    for each in groups:
        group = group[each]
    group[last] = value
    try:
        loaded, _ = schema.load(config)
    except UserError as error:
        is_one_line(error, "config.")
    else:
        assert isinstance(loaded, schema.RunConfig)
        dumped = loaded.model_dump(mode="json")
        assert schema.load(dumped).config == loaded, "config.json holds all of it"


@examples(40)
@hypothesis.given(
    st.sampled_from(FIELDS),
    st.one_of(VALUES.map(str), st.text(st.characters(exclude_characters="\0"), max_size=12)),
)
def test_any_text_of_a_flag_makes_a_config_or_one_error(place, text):
    name, path = place
    arguments = ["main", f"--config={ROOT}/configs/{name}.py", f"--config.{path}={text}"]
    values, before = flags.FlagValues(), sys.argv
    try:
        sys.argv = arguments
        shared_flags.define_config(values)
        values(arguments)
        schema.load(values.config)
    except (UserError, *cli.PARSING) as error:
        is_one_line(error)
    finally:
        sys.argv = before


CELLS = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "1.0", "nan", "inf", "x", '"', "a,b", "1" * 30, "é\0"]),
    st.text(max_size=5),
)


def labels_of(text, suffix):
    """Reads a file of labels as a folder does, if it can be read."""
    with tempfile.TemporaryDirectory() as at:
        path = Path(at) / f"labels{suffix}"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            found = annotations.read_annotations(path)
        except DataError as error:
            return is_one_line(error)
    for name in {name for features in found.values() for name in features}:
        cells = {file: features.get(name) for file, features in found.items()}
        try:
            labels = annotations.encode(name, cells)
        except DataError as error:
            is_one_line(error)
            continue
        assert labels.values.shape == (len(found),)
        assert labels.values.dtype == np.int32
        if labels.names:
            assert set(labels.values.tolist()) <= set(range(len(labels.names)))
    for features in found.values():
        try:
            box = annotations.box(features)
        except DataError as error:
            is_one_line(error)
        else:
            assert box is None or np.isfinite(box).all()
    return found


@examples(60)
@hypothesis.given(
    st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=5),
    st.sampled_from(",;\t"),
    st.data(),
)
def test_any_table_of_labels_is_read_or_refused(rows, comma, data):
    header = data.draw(st.sampled_from([["file", "label"], ["file", "ymin", "xmin"], ["a"], []]))
    labels_of("\n".join(comma.join(row) for row in [header, *rows]), ".csv")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@examples(60)
@hypothesis.given(JSON)
def test_any_json_of_labels_is_read_or_refused(content):
    labels_of(json.dumps(content), ".json")


@examples(80)
@hypothesis.given(
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4)),
    st.sampled_from(["uint8", "uint16"]),
    st.integers(1, 24),
    st.sampled_from(sorted(fit.FITS)),
    st.sampled_from([1, 3]),
    st.one_of(st.none(), st.tuples(*[st.floats(-0.5, 1.5, width=32)] * 4)),
)
def test_an_image_of_any_shape_is_fitted_or_refused_as_its_check_says(
    shape, dtype, size, way, channels, corners
):
    image = np.full(shape, 200, dtype)
    fitting = fit.Fitting(DataFields(source="folder:x", fit=way, channels=channels), size)
    box = None if corners is None else fit.Box(*corners)
    refused = []
    for attempt in (lambda: fitting.check(*shape[:2], box), lambda: fitting(image, box)):
        try:
            result = attempt()
        except DataError as error:
            is_one_line(error)
            refused.append(str(error))
        else:
            refused.append(None)
    if refused[1] is None:
        assert refused[0] is None
        assert (result.shape, result.dtype) == ((size, size, channels), np.uint8)
    elif dtype == "uint8" and shape[2] != 2:  # Two channels are of 16 bits alone.
        assert refused[0] == refused[1]


NAMES = st.sampled_from(
    [
        "a.png",
        "b.PNG",
        "x/a.png",
        "y/a.png",
        "train/a.png",
        "val/b.png",
        ".a.png",
        "a b.jpg",
        "t.txt",
    ]
)
CONTENTS = st.sampled_from(["image", "small", "nothing", "junk", "folder", "pipe", "loop"])


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if content in ("image", "small"):
        Image.new("L", (4, 4) if content == "image" else (1, 2), 9).save(path, format="png")
    elif content in ("nothing", "junk"):
        path.write_bytes(b"" if content == "nothing" else bytes(range(99)))
    elif content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name)


@examples(40)
@hypothesis.given(
    st.dictionaries(NAMES, CONTENTS, max_size=6),
    st.integers(0, 3),
    st.sampled_from(["", "label"]),
    st.integers(1, 3),
)
def test_a_folder_of_anything_is_a_set_or_refused(files, most, label, least):
    with tempfile.TemporaryDirectory() as at:
        for name, content in files.items():
            put(Path(at) / name, content)
        fields = {"label": label, "max_skipped": most, "min_side": least, "fit": "resize"}
        data = DataFields(source=f"folder:{at}", channels=1, **fields)
        try:
            source, _ = folder.open_folder(at, "train", data, 4)
        except DataError as error:
            return is_one_line(error)
        batch = source.fetch(np.arange(source.size))
        assert batch["image"].shape == (source.size, 4, 4, 1)
        assert len(source.skipped) <= most
        usable = [name for name, content in files.items() if content in ("image", "small")]
        assert source.size <= len(usable)
