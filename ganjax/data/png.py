"""Takes out of a PNG file what its pixels do not depend on (ISO/IEC 15948, section 11)."""

from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# What may say the image's orientation: a chunk, and the keywords of texts.
EXIF, KEYWORDS = b"eXIf", (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")


def plainer(content: bytes) -> Iterator[bytes]:
    """Yields a PNG file without its texts, colour profile and other additions.

    Readers may refuse a file for an addition that is too long or damaged, though its pixels are
    intact.

    Args:
      content: a file.

    Yields:
      The file with its pixels and its orientation alone, then with its pixels alone; nothing if
      it is no PNG file.
    """
    if content.startswith(SIGNATURE):
        chunks = list(_chunks(content))
        for oriented in (True, False):
            kept = [c for c in chunks if c[4:8] in PIXELS or (oriented and _is_orientation(c))]
            yield SIGNATURE + b"".join(kept)


def _chunks(content: bytes) -> Iterator[bytes]:
    """Yields the chunks of a PNG file: length, kind, data and checksum, the last perhaps cut."""
    start = len(SIGNATURE)
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        yield content[start:end]
        start = end


def _is_orientation(chunk: bytes) -> bool:
    return chunk[4:8] == EXIF or chunk[8:].startswith(KEYWORDS)
