"""Growing: phases, fades, optimisers that start anew, and runs that are resumed within a fade."""

import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import on_one_device, shipped, shrink

from ganjax.config import ConfigError
from ganjax.engine import step as steps
from ganjax.engine.algorithm import Context
from ganjax.models import layers
from ganjax.training import checkpoint, schema
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")


@pytest.fixture
def small():
    """4x4 for 2 steps, 8x8 for 4 (2 of them fading), 16x16 to the end at step 10."""
    config = shrink(shipped("progan"))
    config.image_size, config.total_steps = 16, 10
    config.latent_dim = 4
    config.generator.widths = config.discriminator.widths = (4, 4, 2)
    config.growth.batch_sizes, config.growth.learning_rates = (8, 8), (2e-3, 3e-3)
    return config


def build(config):
    loaded, module = schema.load(config)
    return module.build(loaded)


@pytest.fixture
def algorithm(small):
    return build(small)


@pytest.fixture
def state(algorithm):
    return random_state(algorithm)


def random_state(algorithm):
    """Returns a state at step 0 whose parameters, biases too, are N(0, 1)."""
    random = np.random.RandomState(0)
    shapes = jax.eval_shape(partial(steps.init_state, algorithm), jax.random.key(0))

    def player(shape):
        params = jax.tree.map(
            lambda leaf: jnp.asarray(random.randn(*leaf.shape), jnp.float32), shape.params
        )
        return shape.replace(params=params, vars=jax.tree.map(jnp.zeros_like, shape.vars))

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    g, d = player(zeros.g), player(zeros.d)
    return zeros.replace(g=g, d=d, ema=zeros.ema.replace(params=jax.tree.map(jnp.copy, g.params)))


def reals(phase, channels=1):
    shape = (1, phase.batch_size, phase.image_size, phase.image_size, channels)
    image = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
    return {"image": image, "label": np.zeros(shape[:2], np.int32)}


def context(algorithm, step, phase, image):
    label = jnp.zeros(len(image), jnp.int32)
    batch = {"image": image, "label": label}
    return Context(batch, jax.random.key(1), jnp.asarray(step), phase, ())


def test_each_resolution_is_a_phase(algorithm):
    phases = algorithm.phases
    assert [(p.start, p.stop, p.batch_size, p.image_size) for p in phases] == [
        (0, 2, 8, 4),
        (2, 6, 8, 8),
        (6, 10, 8, 16),
    ]


def test_the_phases_of_celeb_a_hq_are_the_papers():
    """D sees 800,000 reals in a fade and as many after it."""
    phases = build(shipped("progan", "celeb_a_hq_1024")).phases
    assert [phase.image_size for phase in phases] == [2**i for i in range(2, 11)]
    assert [phase.batch_size for phase in phases] == [128, 128, 128, 64, 32, 16, 8, 4, 4]
    seen = [(phase.stop - phase.start) * phase.batch_size for phase in phases]
    assert seen == [800_000, *[1_600_000] * 8]


def test_a_run_may_end_before_it_has_grown_and_be_taken_up(small):
    whole = build(small)
    small.total_steps = 5
    part = build(small)
    assert [phase.image_size for phase in part.phases] == [4, 8]
    assert part.phases[-1].stop == 5
    shape = partial(jax.eval_shape, key=jax.random.key(0))
    assert shape(lambda key: steps.init_state(whole, key)) == shape(
        lambda key: steps.init_state(part, key)
    )


def test_the_ramp_of_the_average_counts_the_reals_of_all_phases():
    """The half-life is 5 % of the reals seen, also where a batch of another size begins."""
    algorithm = build(shipped("progan"))
    seen, checked = 0, 0
    for step in range(2_500):
        phase = next(p for p in algorithm.phases if step < p.stop)
        if any(abs(step - p.stop) < 3 for p in algorithm.phases):
            half_life, checked = max(min(2_000, 0.05 * seen), 1e-8), checked + 1
            np.testing.assert_allclose(
                algorithm.at(phase).ema_decay(jnp.asarray(step)),
                min(0.5 ** (phase.batch_size / half_life), (1 + step) / (10 + step)),
                rtol=1e-5,
            )
        seen += phase.batch_size
    assert checked > 5
    assert {p.batch_size for p in algorithm.phases if p.start < 2_500} == {32, 16}


