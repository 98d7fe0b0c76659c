"""Networks of images that are no squares of 4 * 2^n pixels, and widths that follow the size."""

import itertools

import jax
import jax.numpy as jnp
import pytest
from small import SHIPPED, shipped
from tiny_dcgan import build, tiny_dcgan

from ganjax.config import ConfigError, defaults, take_kinds
from ganjax.engine.sizes import size_of
from ganjax.models import dcgan, fields, mlp, progan, resnet, stages
from ganjax.training import schema

pytestmark = pytest.mark.usefixtures("native_convolutions")

LABEL, Z = jnp.zeros(2, jnp.int32), 10
OPTIONS = fields.Options()


def players(generator, discriminator, image_size):
    """Returns the shape of G's images, and the numbers of parameters of both networks."""
    size = size_of(image_size)
    images = fields.ImageSpec(size, 3)
    found = []
    for at, kind in (("generator", generator), ("discriminator", discriminator)):
        kind = kind.completed(size)
        kind.check(f"config.{at}", images, OPTIONS)
        module = kind.build(images, OPTIONS)
        x = jnp.zeros((2, Z)) if at == "generator" else jnp.zeros((2, *size, 3))
        output, variables = jax.eval_shape(
            lambda x, module=module: module.init_with_output(
                jax.random.key(0), x, LABEL, train=False
            ),
            x,
        )
        count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        found.append((output.shape, count))
    (images_shape, g), (scores, d) = found
    assert scores == (2,)
    return images_shape, g, d


# The pixels of the base by the size of the images, and the stages.
BASES = [
    (28, 7 * 7, 2),
    (48, 6 * 6, 3),
    (36, 9 * 9, 2),
    ((96, 128), 6 * 8, 4),
    ((12, 16), 6 * 8, 1),
]


@pytest.mark.parametrize(("image_size", "pixels", "count"), BASES)
def test_dcgans_networks_have_their_dense_layer_at_the_base(image_size, pixels, count):
    """All other kernels are 4x4, and channels double from 64 on; counted by hand."""
    channels = [64 << i for i in range(count)]
    inner = sum(16 * a * b for a, b in itertools.pairwise(channels))
    outer, last = 16 * 3 * 64, pixels * channels[-1]
    norms = 2 * sum(channels)
    shape, g, d = players(dcgan.GeneratorFields(), dcgan.DiscriminatorFields(), image_size)
    assert shape == (2, *size_of(image_size), 3)
    assert g == Z * last + inner + outer + norms
    # D's first and last layers have biases, the others BatchNorm.
    assert d == outer + inner + last + norms - 2 * 64 + 64 + 1


@pytest.mark.parametrize(("image_size", "pixels", "count"), BASES)
def test_residual_networks_have_their_dense_layer_at_the_base(image_size, pixels, count):
    block = 2 * (9 * 256 * 256 + 256) + (256 * 256 + 256) + 2 * 2 * 256
    shape, g, d = players(
        resnet.GeneratorFields(),
        resnet.DiscriminatorFields(widths=(8,) * 4, batch_norm="none"),
        image_size,
    )
    assert shape == (2, *size_of(image_size), 3)
    assert g == (Z + 1) * pixels * 256 + count * block + 2 * 256 + 9 * 256 * 3 + 3
    # D sums over pixels, so that only its halvings depend on the size: a block that neither halves
    # nor widens has no 1x1 convolution.
    first = (9 * 3 + 1) * 8 + (9 * 8 + 1) * 8 + (3 + 1) * 8
    rest = 3 * 2 * (9 * 8 + 1) * 8 + (count - 1) * (8 + 1) * 8
    assert d == first + rest + 8 + 1


def test_a_dense_network_makes_images_of_any_size():
    shape, g, d = players(
        mlp.GeneratorFields(widths=(4,)), mlp.DiscriminatorFields(widths=(4,)), (5, 7)
    )
    assert shape == (2, 5, 7, 3)
    assert g == (Z + 1) * 4 + (4 + 1) * 5 * 7 * 3
    assert d == (5 * 7 * 3 + 1) * 4 + 4 + 1


