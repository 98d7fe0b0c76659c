"""What a dry run compiles for: devices that need not be there."""

import contextlib
import importlib.util
import os

import jax

from ganjax.errors import UserError
from ganjax.planning.accelerators import ACCELERATORS


def devices(count: int | None, accelerator: str | None) -> tuple[list[jax.Device], str]:
    """Devices to compile for, and the compiler in words.

    Args:
      count: how many; None is what this machine has, or of a TPU one.
      accelerator: a name in ACCELERATORS, or None.

    Raises:
      UserError: JAX has begun with fewer devices.
    """
    topologies = ACCELERATORS[accelerator].topologies if accelerator else {}
    if (count or 1) in topologies and importlib.util.find_spec("libtpu"):
        return _tpus(accelerator, topologies[count or 1])
    if count is None:
        found = jax.devices()
    else:
        with contextlib.suppress(RuntimeError):  # JAX has begun: with enough of them, perhaps.
            jax.config.update("jax_num_cpu_devices", count)
        found = jax.devices("cpu")
        if len(found) < count:
            raise UserError(
                f"--devices={count}: JAX has begun with {len(found)}; ask before its first use"
            )
        found = found[:count]
    kind = found[0].device_kind
    stands_in = (
        " for an accelerator: memory is an estimate, collectives a bound" if kind == "cpu" else ""
    )
    return found, f"compiled by XLA for {len(found)} x {kind}{stands_in}"


def _tpus(name: str, topology: str) -> tuple[list[jax.Device], str]:
    from jax.experimental import topologies

    # Else libtpu looks for the TPU that it runs on.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", {"v5e": "v5litepod"}.get(name, name) + "-8")
    more: dict[str, object] = {}
    if topology == "1x1":
        more["chips_per_host_bounds"] = [1, 1, 1]  # Less than a host, of which it asks else.
    if name == "v4":
        more["chip_config_name"] = "megacore"  # Both cores of a chip are one device, as on a v4.
    found = topologies.get_topology_desc(
        platform="tpu", topology_name=f"{name}:{topology}", **more
    ).devices
    return list(found), f"compiled by XLA's own compiler for {len(found)} x {found[0].device_kind}"