def test_alpha_rises_with_the_step(algorithm):
    """It is 0 at a phase's first step and 1 after its fade."""
    alphas = []
    for step in range(10):
        phase = next(p for p in algorithm.phases if step < p.stop)
        at_step = context(algorithm, step, phase, jnp.zeros((2, 1, 1, 1)))
        _, metrics = algorithm.at(phase).d_loss((jnp.zeros(2), jnp.zeros(2)), at_step)
        alphas.append(float(metrics["fade_alpha"]) if "fade_alpha" in metrics else None)
    assert alphas == [None] * 2 + [0, 0.5, 1, 1] + [0, 0.5, 1, 1]


def test_growth_begins_where_the_smaller_networks_ended(algorithm, state):
    """At alpha 0 both networks, on faded reals, are to the bit those of the phase before."""
    old, new = algorithm.phases[:2]
    image = jax.random.normal(jax.random.key(0), (8, 8, 8, 1))
    z = jax.random.normal(jax.random.key(1), (8, 4))

    def both(phase, image):
        at_start, stage = context(algorithm, new.start, phase, image), algorithm.at(phase)
        fake, _ = stage.generate(state.g.params, state.g.vars, z, at_start)
        scores, _ = stage.discriminate(state.d.params, state.d.vars, fake, at_start)
        return fake["image"], scores

    fake, scores = jax.jit(partial(both, new))(image)
    smaller, expected = jax.jit(partial(both, old))(layers.mean_pool(image))
    np.testing.assert_array_equal(fake, layers.repeat(smaller))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_within_a_fade_an_image_is_scored_as_the_last_update_scored_reals(algorithm, state):
    phase = algorithm.phases[1]
    image = jax.random.normal(jax.random.key(0), (8, 8, 8, 1))
    half_faded = context(algorithm, phase.start + 1, phase, image)

    @jax.jit
    def both(image):
        stage, batch = algorithm.at(phase), half_faded.batch | {"image": image}
        now = half_faded._replace(batch=batch)
        scores, vars = stage.discriminate(state.d.params, state.d.vars, batch, now)
        return scores[0], stage.score(state.d.params, vars, image, batch["label"], phase)

    expected, found = both(image)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_each_phase_trains_its_layers_anew_in_one_program(small):
    """Alpha is traced, optimisers start anew, and what is not yet grown stands still."""
    small.generator.widths = small.discriminator.widths = (4, 2)
    small.growth.batch_sizes, small.growth.learning_rates = (8,), (2e-3,)
    small.g_optimiser.learning_rate = small.d_optimiser.learning_rate = 1e-3
    small.image_size, small.total_steps = 8, 5
    algorithm = build(small)
    state = random_state(algorithm).replace(aug=algorithm.aug_init())
    step = jax.jit(steps.make_train_step(algorithm), static_argnames="phase")
    key, layers_of = jax.random.key(0), {4: "_4", 8: "_8"}
    for phase, rate in zip(algorithm.phases, (2e-3, 1e-3), strict=True):
        if phase.start:
            state = algorithm.begin(state, phase)
            for player in (state.g, state.d):
                moments = optax.tree.get(player.opt_state, "nu")
                assert not any(np.any(leaf) for leaf in jax.tree.leaves(moments))
                assert optax.tree.get(player.opt_state, "count") == 0
        for step_number in range(phase.start, phase.stop):
            before = state
            state, metrics = step(state, reals(phase), key, phase=phase)
            if phase.start:
                alpha = min(1.0, (step_number - phase.start) / 2)
                assert metrics["fade_alpha"] == alpha
            moved = {
                name: float(np.abs(layer["kernel"] - state.d.params[name]["kernel"]).max())
                for name, layer in before.d.params.items()
            }
            top = max(moved[n] for n in moved if n.endswith(layers_of[phase.image_size]))
            if step_number == phase.start:
                # Adam's first step is the rate, whatever the gradient; faded layers have none.
                assert top == pytest.approx(0.0 if phase.start else rate, rel=0.01)
            elif step_number == phase.start + 1 and phase.start:
                # With the count of the phase before it would grow to sqrt(1 / (1 - b2)) rates.
                assert top == pytest.approx(rate * np.sqrt((1 - 0.99**2) / (1 - 0.99)), rel=0.01)
            for size, suffix in layers_of.items():
                if size > phase.image_size:
                    assert not any(moved[n] for n in moved if n.endswith(suffix))
    assert step._cache_size() == len(algorithm.phases)


