"""How the stages of a network divide the size of its images, down to a base, and their widths.

Each stage of a generator doubles the height and the width, and each of a discriminator halves them.
The size at which a generator begins and a discriminator ends is the base: 4x4 for 32x32 pixels and
three stages, 7x7 for 28x28 and two, 6x8 for 96x128 and four. Whatever the base, kernels are the
same; only the dense layer at the base has more or fewer weights.

Widths that a config does not give follow the size of the images: there are as many stages as leave
at least 4 pixels on the shorter side. So do those of a config whose image size alone is changed.
They are cut or extended at the stages nearest the base, which have the most channels.
"""

from collections.abc import Sequence

from ganjax.config import ConfigError
from ganjax.engine.sizes import Size
from ganjax.models.fields import ImageSpec

# In a base with a shorter side every pixel would lie at an edge.
LEAST_BASE = 3
# The shorter side of the base where widths follow the size of the images: at least, as in DCGAN,
# and less than. Sides such as 36 = 9 * 4 leave no smaller base of whole pixels.
USUAL_BASE, LARGE_BASE = 4, 16
# Widths are extended up to so many channels, as in SNGAN's networks for 128x128.
MOST_CHANNELS = 1_024


def halved(size: Size, count: int) -> Size:
    """Returns a size after its sides were halved `count` times and rounded down."""
    return Size(size.height >> count, size.width >> count)


def is_whole(size: Size, count: int) -> bool:
    """Returns whether `count` halvings of a size leave whole pixels."""
    return size.height % 2**count == 0 and size.width % 2**count == 0


def halvings(size: Size, least: int = USUAL_BASE) -> int:
    """Returns how often images can be halved such that the shorter side keeps `least` pixels."""
    count = 0
    while is_whole(size, count + 1) and halved(size, count + 1).shorter >= least:
        count += 1
    return count


def is_small(reached: Size, least: int = USUAL_BASE) -> bool:
    """Returns whether so few pixels are left that no further halving is missed.

    Args:
      reached: the size after the halvings that `halvings` counts.
      least: its `least`.
    """
    return reached.shorter < LARGE_BASE // USUAL_BASE * least


def near(size: Size, count: int, least: int) -> str:
    """Names the sizes below and above a size that `count` halvings divide.

    Args:
      size: the size.
      count: the number of halvings.
      least: the least side of the base.
    """
    factor = 2**count
    rounded = [
        Size(*(max(least, (side + more) // factor) * factor for side in size)).field
        for more in (0, factor - 1)
    ]
    return " or ".join(str(each) for each in dict.fromkeys(rounded))


def extended(widths: Sequence[int], count: int) -> tuple[int, ...]:
    """Extends widths at their end, in the ratio of the last two; a single one is doubled.

    Args:
      widths: channels, from the full size to the base.
      count: the number of widths that are returned; further ones are left out.
    """
    found = list(widths[:count])
    before, last = widths[-2:] if len(widths) > 1 else (1, 2)
    while len(found) < count:
        width = max(found[-1], found[-1] * last // before)
        found.append(min(width, max(found[-1], MOST_CHANNELS)))
    return tuple(found)


def following(widths: Sequence[int], size: Size) -> tuple[int, ...]:
    """Cuts or extends widths to the stages that images of a size take.

    Args:
      widths: channels, from the full size to the base.
      size: the size of the images.

    Returns:
      As many widths as stages, or () if the size cannot be halved to a small base.
    """
    count = halvings(size)
    return extended(widths, count) if count and is_small(halved(size, count)) else ()


def check(at: str, widths: Sequence[int], images: ImageSpec, doublings: int | None = None) -> None:
    """Refuses widths whose stages do not divide the size of the images.

    Args:
      at: the place of the network's fields in the config, such as "config.generator".
      widths: the network's widths, one for each stage; () where none could follow the size.
      images: the images that the network makes or takes.
      doublings: how often the network doubles or halves the size; None is once for each width.

    Raises:
      ConfigError: there are no widths, or the base is not whole or too small.
    """
    field = f"config.image_size={images.size.field}"
    if not widths:
        usual = max(1, (images.size.shorter // USUAL_BASE).bit_length() - 1)
        raise ConfigError(
            f"{field}: {at}.widths follow sizes whose sides are {USUAL_BASE} to {LARGE_BASE - 1} "
            f"times one power of 2 (the longer may be more); set "
            f"{near(images.size, usual, USUAL_BASE)}, or give widths"
        )
    count = len(widths) if doublings is None else doublings
    found, whole = halved(images.size, count), is_whole(images.size, count)
    if whole and found.shorter >= LEAST_BASE:
        return
    left = f"{found}, a side of less than {LEAST_BASE}" if whole else "no whole pixels"
    follow = ", or widths=() to let them follow the size" if following(widths, images.size) else ""
    raise ConfigError(
        f"{field}: {len(widths)} widths in {at}.widths={tuple(widths)} halve it {count} times, to "
        f"{left}; set image_size={near(images.size, count, LEAST_BASE)}{follow}"
    )
