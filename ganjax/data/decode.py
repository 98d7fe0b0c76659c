"""Decodes image files of every usual format."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile

from ganjax.data import png
from ganjax.errors import DataError
from ganjax.runtime import regular

# To be raised when `decode` gives another array or another error for some file.
VERSION = 2
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# The format is told by a file's content, not its name. Pillow's rarer plugins are not safe enough
# for untrusted files.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# Larger images are taken for decompression bombs. This is Pillow's own limit.
MAX_PIXELS = 89_478_485
# Beyond this limit Pillow warns, and beyond twice as many it raises; `decode` refuses both itself.
# The filter is set for the whole process: threads cannot have filters of their own.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)  # Then images stay as stored.
# The transparent grey or colour of a PNG is given in the file's depth: how it is brought to the
# depth that Pillow reads, by what Pillow calls the file's pixels.
KEY_OF_DEPTH = {
    "L;2": lambda key: key * 85,
    "L;4": lambda key: key * 17,
    "RGB;16B": lambda key: key >> 8,
}


class TransientError(DataError):
    """A failure that may be gone at the next try: no permission, a bad disk, too little memory."""


def decode_image(file: Path | BinaryIO) -> np.ndarray:
    """Decodes an image file and turns it upright by its EXIF orientation.

    Colour profiles are not applied, and Pillow reduces 16-bit colour to 8 bits. Texts and other
    additions of a PNG file are ignored where they cannot be read, and so is a damaged EXIF.

    Args:
      file: a path or an open file.

    Returns:
      uint8 (H, W, 1, 3 or 4), where four channels are RGB and alpha, or uint16 (H, W, 1 or 2) for
      a 16-bit grey image, where the second channel is alpha.

    Raises:
      DataError: the file is no image, is truncated, or larger than `MAX_PIXELS`. The message says
        only why, since the caller knows the file.
      TransientError: the file cannot be read.
    """
    try:
        return _decoded(file)
    except TransientError:
        raise
    except DataError as error:
        for content in png.plainer(_content(file)):
            try:
                return _decoded(io.BytesIO(content))
            except DataError:
                continue
        raise error from None


def _decoded(file: Path | BinaryIO) -> np.ndarray:
    """Decodes an image file as `decode` does, by Pillow alone."""
    try:
        with _opened(file) as content, Image.open(content, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{image.width}x{image.height}, more than {MAX_PIXELS} pixels")
            _scale_key(image)
            image.load()
            return _upright(_array(image), _orientation(image))
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"more than {MAX_PIXELS} pixels") from None
    except Image.UnidentifiedImageError:
        raise DataError("no PNG, JPEG, WebP or BMP image") from None
    except MemoryError:
        raise TransientError("not enough memory to decode it") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # The system's, not Pillow's.
            raise TransientError(error.strerror) from None
        # Pillow's plugins raise all sorts of errors for damaged files.
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from None


def _opened(file: Path | BinaryIO) -> contextlib.AbstractContextManager[BinaryIO]:
    """Opens a regular file; a file that is open already is left open."""
    return regular.open_bytes(file) if isinstance(file, Path) else contextlib.nullcontext(file)


def _content(file: Path | BinaryIO) -> bytes:
    """Returns the whole content of a file.

    Raises:
      TransientError: it cannot be read.
    """
    try:
        if isinstance(file, Path):
            return regular.read_bytes(file)
        file.seek(0)
        return file.read()
    except OSError as error:
        raise TransientError(error.strerror) from None


def _scale_key(image: ImageFile.ImageFile) -> None:
    """Brings the transparent colour of an image that is not yet loaded to its pixels' depth.

    Of 16-bit colour only the upper 8 bits are left, by which colours are then compared (choice).
    """
    key, rawmode = image.info.get("transparency"), image.tile[0].args if image.tile else None
    if key is not None and isinstance(rawmode, str) and rawmode in KEY_OF_DEPTH:
        scale = KEY_OF_DEPTH[rawmode]
        image.info["transparency"] = (
            tuple(scale(each) for each in key) if isinstance(key, tuple) else scale(key)
        )


def _array(image: Image.Image) -> np.ndarray:
    """Returns the pixels, in as many channels as the image's mode needs."""
    if image.mode.startswith("I"):  # I;16, I;16B, or I of a 16-bit PNG.
        grey = np.clip(np.asarray(image), 0, 65_535).astype(np.uint16)
        if "transparency" not in image.info:
            return grey[..., None]
        alpha = np.where(grey == image.info["transparency"], 0, 65_535).astype(np.uint16)
        return np.stack([grey, alpha], -1)
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA"))
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8; 1, as it is stored, where none can be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # As many sorts of errors as there are ways to damage it.
        return 1
    return value if value in range(1, 9) else 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation of (H, W, C)."""
    if orientation > 4:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
