"""The devices that a dry run compiles for."""

import importlib.util
from types import SimpleNamespace

import jax
import pytest

from ganjax.planning import devices
from ganjax.planning.accelerators import ACCELERATORS


@pytest.mark.parametrize(
    ("name", "count"),
    [
        (name, count)
        for name, accelerator in ACCELERATORS.items()
        for count in accelerator.topologies
        if count <= 16
    ],
)
def test_a_slice_of_a_tpu_has_one_device_a_chip(name, count, monkeypatch):
    """By libtpu, if it is installed; otherwise libtpu is asked for the right slice."""
    if importlib.util.find_spec("libtpu"):
        monkeypatch.delenv("TPU_ACCELERATOR_TYPE", raising=False)  # It is of the slice before.
        found, _ = devices.devices_to_compile_for(count, name)
        assert len(found) == count
        return
    asked = {}

    def describe(platform, topology_name, **more):
        asked.update(more, name=topology_name)
        return SimpleNamespace(devices=jax.devices()[:1])

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", describe)
    devices._tpus(name, ACCELERATORS[name].topologies[count])
    assert asked["name"].startswith(f"{name}:")
    assert (asked.get("chips_per_host_bounds") == [1, 1, 1]) == (count == 1)
    assert (asked.get("chip_config_name") == "megacore") == (name == "v4")
