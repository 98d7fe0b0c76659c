"""Decodes image files of every usual format."""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ganjax.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# The format is told by a file's content, not its name. Pillow's rarer plugins are not safe enough
# for untrusted files.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# Larger images are taken for decompression bombs. This is Pillow's own limit.
MAX_PIXELS = 89_478_485
# Beyond this limit Pillow warns, and beyond twice as many it raises; `decode` refuses both itself.
# The filter is set for the whole process: threads cannot have filters of their own.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class TransientError(DataError):
    """A failure that may be gone at the next try: no permission, a bad disk, too little memory."""


def decode(file: Path | BinaryIO) -> np.ndarray:
    """Decodes an image file and turns it upright by its EXIF orientation.

    Colour profiles are not applied, and Pillow reduces 16-bit colour to 8 bits.

    Args:
      file: a path or an open file.

    Returns:
      uint8 (H, W, 1, 3 or 4), where four channels are RGB and alpha, or uint16 (H, W, 1) for a
      16-bit grey image.

    Raises:
      DataError: the file is no image, is truncated, or larger than `MAX_PIXELS`. The message says
        only why, since the caller knows the file.
      TransientError: the file cannot be read.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{image.width}x{image.height}, more than {MAX_PIXELS} pixels")
            return _array(ImageOps.exif_transpose(image))
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


def _array(image: Image.Image) -> np.ndarray:
    """Returns the pixels, in as many channels as the image's mode needs."""
    if image.mode.startswith("I"):  # I;16, I;16B, or I of a 16-bit PNG.
        return np.clip(np.asarray(image), 0, 65_535).astype(np.uint16)[..., None]
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA"))
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image.convert("RGB"))
