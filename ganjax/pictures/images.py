"""Grids, captions and films of images, and files that hold them."""

import math
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from ganjax.errors import UserError
from ganjax.pictures import letters, npz
from ganjax.runtime import storage

# The least width, in pixels, of an image whose caption can be read.
CAPTIONED_SIDE = 96
# The least and the largest size of letters in pixels, above pictures of any width.
SMALLEST_LETTERS, LARGEST_LETTERS = 6, 32
# The least length, in pixels, of the longer side of a grid that is to be looked at.
GRID_SIDE = 512
# The pixels between the images of a grid.
GAP = 2
# No font has a character of this number, so that it is drawn as what is missing.
MISSING = "\uffff"


def columns(num: int, classes: int) -> int:
    """Returns the number of columns of a nearly square grid whose columns each show one class.

    If there are too many classes for that, it is the number of columns of a square grid.

    Args:
      num: the number of images, whose classes follow one another in turn.
      classes: the number of classes.
    """
    square = math.ceil(math.sqrt(num))
    if classes > 2 * square:
        return square
    return max(square // classes, 1) * classes


def grid(
    images: UInt8[np.ndarray, "n h w c"], columns: int | None = None, gap: int = GAP
) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Lays images out in rows.

    Args:
      images: the images, at least one.
      columns: the number of images in a row; by default the square root of N, rounded up.
      gap: the number of black pixels between images.

    Returns:
      The grid as one picture.
    """
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    cells = np.zeros((rows * columns, height + gap, width + gap, channels), np.uint8)
    cells[:n, :height, :width] = images
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    sheet = cells.reshape(rows * (height + gap), columns * (width + gap), channels)
    return sheet[: sheet.shape[0] - gap, : sheet.shape[1] - gap]


def enlargement(
    shape: tuple[int, ...], columns: int, *, captioned: bool = False, gap: int = GAP
) -> int:
    """Returns the least whole factor by which images make a grid that is large enough to look at.

    Args:
      shape: the shape of the images, (N, H, W, C).
      columns: the number of images in a row.
      captioned: whether images have texts, which need `CAPTIONED_SIDE` pixels. Gaps between such
        images stay as they are.
      gap: the number of pixels between images.
    """
    n, height, width = shape[:3]
    gap = 0 if captioned else gap
    longer = max(math.ceil(n / columns) * (height + gap), columns * (width + gap)) - gap
    return max(math.ceil(GRID_SIDE / longer), math.ceil(CAPTIONED_SIDE / width) * captioned)


def sheet(
    images: UInt8[np.ndarray, "n h w c"],
    columns: int | None = None,
    *,
    above: Sequence[str] = (),
    below: Sequence[str] = (),
    gap: int = GAP,
) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Lays images out in a grid that is large enough to look at, with texts above or below each.

    The longer side has at least `GRID_SIDE` pixels: pixels are repeated by the least whole factor
    that makes it so.

    Args:
      images: the images, at least one.
      columns: the number of images in a row; by default the square root of N, rounded up.
      above: n texts, or none at all.
      below: n texts, or none at all.
      gap: the number of black pixels between images, before they are enlarged.

    Returns:
      The grid as one picture.
    """
    columns = columns or math.ceil(math.sqrt(len(images)))
    has_texts = bool(len(above) or len(below))
    factor = enlargement(images.shape, columns, captioned=has_texts, gap=gap)
    if has_texts:  # Enlarged first, so that letters are not made of squares.
        return grid(captioned(repeated(images, factor), above=above, below=below), columns, gap)
    return repeated(grid(images, columns, gap)[None], factor)[0]


def alike(pictures: Sequence[UInt8[np.ndarray, "_ _ c"]]) -> UInt8[np.ndarray, "n h w c"]:
    """Enlarges pictures to the height and width of the largest, as far as their shapes permit.

    Pixels are repeated. A picture of another shape is centred on black.

    Args:
      pictures: at least one, all with 1 or all with 3 channels.

    Returns:
      The pictures as one array.
    """
    height, width = (max(each.shape[axis] for each in pictures) for axis in (0, 1))
    together = np.zeros((len(pictures), height, width, pictures[0].shape[2]), np.uint8)
    for place, picture in zip(together, pictures, strict=True):
        h, w = picture.shape[:2]
        factor = min(height / h, width / w)
        rows, columns = (
            np.arange(round(side * factor)) * side // round(side * factor) for side in (h, w)
        )
        top, left = (height - len(rows)) // 2, (width - len(columns)) // 2
        enlarged = picture[rows][:, columns]
        place[top : top + len(rows), left : left + len(columns)] = enlarged
    return together


def enlarge(
    images: UInt8[np.ndarray, "n h w c"], side: int = CAPTIONED_SIDE
) -> UInt8[np.ndarray, "n h2 w2 c"]:
    """Enlarges images by the least whole factor that makes them wide enough, repeating pixels.

    Args:
      images: the images; those that are wide enough stay as they are.
      side: the least width of the result in pixels.

    Returns:
      The enlarged images.
    """
    return repeated(images, math.ceil(side / images.shape[2]))


def repeated(images: UInt8[np.ndarray, "n h w c"], factor: int) -> UInt8[np.ndarray, "n h2 w2 c"]:
    """Enlarges images by a whole factor, repeating pixels."""
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def text_strips(texts: Sequence[str], width: int, channels: int) -> UInt8[np.ndarray, "n h w c"]:
    """Draws lines of text in white on black, centred and all in one size.

    Characters that the font lacks are spelled in Latin letters (`letters.spelled`).

    Args:
      texts: n lines; those that are too long are cut.
      width: the width of a strip in pixels; from `CAPTIONED_SIDE` on the text can be read.
      channels: the number of channels, c.

    Returns:
      A strip for each line; its height depends on the width alone.
    """
    largest = min(max(width // 8, SMALLEST_LETTERS), LARGEST_LETTERS)
    height = largest * 3 // 2
    room = width - largest // 2  # Texts side by side must not run into one.
    texts = [letters.spelled(text, _drawable) for text in texts]
    fonts = [_font(size) for size in range(largest, largest * 2 // 3 - 1, -1)]
    fit = (font for font in fonts if all(font.getlength(text) <= room for text in texts))
    font = next(fit, fonts[-1])
    strips = np.empty((len(texts), height, width, channels), np.uint8)
    for strip, text in zip(strips, texts, strict=True):
        image = Image.new("L", (width, height))
        place = (width / 2, height / 2)
        ImageDraw.Draw(image).text(place, _cut(text, font, room), 255, font, anchor="mm")
        strip[:] = np.asarray(image)[..., None]
    return strips


def captioned(
    images: UInt8[np.ndarray, "n h w c"], *, above: Sequence[str] = (), below: Sequence[str] = ()
) -> UInt8[np.ndarray, "n h2 w2 c"]:
    """Adds a text above or below each image. Small images are enlarged so that it can be read.

    Args:
      images: the images.
      above: n texts, or none at all.
      below: n texts, or none at all.

    Returns:
      The images with their captions.
    """
    images = enlarge(images)
    width, channels = images.shape[2:]
    strips_above, strips_below = (
        [text_strips(texts, width, channels)] if len(texts) else [] for texts in (above, below)
    )
    return np.concatenate([*strips_above, images, *strips_below], axis=1)


def save_png(path: Path, picture: UInt8[np.ndarray, "h w c"]) -> None:
    """Writes a picture of 1 or 3 channels as PNG, completely or not at all."""
    with storage.replacing(path, durable=False) as temporary:
        to_pillow(picture).save(temporary, format="png")


def save_gif(path: Path, frames: UInt8[np.ndarray, "n h w c"], milliseconds: int = 50) -> None:
    """Writes a film as a GIF that repeats for ever, completely or not at all.

    Pillow joins equal frames in a row to one frame that lasts as long as they do.

    Args:
      path: the file to write.
      frames: the frames, of 1 or 3 channels. Colours are reduced to 256 in a frame, among them
        those of few pixels; greys are not changed.
      milliseconds: the duration of a frame, a multiple of 10.
    """
    # Pillow's own choice of colours, by median cuts, loses a colour of few pixels.
    first, *rest = [
        frame if frame.mode == "L" else frame.quantize(256, Image.Quantize.FASTOCTREE)
        for frame in map(to_pillow, frames)
    ]
    with storage.replacing(path, durable=False) as temporary:
        first.save(
            temporary,
            format="gif",
            save_all=True,
            append_images=rest,
            duration=milliseconds,
            loop=0,
        )


def save_mp4(path: Path, frames: UInt8[np.ndarray, "n h w c"], milliseconds: int = 50) -> None:
    """Writes a film as H.264, completely or not at all.

    Args:
      path: the file to write.
      frames: the frames, of 1 or 3 channels. A side of an odd number of pixels loses the last
        one, since H.264 stores the colours of two pixels together.
      milliseconds: the duration of a frame.

    Raises:
      UserError: imageio-ffmpeg, which brings the encoder, is not installed.
    """
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingImports]  # Of an extra.
    except ImportError:
        raise UserError(
            f"{path}: MP4 needs an encoder; pip install 'ganjax[video]', or end the name in .gif"
        ) from None
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    rgb = np.broadcast_to(frames[:, :height, :width], (len(frames), height, width, 3))
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
        *("-r", str(1000 / milliseconds), "-i", "-"),
        *("-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-f", "mp4"),
    ]
    with storage.replacing(path, durable=False) as temporary:
        # Not imageio_ffmpeg's own function, which forks this process although it has threads.
        subprocess.run([*command, str(temporary)], input=rgb.tobytes(), check=True)


def save_npz(path: Path, arrays: Mapping[str, np.ndarray | npz.Batches]) -> None:
    """Writes arrays by name to an uncompressed .npz file, completely or not at all.

    Raises:
      UserError: the disk has no room for them.
    """
    needed = sum(math.prod(each.shape) * each.dtype.itemsize for each in arrays.values())
    storage.check_room(path.parent, needed, f"{path}: the arrays")
    with storage.replacing(path, durable=False) as temporary, temporary.open("wb") as file:
        npz.write(file, arrays)


def to_pillow(picture: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    """Converts a picture, uint8 (H, W, 1 or 3), to a Pillow image."""
    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@lru_cache(4096)
def _drawable(character: str) -> bool:
    """Returns whether the font has a character, and does not draw it as a missing one."""
    if character.isascii():
        return character.isprintable()
    shown = [Image.new("L", (32, 32)) for _ in range(2)]
    for image, each in zip(shown, (character, MISSING), strict=True):
        ImageDraw.Draw(image).text((4, 4), each, 255, _font(16))
    return shown[0] != shown[1]


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Returns a text or, with an ellipsis, as much of its beginning as `width` pixels hold."""
    if font.getlength(text) <= width:
        return text
    shorter = (f"{text[:n]}…" for n in range(len(text) - 1, 0, -1))
    return next((cut for cut in shorter if font.getlength(cut) <= width), "")
