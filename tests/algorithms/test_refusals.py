"""Configs of the composed GAN that cannot be run, and the lines that say why."""

import contextlib
from typing import Literal

import pytest
from small import shipped, shrink
from tiny_dcgan import ADA, FIXED, KERAS, R_T, build, tiny_dcgan

from ganjax.config import ConfigError, defaults
from ganjax.models import fields, mlp, resnet
from ganjax.models.layers import Conditioning


def name_of(switch):
    return "-".join(f"{name.split('.')[-1]}={value}"[:40] for name, value in switch.items())


IMPOSSIBLE = [
    (
        {"loss": "wasserstein", "augment": {**ADA, "controller": R_T}},
        r"config.augment.controller.name='r_t': it watches the sign of D's outputs",
    ),
    (
        {"augment": {**ADA, "controller": {**R_T, "p": 0.9}}},
        r"config.augment.controller.p=0.9: it is above p_max=0.8",
    ),
    (
        {"augment": {**ADA, "families": ("color",), "controller": FIXED}},
        r"config.augment.families.0='color': should be 'blit', 'geometric', 'colour'",
    ),
    (
        {"augment": {**ADA, "multipliers": (("hues", 0.5),), "controller": FIXED}},
        r"config.augment.multipliers.0.0='hues': should be 'x_flip', 'rotate_90'",
    ),
    (
        {
            "augment": {
                **ADA,
                "families": ("blit",),
                "multipliers": (("hue", 0.5),),
                "controller": FIXED,
            }
        },
        r"config.augment.multipliers=.*'hue': families=\('blit',\) have none; each of x_flip, ro",
    ),
    (
        {"augment": {**ADA, "multipliers": (("hue", 0.5), ("hue", 1.0)), "controller": FIXED}},
        r"config.augment.multipliers=.*: 'hue': it stands twice",
    ),
    ({"augment": {**ADA, "controller": {"name": "fxd"}}}, r"config.augment.controller.name='fxd'"),
    ({"augment": {**KERAS, "controller": FIXED, "zom": 1}}, r"config.augment.zom=1: no such field"),
    (
        {"generator.network": "resnet", "generator.first_norm": "unit"},
        r"config.generator.first_norm='unit': no such field; with network='resnet' there are only",
    ),
    (
        {"generator.batch_norm": False, "generator.first_norm": "unit"},
        r"config.generator.first_norm='unit': with batch_norm=False there is no norm of the first",
    ),
    (
        {"penalty.weight": 10.0, "d_batches": "joint", "order": "simultaneous"},
        r"config.penalty.weight=10.0: .*discriminator.batch_norm='all' ties the samples",
    ),
    (
        {"weight_clip": 0.01, "discriminator.spectral_norm": True},
        r"config.weight_clip=0.01: it bounds no kernel that .*spectral_norm divides",
    ),
    ({"penalty.r1": 1.0}, r"config.penalty.r1=1.0: .* ties the samples"),
    ({"penalty.points": "dragan"}, r"config.penalty.points='dragan': it does nothing where"),
    ({"penalty.side": "one"}, r"config.penalty.side='one': it does nothing .*; set a weight"),
    ({"penalty.interval": 4}, r"config.penalty.interval=4: there is no penalty"),
    (
        {"penalty.difference": 0.1},
        r"config.penalty.difference=0.1: it is of R1 and R2, which are 0",
    ),
    (
        {
            "penalty": {"r1": 1.0, "difference": 0.1},
            "discriminator.batch_norm": "none",
            "precision": "bfloat16",
        },
        r"config.precision='bfloat16': differences of scores over a step of config.penalty.diff",
    ),
    ({"loss": "hinge", "targets.flip": 0.1}, r"config.targets.flip=0.1: the loss 'hinge' has no"),
    ({"loss": "wasserstein", "targets.smoothing": 0.1}, r"config.targets.smoothing=0.1: the loss"),
    ({"loss": "wasserstein", "d_halves": "mean"}, r"config.d_halves='mean': the loss 'wasserst"),
    ({"conditioning.fake_labels": "uniform"}, r"config.conditioning.fake_labels='uniform': no ne"),
    (
        {"conditioning.generator": "one_hot", "data.num_classes": 10},
        r"config.conditioning.discriminator='none': config.conditioning.generator is 'one_hot'",
    ),
    (
        {"loss": "relativistic_paired", "order": "simultaneous"},
        r"config.order='simultaneous': .* reals of its own; set order='alternating', or another",
    ),
    (
        {
            "loss": "relativistic_paired",
            "conditioning.generator": "one_hot",
            "conditioning.discriminator": "one_hot",
            "conditioning.fake_labels": "uniform",
            "data.num_classes": 10,
        },
        r"config.conditioning.fake_labels='uniform': .* compares each fake with a real, and both",
    ),
    ({"loss": "relativistic_paired", "d_halves": "mean"}, r"config.d_halves='mean': the loss 'rel"),
    ({"loss": "hing"}, r"config.loss='hing': should be 'non_saturating', 'minimax'"),
    ({"order": "simultaneous", "n_critic": 2}, r"config.n_critic=2: config.order='simultaneous'"),
    (
        {"conditioning.generator": "one_hot"},
        r"config.conditioning.generator='one_hot': .* one class",
    ),
    (
        {
            "generator.batch_norm": False,
            "conditioning.generator": "batch_norm",
            "conditioning.discriminator": "projection",
            "data.num_classes": 10,
        },
        r"config.conditioning.generator='batch_norm': config.generator.batch_norm is False",
    ),
    (
        {
            "conditioning.generator": "one_hot",
            "conditioning.discriminator": "projection",
            "conditioning.fake_labels": "uniform",
            "data.num_classes": 10,
            "discriminator.batch_norm": "none",
            "penalty.weight": 10.0,
        },
        r"config.conditioning.fake_labels='uniform': points between a real and a fake need one",
    ),
    (
        {"discriminator.final_size": 8},
        r"config.discriminator.final_size=8: no such field; with network='dcgan' there are only",
    ),
    (
        {"generator.network": "dcgn"},
        r"config.generator.network='dcgn': there are dcgan, resnet, mlp",
    ),
    (
        {"generator.network": "mlp"},
        r"config.generator.first_norm='channel': no such field; with network='mlp' there are only "
        r".*; take it away, or give config.generator whole, by ganjax.config.defaults",
    ),
    (
        {"g_optimiser.name": "sgd", "g_optimiser.b1": 0.0},
        r"config.g_optimiser.b1=0.0: no such field; with name='sgd' there are only .*; take it",
    ),
    (
        {"image_size": 9},
        r"config.image_size=9: 1 widths in config.generator.widths=\(4,\) halve it 1 times, to no "
        r"whole pixels; set image_size=8 or 10$",
    ),
    (
        {"image_size": 4},
        r"config.image_size=4: 1 widths in .* to 2x2, a side of less than 3; set image_size=6$",
    ),
    (
        {"image_size": 28, "generator.widths": (4, 4, 4)},
        r"config.image_size=28: 3 widths .* 3 times, to no whole pixels; set image_size=24 or 32, "
        r"or widths=\(\) to let them follow the size",
    ),
    (
        {"image_size": (8, 4)},
        r"config.image_size=\(8, 4\): 1 widths in .*; set image_size=\(8, 6\)$",
    ),
    (
        {"image_size": 50, "generator.widths": ()},
        r"config.image_size=50: config.generator.widths follow sizes whose sides are 4 to 15 times "
        r"one power of 2 .*; set 48 or 56, or give widths",
    ),
    (
        {"image_size": (100, 130), "generator.widths": ()},
        r"config.image_size=\(100, 130\): .*; set \(96, 128\) or \(112, 144\), or give widths",
    ),
    ({"image_size": 0}, r"config.image_size=0: should be greater than 0"),
    (
        {"image_size": (8, 8, 1)},
        r"config.image_size=\(8, 8, 1\): set the side of square images in pixels, such as 64, or ",
    ),
]


