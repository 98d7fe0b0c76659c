"""What accelerators can do at most, from their makers' pages, and what a step takes by that.

A model on paper, to know before launching whether a run fits and where more devices stop
helping. Nothing in it was measured.
"""

from collections.abc import Mapping
from typing import NamedTuple

GB, TB, GIB = 1e9, 1e12, 2**30
TFLOPS = 1e12

# Share of the peak that convolutional networks of these sizes are assumed to reach. A third is
# usual for well-shaped networks; small layers and images reach less.
UTILISATION = 0.3


class Accelerator(NamedTuple):
    """One device, as JAX counts them.

    Attributes:
      memory: bytes of it.
      usable: share of these that a program gets: of GPUs JAX's default, XLA_CLIENT_MEM_FRACTION.
      float32: FLOP/s of a float32 product as JAX computes it by default: TF32 on GPUs, one pass
        of bfloat16 on TPUs.
      bfloat16: FLOP/s of a bfloat16 product.
      bandwidth: bytes/s of its memory.
      node: devices that the fast links connect.
      link: bytes/s that a device can send over them in a ring of all.
      link_latency: seconds from one device to the next over them.
      network: bytes/s of a device's share of the network between nodes.
      network_latency: seconds over that.
      topologies: count -> the shape of a slice (TPUs), by which XLA's own compiler can be asked.
      source: of these.
    """

    memory: float
    usable: float
    float32: float
    bfloat16: float
    bandwidth: float
    node: int
    link: float
    link_latency: float
    network: float
    network_latency: float
    topologies: Mapping[int, str]
    source: str


# Slices as Google rents them.
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
# Latencies are assumptions: about what NCCL's tests show for a hop of small messages.
_GPU = {"usable": 0.75, "link_latency": 2e-6, "network_latency": 5e-6, "topologies": {}, "node": 8}

# TPU links: published all-reduce bandwidth of a pod, by its chips (v5p: half of the bidirectional
# bandwidth); their network: that of a pod by its chips (of v4, not published, v5e's).
# GPU links: one direction of NVLink; their network: one card for each GPU, as in NVIDIA's DGX.
ACCELERATORS = {
    "v4": Accelerator(
        memory=32 * GIB,
        float32=275 * TFLOPS,
        bfloat16=275 * TFLOPS,
        bandwidth=1200 * GB,
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
        bandwidth=819 * GB,
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
        bandwidth=2765 * GB,
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
        bandwidth=1638 * GB,
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
        bandwidth=1555 * GB,
        link=300 * GB,
        network=200e9 / 8,
        source="NVIDIA A100 data sheet (SXM4) and DGX A100",
        **_GPU,
    ),
    "a100": Accelerator(
        memory=80 * GB,
        float32=156 * TFLOPS,
        bfloat16=312 * TFLOPS,
        bandwidth=2039 * GB,
        link=300 * GB,
        network=200e9 / 8,
        source="NVIDIA A100 data sheet (SXM4, 80 GB) and DGX A100",
        **_GPU,
    ),
    "h100": Accelerator(
        memory=80 * GB,
        float32=494.7 * TFLOPS,
        bfloat16=989.4 * TFLOPS,
        bandwidth=3350 * GB,
        link=450 * GB,
        network=400e9 / 8,
        source="NVIDIA H100 data sheet (SXM5) and DGX H100",
        **_GPU,
    ),
    "h200": Accelerator(
        memory=141 * GB,
        float32=494.7 * TFLOPS,
        bfloat16=989.4 * TFLOPS,
        bandwidth=4800 * GB,
        link=450 * GB,
        network=400e9 / 8,
        source="NVIDIA H200 data sheet (SXM) and DGX H200",
        **_GPU,
    ),
}


class Collective(NamedTuple):
    """Collectives of one kind in a step.

    Attributes:
      count: how many.
      bytes: of their whole arrays, all together: what an all-reduce or a reduce-scatter takes in,
        an all-gather gives out.
    """

    count: int
    bytes: int


def compute_seconds(accelerator: Accelerator, flops: float, precision: str = "float32") -> float:
    """Seconds of `flops` on one device, at UTILISATION of its peak."""
    peak = accelerator.float32 if precision == "float32" else accelerator.bfloat16
    return flops / (UTILISATION * peak)


def collective_seconds(
    accelerator: Accelerator, collectives: Mapping[str, Collective], devices: int
) -> float:
    """Seconds of a step's collectives in a ring of `devices`, none hidden behind computation.

    An all-reduce of b bytes takes 2 (n - 1) turns, in each of which every device sends b / n (a
    reduce-scatter and an all-gather, n - 1 each: Patarasuk & Yuan 2009, "Bandwidth optimal
    all-reduce algorithms", section 3); one slow link holds up all. A permutation takes one.
    """
    n = devices
    if n == 1:
        return 0.0
    whole = n <= accelerator.node
    rate = accelerator.link if whole else accelerator.network
    latency = accelerator.link_latency if whole else accelerator.network_latency
    seconds = 0.0
    for kind, (count, size) in collectives.items():
        turns = {"all-reduce": 2 * (n - 1), "collective-permute": 1}.get(kind, n - 1)
        part = size if kind == "collective-permute" else size / n
        seconds += turns * (part / rate + count * latency)
    return seconds