@pytest.mark.parametrize(
    ("size", "least", "count"),
    [(32, 4, 3), (32, 8, 2), (32, 5, 2), (28, 4, 2), (28, 8, 1), (48, 8, 2), (31, 4, 0), (4, 8, 0)],
)
def test_halvings_leave_whole_pixels_and_so_many_at_least(size, least, count):
    assert stages.halvings(size_of(size), least) == count


@pytest.mark.parametrize(
    ("widths", "size", "expected"),
    [
        ((32, 64, 128), 64, (32, 64, 128, 256)),
        ((32, 64, 128), (48, 128), (32, 64, 128)),
        ((32, 64, 128), 28, (32, 64)),
        ((64, 64, 64), 128, (64,) * 5),
        ((64, 128, 256, 512), 512, (64, 128, 256, 512, 1_024, 1_024, 1_024)),
        ((2_048, 4_096), 32, (2_048, 4_096, 4_096)),
        ((48, 32), 32, (48, 32, 32)),
        ((24,), 32, (24, 48, 96)),
        ((32, 64), 50, ()),
        ((32, 64), 4, ()),
    ],
)
def test_widths_are_cut_or_extended_at_the_base(widths, size, expected):
    assert stages.following(widths, size_of(size)) == expected


def test_progans_widths_are_the_papers_for_every_power_of_two():
    paper = (512, 512, 512, 512, 256, 128, 64, 32, 16)
    for count in range(1, 10):
        kind = progan.GeneratorFields().completed(size_of(4 << count - 1))
        assert kind.widths == paper[:count]
    extended = progan.GeneratorFields.following_widths({"widths": (48, 48, 32, 16)}, size_of(128))
    assert extended == (48, 48, 32, 16, 8, 4)


@pytest.mark.parametrize("image_size", [48, (64, 32), 2])
def test_progan_refuses_what_doubling_a_square_of_4_does_not_make(image_size):
    config = shipped("progan")
    config.image_size = image_size
    with pytest.raises(ConfigError, match="network='progan' doubles squares from 4x4; set 4, 8"):
        build(config)


@pytest.mark.parametrize(("name", "preset"), [each for each in SHIPPED if each[0] != "tagging"])
def test_a_preset_whose_image_size_alone_is_changed_has_networks_of_that_size(name, preset):
    for size in (16, 64) if name == "progan" else (28, (40, 60), (96, 128), 64):
        config = shipped(name, preset)
        take_kinds(config, {"image_size": str(size)})
        config.image_size = size
        loaded, module = schema.load(config)
        phase = module.build(loaded).phases[-1]
        if name != "progan":  # Whose last resolutions the preset's steps may not reach.
            assert phase.image_size == loaded.image_size


def test_widths_that_are_given_with_the_size_stay_as_they_are():
    config = shipped("dcgan")
    take_kinds(config, {"image_size": "64", "generator.widths": "(8, 8)"})
    assert config.generator.widths == (128, 64, 32)
    assert config.discriminator.widths == (32, 64, 128, 256)
    # The size that it has already changes nothing.
    config.discriminator.widths = (8, 8)
    take_kinds(config, {"image_size": "32"})
    assert config.discriminator.widths == (8, 8)


def test_a_config_that_gives_no_widths_is_kept_with_those_that_follow():
    """So that a later rule, or another size by default, is no other run."""
    config = tiny_dcgan()
    config.image_size = 32
    config.generator.widths = config.discriminator.widths = ()
    config.discriminator = defaults(resnet.DiscriminatorFields, final_size=2)
    loaded = schema.load(config).config.model_dump()
    assert loaded["generator"]["widths"] == (256, 128, 64)
    assert loaded["discriminator"]["widths"] == (64, 128, 256, 512)
    config.image_size = 64  # One halving more than blocks.
    loaded = schema.load(config).config.model_dump()
    assert loaded["discriminator"]["widths"] == (64, 128, 256, 512, 1_024)
