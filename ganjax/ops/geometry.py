"""The static part of a convolution, which its three maps (`ganjax.ops.convolutions`) share."""

from typing import NamedTuple

Pads = tuple[tuple[int, int], tuple[int, int]]


class Geometry(NamedTuple):
    """The strides, padding and sizes of a convolution, hashable as a static argument must be.

    Attributes:
      strides: the (vertical, horizontal) steps of the window, in pixels.
      padding: the ((top, bottom), (left, right)) rows and columns of zeros that are added to the
        input; negative numbers crop it.
      size: the (height, width) of the input, which does not follow from the output's where the
        strides exceed 1.
      window: the (height, width) of the kernel.
      groups: the number of groups of channels, each of which is convolved by itself.
    """

    strides: tuple[int, int]
    padding: Pads
    size: tuple[int, int]
    window: tuple[int, int]
    groups: int = 1

    @property
    def out(self) -> tuple[int, int]:
        """The (height, width) of the output."""
        height, width = (
            (n + sum(pad) - k) // s + 1
            for n, k, s, pad in zip(self.size, self.window, self.strides, self.padding, strict=True)
        )
        return height, width

    @property
    def is_dense(self) -> bool:
        """Whether the window covers the whole input once, so that the maps are matrix products."""
        return self.size == self.window and self.padding == ((0, 0), (0, 0))

    def input_grad_padding(self) -> Pads:
        """Returns the padding of the stride-dilated cotangent that restores exactly `size`."""
        vertical, horizontal = (
            (k - 1 - low, n + low - (o - 1) * s - 1)
            for n, k, s, o, (low, _) in zip(
                self.size, self.window, self.strides, self.out, self.padding, strict=True
            )
        )
        return vertical, horizontal

    def kernel_grad_padding(self) -> Pads:
        """Returns the padding of the input that restores exactly `window`.

        It differs from `padding` where the strides never reach the last rows or columns, which it
        then crops.
        """
        vertical, horizontal = (
            (low, (o - 1) * s + k - n - low)
            for n, k, s, o, (low, _) in zip(
                self.size, self.window, self.strides, self.out, self.padding, strict=True
            )
        )
        return vertical, horizontal

    @property
    def shifts(self) -> tuple[int, int]:
        """The (vertical, horizontal) numbers of strides in a window, ceil(window / stride)."""
        vertical, horizontal = (-(-k // s) for k, s in zip(self.window, self.strides, strict=True))
        return vertical, horizontal

    @property
    def whole_padding(self) -> Pads:
        """The padding that makes the input a whole number of strides long.

        The padded input is strides * (out + shifts - 1) long, so that it holds every window;
        negative numbers crop it.
        """
        vertical, horizontal = (
            (low, s * (o + a - 1) - n - low)
            for n, s, o, a, (low, _) in zip(
                self.size, self.strides, self.out, self.shifts, self.padding, strict=True
            )
        )
        return vertical, horizontal
