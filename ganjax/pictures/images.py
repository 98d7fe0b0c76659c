"""From images to pictures on disk."""

import contextlib
import math
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganjax.errors import UserError

# Pixels a side of an image that has a caption: in less, none can be read.
CAPTIONED_SIDE = 96


def columns(num: int, classes: int) -> int:
    """Columns of a grid as nearly square as can be in which a class keeps to its column."""
    square = math.ceil(math.sqrt(num))
    if classes > 2 * square:
        return square
    return max(square // classes, 1) * classes


def grid(images: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """Lays images out row by row, as nearly square as can be.

    Args:
      images: uint8 (N, H, W, C).
      columns: images a row; by default the square root of N, rounded up.
      gap: black pixels between images.

    Returns:
      uint8 (H', W', C).
    """
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    cells = np.zeros((rows * columns, height + gap, width + gap, channels), np.uint8)
    cells[:n, :height, :width] = images
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    sheet = cells.reshape(rows * (height + gap), columns * (width + gap), channels)
    return sheet[: sheet.shape[0] - gap, : sheet.shape[1] - gap]


def enlarge(images: np.ndarray, side: int = CAPTIONED_SIDE) -> np.ndarray:
    """Repeats every pixel as often as it takes for images to be `side` wide or wider.

    Args:
      images: uint8 (N, H, W, C).
      side: pixels; images that are as wide stay as they are.

    Returns:
      uint8 (N, f H, f W, C).
    """
    factor = math.ceil(side / images.shape[2])
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def text_strips(texts: Sequence[str], width: int, channels: int) -> np.ndarray:
    """Texts in white on black, centred, all in one size; what is too long is cut.

    Args:
      texts: N of them, a line each.
      width: of a strip, at least `CAPTIONED_SIDE` if it is to be read.
      channels: C.

    Returns:
      uint8 (N, H, width, C); H follows from the width alone.
    """
    largest = max(width // 8, 6)
    height = largest * 3 // 2
    room = width - largest // 2  # So that two neighbours do not run into one.
    fonts = [ImageFont.load_default(size) for size in range(largest, largest * 2 // 3 - 1, -1)]
    widest = {font: max(font.getlength(text) for text in texts) for font in fonts}
    font = next((font for font in fonts if widest[font] <= room), fonts[-1])
    strips = np.empty((len(texts), height, width, channels), np.uint8)
    for strip, text in zip(strips, texts, strict=True):
        image = Image.new("L", (width, height))
        place = (width / 2, height / 2)
        ImageDraw.Draw(image).text(place, _cut(text, font, room), 255, font, anchor="mm")
        strip[:] = np.asarray(image)[..., None]
    return strips


def captioned(
    images: np.ndarray, *, above: Sequence[str] = (), below: Sequence[str] = ()
) -> np.ndarray:
    """Images with a text over or under each; small ones are enlarged so that it can be read.

    Args:
      images: uint8 (N, H, W, C).
      above: N texts, or none at all.
      below: N texts, or none at all.

    Returns:
      uint8 (N, H', W', C).
    """
    images = enlarge(images)
    width, channels = images.shape[2:]
    over, under = (
        [text_strips(texts, width, channels)] if len(texts) else [] for texts in (above, below)
    )
    return np.concatenate([*over, images, *under], axis=1)


def save_png(path: Path, picture: np.ndarray) -> None:
    """Writes uint8 (H, W, 1 or 3) as PNG, whole or not at all."""
    with _whole(path) as temporary:
        _image(picture).save(temporary, format="png")


def save_gif(path: Path, frames: np.ndarray, milliseconds: int = 50) -> None:
    """Writes uint8 (N, H, W, 1 or 3) as a GIF that plays for ever, whole or not at all.

    Pillow makes equal frames in a row into one that lasts as long as they would.

    Args:
      path: where.
      frames: in order. Colours are reduced to 256 a frame; greys stay as they are.
      milliseconds: that a frame lasts; GIF counts in tens of them.
    """
    first, *rest = [_image(frame) for frame in frames]
    with _whole(path) as temporary:
        first.save(
            temporary,
            format="gif",
            save_all=True,
            append_images=rest,
            duration=milliseconds,
            loop=0,
        )


def save_mp4(path: Path, frames: np.ndarray, milliseconds: int = 50) -> None:
    """Writes uint8 (N, H, W, 1 or 3) as an H.264 film, whole or not at all.

    Args:
      path: where.
      frames: in order; a side of an odd number of pixels loses the last one, since H.264 stores
        colours by two.
      milliseconds: that a frame lasts.

    Raises:
      UserError: imageio-ffmpeg, which brings the encoder, is not installed.
    """
    try:
        import imageio_ffmpeg
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
    with _whole(path) as temporary:
        # Not by imageio_ffmpeg's own function, which forks a process that has threads.
        subprocess.run([*command, str(temporary)], input=rgb.tobytes(), check=True)


def save_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays by name, uncompressed, whole or not at all."""
    with _whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` once all is written."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, or as much of its beginning as fits."""
    if font.getlength(text) <= width:
        return text
    shorter = (f"{text[:n]}…" for n in range(len(text) - 1, 0, -1))
    return next((cut for cut in shorter if font.getlength(cut) <= width), "")
