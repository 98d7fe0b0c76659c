"""The devices for which a dry run compiles, which need not exist on this machine."""

import contextlib
import importlib.util
import os

import jax

from ganjax.errors import UserError
from ganjax.parallel.sharding import Device
from ganjax.planning.accelerators import ACCELERATORS


def devices_to_compile_for(count: int | None, accelerator: str | None) -> tuple[list[Device], str]:
    """Returns devices to compile for, and a description of their compiler.

    The devices are those of a TPU slice if the accelerator is a TPU that has a slice of that size
    and `libtpu` is installed. Otherwise they are the devices of this machine or, with a count, as
    many virtual CPU devices.

    Args:
      count: the number of devices; None means all devices of this machine, or one TPU.
      accelerator: a name in ACCELERATORS, or None.

    Raises:
      UserError: JAX has been used before with fewer devices.
    """
    topologies = ACCELERATORS[accelerator].topologies if accelerator else {}
    if accelerator and (count or 1) in topologies and importlib.util.find_spec("libtpu"):
        return _tpus(accelerator, topologies[count or 1])
    if count is None:
        devices = jax.devices()
    else:
        # JAX refuses this after its first use, but may have enough devices even so.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", count)
        devices = jax.devices("cpu")
        if len(devices) < count:
            raise UserError(
                f"--devices={count}: JAX has begun with {len(devices)}; ask before its first use"
            )
        devices = devices[:count]
    kind = devices[0].device_kind
    stands_in = (
        " for an accelerator: memory is an estimate, collectives a bound" if kind == "cpu" else ""
    )
    return devices, f"compiled by XLA for {len(devices)} x {kind}{stands_in}"


def _tpus(name: str, topology: str) -> tuple[list[Device], str]:
    """Returns the devices of a TPU slice, and a description of their compiler.

    Args:
      name: the TPU's name in ACCELERATORS.
      topology: the shape of the slice, such as "2x4".
    """
    from jax.experimental import topologies

    # Without these variables libtpu looks for a TPU on this machine.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", {"v5e": "v5litepod"}.get(name, name) + "-8")
    options: dict[str, object] = {}
    if topology == "1x1":
        options["chips_per_host_bounds"] = [1, 1, 1]  # The default is a whole host.
    if name == "v4":
        options["chip_config_name"] = "megacore"  # The two cores of a v4 chip are one device.
    devices = topologies.get_topology_desc(
        platform="tpu", topology_name=f"{name}:{topology}", **options
    ).devices
    kind = devices[0].device_kind
    return list(devices), f"compiled by XLA's own compiler for {len(devices)} x {kind}"
