"""Every shipped config, shrunk: its fields are flags; it trains, resumes and is sampled."""

from functools import partial
from operator import attrgetter

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from small import SHIPPED, mock_tfds, shipped, shrink, write_arrays, write_images

import ganjax
from ganjax.api.tagging import TaggerRun
from ganjax.config import Fields
from ganjax.data import pipeline, sources
from ganjax.engine.step import init_state
from ganjax.training import dispatch, domain, glossary, schema, setup
from ganjax.training.loop import _dispatches, train
from ganjax.training.writer import METRICS, read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")


# Fields of reals that choose no program, but what the host reads and feeds to it.
OF_READING = ("source", "num_examples", "max_skipped", "mirror", "label")


def form(value, name=""):
    """Returns what of a config, a group or a field chooses the programs of a run.

    Of real numbers, of schedules' lengths and of the length of z this is the sign, of the number of
    classes whether there are several, and of the data no field of OF_READING.
    """
    if isinstance(value, dict):
        left_out = OF_READING if name == "data" else ()
        return tuple((each, form(of, each)) for each, of in value.items() if each not in left_out)
    if isinstance(value, list | tuple):
        return tuple(form(each, name) for each in value)
    if name == "num_classes":
        return value > 1
    is_number = isinstance(value, float) or name in ("over", "latent_dim")
    return np.sign(value) if is_number else value


def smallest(name, preset):
    """Returns a shipped config, shrunk, of which images that are padded to 32x32 have 16x16."""
    config = shrink(shipped(name, preset))
    if config.data.get("fit") == "pad" and config.generator.network in ("dcgan", "resnet"):
        less = int(np.log2(config.image_size // 16))
        config.image_size, config.data.fit = 16, "resize"
        for player in (config.generator, config.discriminator):
            player.widths = player.widths[less:]
    if config.get("loss") == "hinge":  # Blocks of D that are like the one before.
        config.discriminator.widths = config.discriminator.widths[:2]
    if config.get("loss") == "relativistic_paired" and "families" in config.augment:
        config.augment.update(families=("blit",), multipliers=())  # Presets of ADA have them all.
        # With these the programs of presets are the same, if all else is, and compiled once.
        config.augment.controller.p.end = 0.5
        config.data.on_device = False  # Other presets of sets on the device are trained.
        for penalty in (config.penalty.r1, config.penalty.r2):
            penalty.update(start=1.0, end=0.1)
    if preset and ("growth" in config or config.get("loss") == "hinge"):  # Shared, as above.
        config.g_optimiser.learning_rate = config.d_optimiser.learning_rate = 1e-3
    if preset and config.get("loss") == "hinge":  # The digits of SNGAN by label are coloured too.
        config.latent_dim, config.ema.decay, config.data.channels = 8, 0.99, 3
    for optimiser in (config.g_optimiser, config.d_optimiser):
        if "decay" in optimiser:
            optimiser.decay = "none"  # A linear one does not go on beyond total_steps.
    return config


# The preset that is trained for each: the first of its form.
FORMS = {}
TRAINED = {each: FORMS.setdefault(form(smallest(*each).to_dict()), each) for each in SHIPPED}


def with_reals(config, folder):
    """Returns a config whose source, if it is a folder or arrays, is one that is made for it."""
    if config.data.source.startswith("arrays:"):
        config.data.source = f"arrays:{write_arrays(folder / 'arrays')}"
    if config.data.source.startswith("folder:"):
        config.data.source = f"folder:{write_images(folder / 'images', 24)}"
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
    [
        pytest.param(*each, marks=pytest.mark.slow if each[1] else ())
        for each in dict.fromkeys(TRAINED.values())
    ],
)
def test_shipped_config_trains_resumes_and_samples(name, preset, tmp_path, request):
    """The default of each system does on eight devices, others on one, which compiles sooner."""
    if preset:
        request.getfixturevalue("one_device")
    config = with_reals(smallest(name, preset), tmp_path)
    # Each system is resumed in its default form.
    stops = (4,) if preset else (2, 4)
    with mock_tfds(40):
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


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize(("name", "preset"), [each for each in SHIPPED if TRAINED[each] != each])
def test_a_preset_of_a_form_that_another_trains_is_set_up_and_reads_its_reals(
    name, preset, tmp_path
):
    """It has the other's state, and batches of the shapes and labels that a step takes."""
    arrays = attrgetter("shape", "dtype")
    config = with_reals(smallest(name, preset), tmp_path)
    trained = smallest(*TRAINED[name, preset])
    trained.latent_dim, trained.data.num_classes = config.latent_dim, config.data.num_classes
    loaded, module = schema.load(trained)
    other = jax.eval_shape(partial(init_state, module.build(loaded)), jax.random.key(0))
    with mock_tfds(40):
        run = setup.prepare(config, tmp_path / "run")
        assert jax.tree.map(arrays, run.state_shapes) == jax.tree.map(arrays, other)
        for phase in run.algorithm.phases:
            shapes = run.domain.shapes(phase)
            _, (train_batch,) = next(_dispatches(run, phase, phase.start, dispatch.Pace(1, ())))
            held_out = run.images[phase].held_out
            eval_batch = next(
                pipeline.eval_batches(held_out, 8, limit=1, sharding=run.layout.batches)
            )
            leading = (1, run.algorithm.real_batches, phase.batch_size), (1, 8)
            for batch, axes in zip((train_batch, eval_batch), leading, strict=True):
                found = {name: (leaf.shape, leaf.dtype) for name, leaf in batch.items()}
                assert found == {n: ((*axes, *of.shape), of.dtype) for n, of in shapes.items()}
                assert np.std(batch["image"]) > 0
                assert 0 <= np.min(batch["label"]) <= np.max(batch["label"])
                assert np.max(batch["label"]) < config.data.num_classes
