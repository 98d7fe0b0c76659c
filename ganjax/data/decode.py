"""Image files of every usual kind -> arrays."""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ganjax.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# Of these alone: what a file's content says counts, not its name, and Pillow's rarer plugins
# are no place for untrusted files.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# More are taken for a decompression bomb: Pillow's own limit, about 9,500 x 9,500.
MAX_PIXELS = 89_478_485
# Pillow warns from there on and raises at twice as many: `decode` refuses both. For all threads
# at once, as no thread can change the filters for itself.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class TransientError(DataError):
    """It may be gone at the next try: no permission, a failing disk, too little memory."""


def decode(file: Path | BinaryIO) -> np.ndarray:
    """Reads a file upright, as its EXIF orientation says; colour profiles are not applied.

    Returns:
      uint8 (H, W, 1, 3 or 4), or uint16 (H, W, 1) of a 16-bit grey image; four channels are
      RGB and alpha. (Pillow itself reduces 16-bit colour to 8 bits.)

    Raises:
      DataError: the file is no image, is cut short, or larger than `MAX_PIXELS`; its text is
        the reason alone.
      TransientError: it cannot be read.
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
        # Of damaged files Pillow's plugins raise whatever they stumbled over.
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from None


def _array(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # I;16, I;16B, or I of a 16-bit PNG.
        return np.clip(np.asarray(image), 0, 65_535).astype(np.uint16)[..., None]
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA"))
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image.convert("RGB"))