def test_drift_adds_the_mean_square_of_reals_scores(small):
    with_drift = build(small)
    small.drift = 0.0
    without = build(small)
    phase = with_drift.phases[0]
    at_start = context(with_drift, 0, phase, jnp.zeros((2, 4, 4, 1)))
    scores = (jnp.array([3.0, -1.0]), jnp.array([2.0, 0.0]))
    values = [float(a.at(phase).d_loss(scores, at_start)[0]) for a in (with_drift, without)]
    assert values[1] == 0.0
    np.testing.assert_allclose(values[0], 0.001 * 5)


def test_without_growth_there_are_no_fades(small):
    """The networks are those of `gan`, with one RGB layer each and no variables."""
    small.growth.batch_sizes = small.growth.learning_rates = ()
    one = build(small)
    assert [(p.start, p.stop, p.image_size) for p in one.phases] == [(0, 10, 16)]
    fields = {n: v for n, v in small.to_dict().items() if n not in ("growth", "drift")}
    other = build(fields | {"algorithm": "gan"})
    state, expected = (
        jax.eval_shape(partial(steps.init_state, algorithm), jax.random.key(0))
        for algorithm in (one, other)
    )
    assert state == expected
    assert "to_rgb_16" in state.g.params
    assert "to_rgb_8" not in state.g.params


def five_steps(folder):
    """The state after step 5 of a run that grows after step 2 and fades until step 4."""
    small = shrink(shipped("progan"))
    small.total_steps = 5
    small.checkpoint_every, small.keep_checkpoints = 1, 10
    small.sample_every = small.eval_every = 3
    with on_one_device():
        return jax.device_get(train(small, folder))


@pytest.fixture(scope="module")
def grown(tmp_path_factory, native_convolutions):
    """The folder and the last state of such a run."""
    folder = tmp_path_factory.mktemp("grown") / "run"
    return folder, five_steps(folder)


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 3])
def test_resumed_within_a_fade_a_run_ends_the_same(step, grown, tmp_path):
    """Also from the checkpoint with which the fade begins."""
    whole, expected = grown
    folder = shutil.copytree(whole, tmp_path / "run")
    for later in range(step + 1, 6):
        shutil.rmtree(folder / "checkpoints" / str(later))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, expected, five_steps(folder))))


@pytest.mark.slow
def test_the_ends_of_resolutions_are_shown_and_measured(grown):
    folder, _ = grown
    # The beginning is shown, and the end of each resolution is shown and measured, besides every
    # third step.
    pictures = [path.name for path in sorted((folder / "samples").iterdir())]
    raw = ["2_raw", "3_raw", "5_raw"]  # The generator's own, beside its average's.
    assert pictures == sorted(f"step_0000000{step}.png" for step in ("0", "2", "3", "5", *raw))
    rows = read_metrics(folder / "metrics.jsonl")
    measured = [(row["step"], row["image_size"]) for row in rows if "val_d_loss" in row]
    assert measured == [(2, 4), (3, 8), (5, 8)]


