"""Accelerators: their makers' figures, and how a program's time follows from them.

The table has peaks, none of which was measured. `ganjax.planning.times` says what share of them
steps reach.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

GB, TB, GIB = 1e9, 1e12, 2**30
TFLOPS = 1e12


class Accelerator(NamedTuple):
    """The peak figures of one device, in the sense in which JAX counts devices.

    Attributes:
      memory: the bytes of its memory.
      usable: the share of the memory that a program gets; on GPUs JAX's default,
        XLA_CLIENT_MEM_FRACTION.
      float32: the FLOP/s of float32 products as JAX computes them by default: in TF32 on GPUs, in
        one pass of bfloat16 on TPUs.
      bfloat16: the FLOP/s of bfloat16 products, added up in float32.
      bandwidth: the bytes/s of its memory.
      launch: the least and the most seconds that a product with what is around it takes, however
        small they are: the time of the host and of the starts of kernels.
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
    bandwidth: float
    launch: tuple[float, float]
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
# GPUs' launches were measured on an H100; TPUs' and all latencies are assumptions
# (docs/accelerators.md).
_TPU: dict[str, Any] = {
    "usable": 0.97,
    "launch": (1e-6, 1e-5),
    "link_latency": 1e-6,
    "network_latency": 1e-5,
}
_GPU: dict[str, Any] = {
    "usable": 0.75,
    "launch": (8e-6, 3.6e-5),
    "link_latency": 2e-6,
    "network_latency": 5e-6,
    "topologies": {},
    "node": 8,
}
# Without NVLink: one direction of PCIe, through the host's memory; and Ethernet of 10 Gbit/s.
_GEFORCE: dict[str, Any] = _GPU | {
    "link_latency": 1e-5,
    "network_latency": 2e-5,
    "network": 10e9 / 8,
}

# docs/accelerators.md tells how links and networks follow from published figures; v4's network is
# not published, so it has v5e's.
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
        bandwidth=1640 * GB,
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
    "b200": Accelerator(
        memory=180 * GB,
        float32=1100 * TFLOPS,
        bfloat16=2250 * TFLOPS,
        bandwidth=8000 * GB,
        link=900 * GB,
        network=400e9 / 8,
        source="NVIDIA Blackwell data sheet (HGX B200, without sparsity) and DGX B200",
        **_GPU,
    ),
    "rtx-3090": Accelerator(
        memory=24 * GB,
        float32=35.6 * TFLOPS,
        bfloat16=71 * TFLOPS,
        bandwidth=936 * GB,
        link=32 * GB,
        source="NVIDIA Ampere GA102 GPU Architecture, appendix A",
        **_GEFORCE,
    ),
    "rtx-4090": Accelerator(
        memory=24 * GB,
        float32=82.6 * TFLOPS,
        bfloat16=165.2 * TFLOPS,
        bandwidth=1008 * GB,
        link=32 * GB,
        source="NVIDIA Ada GPU Architecture, appendix A",
        **_GEFORCE,
    ),
    "rtx-5090": Accelerator(
        memory=32 * GB,
        float32=104.8 * TFLOPS,
        bfloat16=209.5 * TFLOPS,
        bandwidth=1792 * GB,
        link=64 * GB,
        source="NVIDIA RTX Blackwell GPU Architecture, appendix A",
        **_GEFORCE,
    ),
}
