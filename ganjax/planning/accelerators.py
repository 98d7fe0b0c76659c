"""Peak figures of accelerators, from their makers' pages, and the time of a step on paper.

The model predicts before a launch whether a run fits and where more devices stop helping. None of
its figures was measured.
"""

from collections.abc import Mapping
from typing import NamedTuple

GB, TB, GIB = 1e9, 1e12, 2**30
TFLOPS = 1e12

# The share of the peak that convolutional networks are assumed to reach: a third is usual for
# well-shaped ones, and small layers and images reach less.
UTILISATION = 0.3


class Accelerator(NamedTuple):
    """The peak figures of one device, in the sense in which JAX counts devices.

    Attributes:
      memory: the bytes of its memory.
      usable: the share of the memory that a program gets; on GPUs JAX's default,
        XLA_CLIENT_MEM_FRACTION.
      float32: the FLOP/s of float32 products as JAX computes them by default: in TF32 on GPUs, in
        one pass of bfloat16 on TPUs.
      bfloat16: the FLOP/s of bfloat16 products.
      node: the number of devices that fast links connect.
      link: the bytes/s that a device can send over the fast links, in a ring of all devices.
      link_latency: the seconds from one device to the next over the fast links.
      network: the bytes/s of a device's share of the network between nodes.
      network_latency: the seconds from one device to the next over the network.
      topologies: the shapes of TPU slices by their numbers of devices; a shape names a slice to
        XLA's own compiler.
      source: the page or data sheet of these figures.
    """

    memory: float
    usable: float
    float32: float
    bfloat16: float
    node: int
    link: float
    link_latency: float
    network: float
    network_latency: float
    topologies: Mapping[int, str]
    source: str


# The shapes of the slices that Google rents out, by their numbers of devices.
_TORUS_2D = {
    1: "1x1",
    4: "2x2",
    8: "2x4",
    16: "4x4",
    32: "4x8",
    64: "8x8",
    128: "8x16",
    256: "16x16",
}
_TORUS_3D = {
    4: "2x2x1",
    8: "2x2x2",
    16: "2x2x4",
    32: "2x4x4",
    64: "4x4x4",
    128: "4x4x8",
    256: "4x8x8",
    512: "8x8x8",
}
_TPU = {"usable": 0.97, "link_latency": 1e-6, "network_latency": 1e-5}
# The latencies are assumptions (docs/accelerators.md).
_GPU = {"usable": 0.75, "link_latency": 2e-6, "network_latency": 5e-6, "topologies": {}, "node": 8}

# docs/accelerators.md tells how links and networks follow from published figures; v4's network is
# not published, so it has v5e's.
ACCELERATORS = {
    "v4": Accelerator(
        memory=32 * GIB,
        float32=275 * TFLOPS,
        bfloat16=275 * TFLOPS,
        node=4096,
        link=1.1e15 / 4096,
        network=6.4e12 / 8 / 256,
        topologies=_TORUS_3D,
        source="cloud.google.com/tpu/docs/v4",
        **_TPU,
    ),
    "v5e": Accelerator(
        memory=16 * GB,
        float32=197 * TFLOPS,
        bfloat16=197 * TFLOPS,
        node=256,
        link=51.2 * TB / 256,
        network=6.4e12 / 8 / 256,
        topologies=_TORUS_2D,
        source="cloud.google.com/tpu/docs/v5e",
        **_TPU,
    ),
    "v5p": Accelerator(
        memory=95 * GIB,
        float32=459 * TFLOPS,
        bfloat16=459 * TFLOPS,
        node=6144,
        link=1200 * GB / 2,
        network=50e9 / 8,
        topologies=_TORUS_3D,
        source="docs.cloud.google.com/tpu/docs/v5p",
        **_TPU,
    ),
    "v6e": Accelerator(
        memory=32 * GB,
        float32=918 * TFLOPS,
        bfloat16=918 * TFLOPS,
        node=256,
        link=102.4 * TB / 256,
        network=25.6e12 / 8 / 256,
        topologies=_TORUS_2D,
        source="docs.cloud.google.com/tpu/docs/v6e",
        **_TPU,
    ),
    "a100-40gb": Accelerator(
        memory=40 * GB,
        float32=156 * TFLOPS,
        bfloat16=312 * TFLOPS,
        link=300 * GB,
        network=200e9 / 8,
        source="NVIDIA A100 data sheet (SXM4) and DGX A100",
        **_GPU,
    ),
    "a100": Accelerator(
        memory=80 * GB,
        float32=156 * TFLOPS,
        bfloat16=312 * TFLOPS,
        link=300 * GB,
        network=200e9 / 8,
        source="NVIDIA A100 data sheet (SXM4, 80 GB) and DGX A100",
        **_GPU,
    ),
    "h100": Accelerator(
        memory=80 * GB,
        float32=494.7 * TFLOPS,
        bfloat16=989.4 * TFLOPS,
        link=450 * GB,
        network=400e9 / 8,
        source="NVIDIA H100 data sheet (SXM5) and DGX H100",
        **_GPU,
    ),
    "h200": Accelerator(
        memory=141 * GB,
        float32=494.7 * TFLOPS,
        bfloat16=989.4 * TFLOPS,
        link=450 * GB,
        network=400e9 / 8,
        source="NVIDIA H200 data sheet (SXM) and DGX H200",
        **_GPU,
    ),
}


class Collective(NamedTuple):
    """The number and the size of all collectives of one kind in a step.

    Attributes:
      count: the number of collectives.
      bytes: the sum of the bytes of their whole arrays: the operands of an all-reduce or a
        reduce-scatter, the results of an all-gather.
    """

    count: int
    bytes: int


def compute_seconds(accelerator: Accelerator, flops: float, precision: str = "float32") -> float:
    """Returns the seconds that one device takes for a computation at UTILISATION of its peak.

    Args:
      accelerator: the device.
      flops: the number of FLOPs.
      precision: "float32", or another name for a half precision.
    """
    peak = accelerator.float32 if precision == "float32" else accelerator.bfloat16
    return flops / (UTILISATION * peak)


def collective_seconds(
    accelerator: Accelerator, collectives: Mapping[str, Collective], devices: int
) -> float:
    """Returns the seconds of a step's collectives if computation hides none of them.

    The devices form a ring, whose slowest link determines the time. An all-reduce of b bytes takes
    2 (n - 1) rounds, in each of which every device sends b / n (a reduce-scatter and an all-gather
    of n - 1 rounds each: Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms", section
    3). A permutation takes one round.

    Args:
      accelerator: the kind of all devices.
      collectives: the step's collectives by kind.
      devices: the number n of devices.
    """
    n = devices
    if n == 1:
        return 0.0
    one_node = n <= accelerator.node
    rate = accelerator.link if one_node else accelerator.network
    latency = accelerator.link_latency if one_node else accelerator.network_latency
    seconds = 0.0
    for kind, (count, size) in collectives.items():
        rounds = {"all-reduce": 2 * (n - 1), "collective-permute": 1}.get(kind, n - 1)
        part = size if kind == "collective-permute" else size / n
        seconds += rounds * (part / rate + count * latency)
    return seconds