def test_the_end_of_every_resolution_is_kept(tmp_path):
    with checkpoint.open_checkpoints(tmp_path, keep=1, milestones=[2, 4]) as checkpoints:
        for step in range(1, 7):
            checkpoint.save(checkpoints, step, {"step": jnp.asarray(step)}, {}, {})
        checkpoints.wait()
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [2, 4, 6]


@pytest.mark.parametrize(
    ("generator", "discriminator"), [("one_hot", "one_hot"), ("embedding", "projection")]
)
def test_labels_reach_both_networks_in_every_phase(small, generator, discriminator):
    """Also while layers are faded in."""
    small.data.label, small.data.num_classes = "label", 10
    small.conditioning.generator, small.conditioning.discriminator = generator, discriminator
    algorithm = build(small)
    state = random_state(algorithm)
    phase = algorithm.phases[1]
    z = jnp.ones((10, 4))
    images = algorithm.at(phase).sample(state.g.params, state.g.vars, z, jnp.arange(10), phase)
    assert np.abs(np.diff(images, axis=0)).max(axis=(1, 2, 3)).min() > 0
    names = {"one_hot": "from_rgb_8", "projection": "Embed_0"}
    assert names[discriminator] in state.d.params
    step = steps.make_train_step(algorithm)
    _, metrics = jax.eval_shape(partial(step, phase=phase), state, reals(phase), jax.random.key(0))
    assert "c_gp" in metrics


@pytest.mark.slow
def test_one_resolution_hands_the_probability_of_augmentation_to_the_next(small):
    controller = {"name": "r_t", "p": 0.5, "interval": 1, "reals_to_one": 500, "p_max": 0.9}
    small.augment = {"policy": "ada", "families": ("blit",), "controller": controller}
    small.loss, small.penalty.weight = "non_saturating", 0.0
    algorithm = build(small)
    state = random_state(algorithm).replace(aug=algorithm.aug_init())
    step = jax.jit(steps.make_train_step(algorithm), static_argnames="phase")
    p = 0.5
    for phase in algorithm.phases[:2]:
        state = algorithm.begin(state, phase)
        assert state.aug["p"] == np.float32(p)
        state, metrics = step(state, reals(phase), jax.random.key(0), phase=phase)
        assert metrics["aug_p"] == np.float32(p)
        # By one batch of 8, of the 500 reals in which p may go from 0 to 1.
        p += 8 / 500 * np.sign(metrics["r_t"] - 0.6)
        np.testing.assert_allclose(state.aug["p"], p, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 32}, r"config.image_size=32: 3 widths in .* make 16 pixels"),
        ({"growth.batch_sizes": (8, 8, 8)}, r"growth.batch_sizes=\(8, 8, 8\): below image_size=16"),
        ({"growth.learning_rates": (1e-3,)}, r"growth.learning_rates=\(0.001,\): .* 2 resolutions"),
        ({"growth.stabilise_reals": 0}, r"config.growth.stabilise_reals=0: should be greater"),
        ({"conditioning.generator": "batch_norm"}, r"conditioning.generator='batch_norm'"),
        ({"discriminator.widths": (4, 4)}, r"image_size=16: 2 widths in config.discriminator"),
        ({"evaluation.best": "kid_efflite0"}, r"best='kid_efflite0': .* do not compare"),
    ],
)
def test_what_cannot_grow_is_refused(small, change, message):
    small.data.label, small.data.num_classes = "label", 10
    small.update_from_flattened_dict(change)
    with pytest.raises(ConfigError, match=message) as caught:
        build(small)
    assert "\n" not in str(caught.value)


def test_networks_that_do_not_grow_are_refused(small):
    raw = small.to_dict() | {"generator": shipped("wgan_gp").generator.to_dict()}
    with pytest.raises(ConfigError, match=r"config.generator.network='dcgan': should be 'progan'"):
        build(raw)
