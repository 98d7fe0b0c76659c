"""Every shipped config, shrunk: its fields are flags; it trains, resumes and is sampled."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import SHIPPED, shipped, shrink, write_arrays, write_images
from flax.traverse_util import flatten_dict

import ganjax
from ganjax.api.tagging import TaggerRun
from ganjax.config import Fields
from ganjax.data import sources
from ganjax.training import domain, glossary, schema
from ganjax.training.loop import train
from ganjax.training.writer import METRICS, read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")


def form(value):
    """Returns a group of fields, a sequence or a field with the signs of its real numbers alone."""
    if isinstance(value, dict):
        return tuple((name, form(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(form, value))
    return np.sign(value) if isinstance(value, float) else value


# Those that `shrink` leaves different in more than real numbers, which do not choose what runs:
# presets may differ in their lengths and rates alone.
DISTINCT = list(
    {form(shrink(shipped(*each)).to_dict()): each for each in reversed(SHIPPED)}.values()
)


def smallest(config):
    """Shrinks images of 32x32 that are padded to that size, which others train, to 16x16."""
    if config.data.get("fit") == "pad" and config.generator.network in ("dcgan", "resnet"):
        less = int(np.log2(config.image_size // 16))
        config.image_size, config.data.fit = 16, "resize"
        for player in (config.generator, config.discriminator):
            player.widths = player.widths[less:]
    if config.get("loss") == "relativistic_paired" and "families" in config.augment:
        config.augment.update(families=("blit",), multipliers=())  # Presets of ADA have them all.
    return config


def fields(group):
    """The names of all fields of a checked config, dotted."""
    for name, value in group:
        if isinstance(value, Fields):
            yield from (f"{name}.{inner}" for inner in fields(value))
        else:
            yield name


def check_metrics(folder, loaded):
    """Every metric that a run has logged has a meaning, and lies in its range."""
    algorithm = loaded.module.build(loaded.config)
    rows = read_metrics(folder / METRICS)
    assert any("val_d_loss" in row for row in rows)
    for name, value in (item for row in rows for item in row.items()):
        meaning = glossary.meaning_of(name, algorithm.meanings)
        assert meaning is not None, name
        assert name.removeprefix("val_") not in algorithm.last_values or name[:4] != "val_", name
        assert meaning.least <= value <= meaning.most, (name, value)


@pytest.mark.parametrize(("name", "preset"), SHIPPED)
def test_every_field_can_be_set_from_the_command_line(name, preset):
    """A flag overrides only what the config file lists, so it must list everything."""
    raw = shipped(name, preset)
    loaded, module = schema.load(raw)
    module.build(loaded)
    domain.of(schema.load(raw)).check([sources.Source(500, None, ())])
    assert set(flatten_dict(raw.to_dict(), sep=".")) == set(fields(loaded))


@pytest.mark.parametrize(
    ("name", "preset"),
    [pytest.param(*each, marks=pytest.mark.slow if each[1] else ()) for each in DISTINCT[::-1]],
)
def test_shipped_config_trains_resumes_and_samples(name, preset, tmp_path, request):
    """The default of each system does on eight devices, others on one, which compiles sooner."""
    if preset:
        request.getfixturevalue("one_device")
    config = smallest(shrink(shipped(name, preset)))
    for optimiser in (config.g_optimiser, config.d_optimiser):
        if "decay" in optimiser:
            optimiser.decay = "none"  # A linear one does not go on beyond total_steps.
    if config.data.source.startswith("arrays:"):
        config.data.source = f"arrays:{write_arrays(tmp_path / 'arrays')}"
    if config.data.source.startswith("folder:"):
        config.data.source = f"folder:{write_images(tmp_path / 'images', 24)}"
    # Each system is resumed in its default form.
    stops = (4,) if preset else (2, 4)
    with tfds.testing.mock_data(num_examples=40):
        for config.total_steps in stops:
            state = train(config, tmp_path)
            assert int(state.step) == config.total_steps
    check_metrics(tmp_path, schema.load(config))
    run = ganjax.load(tmp_path)
    if isinstance(run, TaggerRun):
        found = run.tag([tmp_path / "arrays" / "features.npy"])
        assert len(found) == 24
        assert all(found)
        return
    samples = run.sample(3)
    assert samples.shape == (3, config.image_size, config.image_size, config.data.channels)
    assert samples.dtype == np.uint8
    assert samples.std() > 0
