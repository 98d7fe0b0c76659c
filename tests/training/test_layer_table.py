"""The table of both networks' layers, against counts by hand."""

import jax
import pytest
from small import shipped, shrink

from ganjax import summary
from ganjax.training import layer_table, schema

pytestmark = pytest.mark.usefixtures("native_convolutions")


def traced(config):
    loaded, module = schema.load(config)
    return layer_table.trace(module.build(loaded), jax.random.key(0))[1]


def test_the_birds_networks_have_the_layers_and_counts_of_the_source():
    """Keras counts BatchNorm's averages as parameters that are not trainable."""
    config = shipped("ada", "caltech_birds2011")
    # How long the run is depends on images, which a summary does not need.
    config.update({"total_steps": 0, "total_epochs": 400.0})
    text = summary.layers(config)
    assert "generator: 930,947 parameters, 926,083 trainable and 4,864 not" in text
    assert "discriminator: 796,161 parameters, 795,137 trainable and 1,024 not" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "generator kind output trainable not trainable"
    assert lines[1] == f"ConvTranspose_0 ConvTranspose (N, 4, 4, 128) {64 * 2048:,} 0"
    assert lines[2] == "BatchNorm_0 BatchNorm (N, 2048) 2,048 4,096"
    assert lines[9] == f"ConvTranspose_4 ConvTranspose (N, 64, 64, 3) {16 * 128 * 3 + 3:,} 0"
    assert lines[-5:-1] == [
        f"Conv_3 Conv (N, 4, 4, 128) {16 * 128 * 128:,} 0",
        "BatchNorm_3 BatchNorm (N, 4, 4, 128) 128 256",
        "Dropout_4 Dropout (N, 4, 4, 128) 0 0",  # Those of rate 0 are left out.
        f"Conv_4 Conv (N, 1, 1, 1) {16 * 128 + 1:,} 0",
    ]


def small(name, **fields):
    config = shrink(shipped(name))
    config.update(fields)
    return config


@pytest.mark.parametrize(
    "config",
    [
        small("progan"),
        small("sngan"),
        small("cgan"),
        small("wgan_gp", remat=True),
    ],
    ids=["growing", "spectral vectors", "embeddings", "rematerialised"],
)
def test_every_value_of_a_network_is_of_one_layer(config):
    """But for the weights of BatchNorm's averages, which Keras does not have."""
    loaded, module = schema.load(config)
    state, networks = layer_table.trace(module.build(loaded), jax.random.key(0))
    for network, player in zip(networks, (state.g, state.d), strict=True):
        for counted, tree in (("trainable", player.params), ("others", player.vars)):
            leaves = jax.tree_util.tree_leaves_with_path(tree)
            size = sum(leaf.size for path, leaf in leaves if path[-1].key != "weight")
            assert getattr(network, counted) == size
            assert sum(getattr(layer, counted) for layer in network.layers) == size
        assert len({layer.name for layer in network.layers}) == len(network.layers)


def test_a_growing_network_lists_the_layers_of_all_resolutions():
    generator, discriminator = traced(small("progan"))
    outputs = {layer.name: layer.output for layer in generator.layers}
    assert outputs["to_rgb_4"] == (1, 4, 4, 1)
    assert outputs["to_rgb_8"] == (1, 8, 8, 1)
    assert {"from_rgb_4", "from_rgb_8"} <= {layer.name for layer in discriminator.layers}


def test_a_run_begins_with_the_table_or_its_totals_if_it_is_long():
    networks = traced(small("dcgan"))
    assert layer_table.short(networks) == layer_table.table(networks)
    many = [network._replace(layers=network.layers * 9) for network in networks]
    *totals, hint = layer_table.short(many).splitlines()
    assert totals == [network.total for network in networks]
    assert "ganjax summary NAME" in hint
