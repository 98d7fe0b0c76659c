"""The static side of a convolution: what its three maps (`ganjax.ops.conv`) have in common."""

from typing import NamedTuple


class Geometry(NamedTuple):
    """All that is static about a convolution; hashable, as a static argument must be.

    Attributes:
      strides: (vertical, horizontal) steps of the window.
      padding: ((top, bottom), (left, right)) zeros added to the input; negative crops.
      size: (height, width) of the input: strides make it ambiguous from the output.
      window: (height, width) of the kernel.
    """

    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    size: tuple[int, int]
    window: tuple[int, int]

    @property
    def out(self) -> tuple[int, int]:
        """(height, width) of the output."""
        return tuple(
            (n + sum(pad) - k) // s + 1
            for n, k, s, pad in zip(self.size, self.window, self.strides, self.padding, strict=True)
        )

    @property
    def is_dense(self) -> bool:
        """Whether the window covers the whole input once: the three maps are products."""
        return self.size == self.window and self.padding == ((0, 0), (0, 0))

    def input_grad_padding(self) -> tuple[tuple[int, int], ...]:
        """Padding of the stride-dilated cotangent that gives back exactly `size`."""
        return tuple(
            (k - 1 - low, n + low - (o - 1) * s - 1)
            for n, k, s, o, (low, _) in zip(
                self.size, self.window, self.strides, self.out, self.padding, strict=True
            )
        )

    def kernel_grad_padding(self) -> tuple[tuple[int, int], ...]:
        """Padding of the input that gives back exactly `window`.

        It differs from `padding` where the stride never reaches the last rows: those
        are cut.
        """
        return tuple(
            (low, (o - 1) * s + k - n - low)
            for n, k, s, o, (low, _) in zip(
                self.size, self.window, self.strides, self.out, self.padding, strict=True
            )
        )

    @property
    def shifts(self) -> tuple[int, int]:
        """(vertical, horizontal) strides that a window reaches over: ceil(k / s)."""
        return tuple(-(-k // s) for k, s in zip(self.window, self.strides, strict=True))

    @property
    def whole_padding(self) -> tuple[tuple[int, int], ...]:
        """What makes the input strides * (out + shifts - 1) long, all that windows reach.

        Negative where it crops.
        """
        return tuple(
            (low, s * (o + a - 1) - n - low)
            for n, s, o, a, (low, _) in zip(
                self.size, self.strides, self.out, self.shifts, self.padding, strict=True
            )
        )
