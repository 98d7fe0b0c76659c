"""The time of a train step before it is run: a range whose ends hold every step that was measured.

A step is products (convolutions and matrix products) and elementwise operations around them. It
takes the time of the products' FLOPs, of the bytes that go through the memory, and of starting
everything. What share of the peaks is reached, and how long a start takes, was fitted to the steps
on an H100 in docs/speed.md; docs/accelerators.md compares both.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from ganjax.planning.accelerators import Accelerator

# The share of the peak that products reach: the most and the least.
UTILISATION = (0.85, 0.5)
# The share of the bytes that XLA counts before it fuses operations that go through the memory: the
# least and the most.
TRAFFIC = (0.25, 0.6)


class Seconds(NamedTuple):
    """A range of seconds.

    Attributes:
      low: the least.
      high: the most.
    """

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The geometric mean of both ends."""
        return math.sqrt(self.low * self.high)


class Work(NamedTuple):
    """What a program computes in one execution.

    Attributes:
      flops: the number of FLOPs.
      bytes: the bytes that all operations read and write, before any of them are fused.
      products: the number of convolutions and matrix products.
    """

    flops: float
    bytes: float
    products: int

    def shared(self, devices: int) -> "Work":
        """Returns the work of each of several devices, which all start every product."""
        return Work(self.flops / devices, self.bytes / devices, self.products)


class Collective(NamedTuple):
    """The number and the size of all collectives of one kind in a step.

    Attributes:
      count: the number of collectives.
      bytes: the sum of the bytes of their whole arrays: the operands of an all-reduce or a
        reduce-scatter, the results of an all-gather.
    """

    count: int
    bytes: int


def compute_seconds(accelerator: Accelerator, work: Work, precision: str = "float32") -> Seconds:
    """Returns how long one device computes.

    Args:
      accelerator: the device.
      work: what it computes.
      precision: "float32", or another name for a half precision.
    """
    peak = accelerator.float32 if precision == "float32" else accelerator.bfloat16
    ends = zip(UTILISATION, TRAFFIC, accelerator.launch, strict=True)
    return Seconds(
        *(
            work.flops / (reached * peak)
            + traffic * work.bytes / accelerator.bandwidth
            + work.products * launch
            for reached, traffic, launch in ends
        )
    )


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
