"""Barriers that XLA's CPU keeps in a train step: the same step in less memory."""

import contextlib
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from initial import initial
from small import shipped, shrink

from ganjax.engine import arranging
from ganjax.engine import step as steps
from ganjax.ops import convolutions, lowering, trilinear, winograd
from ganjax.ops.geometry import Geometry
from ganjax.planning import dry_run
from ganjax.runtime import compiling
from ganjax.training import schema
from ganjax.training.loop import train

WINOGRAD = (winograd.conv, winograd.input_grad, winograd.kernel_grad)
OPTIONS = [{}, compiling.options("cpu")]
BARRIER = "opt-barrier("


def small(name="dcgan", *, size=64, widths=(8, 8, 8), remat=False):
    """A small algorithm and the arguments of its step; by default its activations weigh more than
    its kernels."""
    config = shrink(shipped(name))
    config.batch_size, config.image_size, config.remat = size, 32, remat
    config.generator.widths = config.discriminator.widths = widths
    loaded, module = schema.load(config)
    algorithm, key = module.build(loaded), jax.random.key(0)
    shape = (algorithm.real_batches, size)
    image = np.random.RandomState(0).randint(0, 256, (*shape, 32, 32, 1), np.uint8)
    batch = {"image": image, "label": np.zeros(shape, np.int32)}
    return algorithm, initial(partial(steps.init_state, algorithm), key), batch, key


def compiled(algorithm, state, batch, key, options):
    step = jax.jit(steps.make_train_step(algorithm), static_argnames="phase")
    return step.lower(state, batch, key, phase=algorithm.phases[0]).compile(options)


def temporaries(program):
    return program.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan", "wgan_gp"])
def test_a_step_takes_less_memory_and_computes_the_same(name):
    """WGAN-GP does only because its penalty begins when its loss has ended."""
    algorithm, *args = small(name)
    plain, kept = (compiled(algorithm, *args, options) for options in OPTIONS)
    assert [BARRIER in each.as_text() for each in (plain, kept)] == [False, True]
    assert temporaries(kept) < 0.8 * temporaries(plain)
    # Adam's first step is a sign where a gradient is rounding alone.
    (one, metrics), (other, others) = plain(*args), kept(*args)
    for name, value in metrics.items():
        np.testing.assert_allclose(value, others[name], 1e-4, 1e-6, err_msg=name)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.mean(~np.isclose(a, b, 1e-3, 1e-6)) < 1e-3


@pytest.mark.slow
def test_late_kernels_take_less_memory(monkeypatch):
    """The layers here are Winograd's, and light beside their kernels."""
    algorithm, *args = small(size=16, widths=(32, 64, 128))
    late = compiled(algorithm, *args, OPTIONS[1])
    monkeypatch.setattr(arranging, "late_kernels", contextlib.nullcontext)
    assert temporaries(late) < 0.96 * temporaries(compiled(algorithm, *args, OPTIONS[1]))


@pytest.mark.slow
def test_blocks_under_remat_are_computed_again():
    """Without barriers XLA's CPU merges them with what was computed before."""
    plain, kept, again, kept_again = (
        len(re.findall(r" (?:dot|convolution)\(", compiled(*small(remat=remat), options).as_text()))
        for remat in (False, True)
        for options in OPTIONS
    )
    assert again < 1.05 * plain
    assert kept_again > 1.1 * kept


