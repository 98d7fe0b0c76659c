"""The files of sets of images with tags, and how each is read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ganjax.data import tags, word_vectors
from ganjax.data.tags import FEATURES, TAGS, TagFields
from ganjax.training.tags import VECTORS as KEPT

# The number of images, and the lengths of a feature and of a vector.
COUNT, FEATURE, VECTOR = 6, 3, 2
TEXT, BINARY = "vectors.txt", "vectors.bin"
WORDS = word_vectors.WordVectors(("red", "grün"), np.eye(2, VECTOR, dtype=np.float32))


def write(folder: Path) -> dict[str, list[bytes]]:
    """Writes a set to a folder, and returns contents of its files that can be read, by name."""
    pairs = list(zip(WORDS.words, WORDS.vectors, strict=True))
    lines = "".join(f"{word} {' '.join(map(str, each))}\n" for word, each in pairs).encode()
    rows = b"\n".join(word.encode() + b" " + each.tobytes() for word, each in pairs)
    head = f"{len(pairs)} {VECTOR}\n".encode()
    images = "".join(f"red grün,{split}\n" * (COUNT // 3) for split in tags.SPLITS)
    np.save(folder / FEATURES, np.ones((COUNT, FEATURE), np.float32))
    word_vectors.save(folder / KEPT, WORDS)
    named = b"\xef\xbb\xbfimage,tags\n" + b'a b.png,"red"\n' * COUNT
    contents = {
        FEATURES: [(folder / FEATURES).read_bytes()],
        TAGS: [f"tags,split\n{images}".encode(), named],
        TEXT: [head + lines, lines],
        BINARY: [head + rows],
        KEPT: [(folder / KEPT).read_bytes()],
    }
    for name, (content, *_) in contents.items():
        (folder / name).write_bytes(content)
    return contents


def _read_tags(path: Path) -> None:
    data = TagFields(
        source=f"{tags.ARRAYS}{path.parent}", feature_dim=FEATURE, vector_dim=VECTOR, held_out=0.3
    )
    tagged, features = tags.open_tagged(data), tags.given_features(data)
    for split in tags.SPLITS:
        source = tags.tag_source(tagged, features, WORDS.centred(), split)
        source.fetch(np.arange(source.size))


READ: dict[str, Callable[[Path], object]] = {
    FEATURES: lambda path: tags.read_features(path, FEATURE),
    TAGS: _read_tags,
    TEXT: word_vectors.read,
    BINARY: word_vectors.read,
    KEPT: word_vectors.load,
}