@pytest.mark.parametrize(("change", "message"), IMPOSSIBLE, ids=[name_of(c) for c, _ in IMPOSSIBLE])
def test_fields_that_do_not_go_together_are_refused_with_the_reason(change, message):
    config = tiny_dcgan()
    config.update_from_flattened_dict(change)
    with pytest.raises(ConfigError, match=message) as caught:
        build(config)
    assert "\n" not in str(caught.value)


def test_blocks_that_cannot_halve_the_image_to_the_final_size_are_refused():
    config = tiny_dcgan()
    config.discriminator = defaults(resnet.DiscriminatorFields, widths=(4,), final_size=2)
    message = r"config.discriminator.final_size=2: 1 blocks cannot halve image_size=8 to it"
    with pytest.raises(ConfigError, match=message):
        build(config)


def test_a_penalty_goes_with_batch_norm_after_all_but_the_only_stage():
    """A discriminator of one width has no second stage, and so no BatchNorm at all."""
    config = tiny_dcgan()
    config.penalty.r1 = 1.0
    config.discriminator = defaults(
        mlp.DiscriminatorFields, widths=(4,), batch_norm="all_but_first"
    )
    build(config)
    config.discriminator.widths = (4, 4)
    with pytest.raises(
        ConfigError, match=r"config.penalty.r1=1.0: .*batch_norm='all_but_first' ti"
    ):
        build(config)


def test_a_network_that_names_no_conditioning_takes_no_labels():
    class Generator(fields.GeneratorFields):
        network: Literal["own"] = "own"

    options = fields.Options(Conditioning("one_hot", num_classes=10))
    with pytest.raises(
        ConfigError, match=r"conditioning.generator='one_hot': .* takes 'none'; set"
    ):
        Generator().check("config.generator", fields.ImageSpec(8, 1), options)


@pytest.mark.parametrize(
    ("at_once", "lower", "higher", "message"),
    [
        (True, 8, 1, r"config.batch_size=1: .*; set 4$"),
        (True, 8, 25, r"config.batch_size=25: .*; set 24 or 28$"),
        (False, 8, 7, r"config.batch_size=7: .*; set 4 or 8$"),
        (False, 5, 8, r"config.growth.batch_sizes\[0\]=5: .*; set 4 or 8$"),
        (False, 9, 6, None),  # Groups of 3 samples will do.
    ],
)
def test_a_batch_that_minibatch_deviations_cannot_group_is_refused(at_once, lower, higher, message):
    """Of one sample the standard deviation is a constant."""
    config = shrink(shipped("progan"))
    config.growth.batch_sizes, config.batch_size = (lower,), higher
    if at_once:  # At its full size from the start.
        config.growth.batch_sizes = config.growth.learning_rates = ()
    expected = pytest.raises(ConfigError, match=message) if message else contextlib.nullcontext()
    with expected:
        build(config)


def test_class_batch_norm_needs_a_batch_norm_in_the_mlp():
    """It has none after its first layer, so that with one width the label would do nothing."""
    config = tiny_dcgan()
    config.conditioning.update(generator="batch_norm", discriminator="projection")
    config.data.num_classes = 10
    config.generator = defaults(mlp.GeneratorFields, widths=(4,))
    with pytest.raises(ConfigError, match="generator='batch_norm': the network 'mlp' has"):
        build(config)
    config.generator.widths = (4, 4)
    build(config)