def test_passes_that_the_environment_disables_stay_so(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1 --xla_disable_hlo_passes=fusion,dce --xla_b=2")
    assert compiling.options("cpu") == {"xla_disable_hlo_passes": "fusion,dce,cse_barrier_expander"}
    # Of a GPU's program the same pass is one of the last.
    assert compiling.options("gpu") == {}


def test_updates_and_optimisers_wait_on_cpus_alone():
    """G's update waits for both players, an optimiser for all of the gradient and its player."""
    algorithm, *args = small()
    step = jax.jit(steps.make_train_step(algorithm), static_argnames="phase")
    traced = step.trace(*args, phase=algorithm.phases[0])
    g, d = args[0].g, args[0].d
    sets = (g, d), (g.params, g), (d.params, d)
    leaves = [len(jax.tree.leaves(arrays)) for arrays in sets]
    found = {}
    for platform in ("cpu", "cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        found[platform] = [
            line.count("%", line.index("optimization_barrier"), line.index(" : "))
            for line in text.splitlines()
            if "optimization_barrier" in line
        ]
    assert [found["cpu"].count(each) for each in leaves] == [1, 1, 1]
    assert not set(leaves) & {*found["cuda"], *found["tpu"]}


@pytest.mark.parametrize(
    "command", ["a run", pytest.param("runs at once", marks=pytest.mark.slow), "a dry run"]
)
def test_every_command_compiles_with_the_options(command, tmp_path, monkeypatch):
    config = shrink(shipped("cgan"))
    config.num_seeds = 2 if command == "runs at once" else 1
    monkeypatch.setattr(compiling, "options", lambda platform: {f"of the {platform}": True})
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option: 'of the cpu'"):
        dry_run.plan(config) if command == "a dry run" else train(config, tmp_path)


@pytest.mark.parametrize("channels", [4, 64])
@pytest.mark.parametrize("name", ["conv", "input_grad", "kernel_grad"])
def test_a_convolution_reads_images_that_are_computed(name, channels):
    """Its result is computed before it is read, too, and so are the blocks of Winograd's form."""
    geometry = Geometry((1, 1), ((1, 1), (1, 1)), (8, 8), (3, 3))
    images, kernel = jnp.ones((2, 8, 8, channels)), jnp.ones((3, 3, channels, channels))
    args = images, images if name == "kernel_grad" else kernel
    chosen = lowering.choose(name, geometry, 2, (channels, channels))
    assert (chosen in WINOGRAD) == (channels == 64)
    function = partial(
        trilinear.MAPS[name].bind,
        geometry=geometry,
        is_native=False,
        precision=None,
        partition=None,
    )
    traced = jax.jit(function).trace(*args)
    texts = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    count = {platform: text.count("optimization_barrier") for platform, text in texts.items()}
    expected = 2 + (name == "kernel_grad") + (chosen in WINOGRAD)
    assert count == {"cpu": expected, "cuda": 0, "tpu": 0}


@pytest.mark.parametrize("channels", [4, 64])
@pytest.mark.parametrize(
    "function",
    [
        convolutions.conv,
        convolutions.conv_transpose,
        convolutions.upsample_conv,
        convolutions.conv_downsample,
    ],
    ids=lambda function: function.__name__,
)
def test_a_late_kernel_waits_for_its_images(function, channels):
    """It does for Winograd's form on CPUs, only inside the context, and gradients are the same."""
    random = np.random.RandomState(0)
    shapes = (2, 8, 8, channels), (3, 3, channels, channels)
    x, kernel = (random.randn(*shape).astype(np.float32) / channels for shape in shapes)

    def late(x, kernel):
        with lowering.late_kernels():
            return function(x, kernel)

    counts = []
    for each in (function, late, function):
        traced = jax.jit(lambda x, k, each=each: each(x, k)).trace(x, kernel)
        texts = [
            traced.lower(lowering_platforms=(platform,)).as_text()
            for platform in ("cpu", "cuda", "tpu")
        ]
        counts.append([text.count("optimization_barrier") for text in texts])
    before, there, afterwards = counts
    assert there == [before[0] + (channels == 64), 0, 0]
    assert afterwards == before

    def penalty(function, x, kernel):
        """Of second order, as a gradient penalty."""
        slopes = jax.grad(lambda x: jnp.sum(jnp.tanh(function(x, kernel))))(x)
        return jnp.sum(slopes**2)

    one, other = (
        jax.jit(jax.grad(partial(penalty, each), (0, 1)))(x, kernel) for each in (function, late)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), one, other)
