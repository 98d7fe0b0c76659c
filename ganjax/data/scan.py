"""Lists the image files of a folder, and finds out what each holds or what is wrong with it."""

import collections
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import platformdirs
from absl import logging
from tqdm import tqdm

from ganjax.data.decode import SUFFIXES, VERSION, TransientError, decode_image
from ganjax.errors import DataError
from ganjax.runtime import regular, storage

HIDDEN, HIDDEN_FOLDERS = "hidden images", "hidden folders"  # Those whose names begin with a dot.
NO_FILES = "pipes, sockets and devices"


class Listing(NamedTuple):
    """The files below a folder, without hidden files and folders.

    Attributes:
      files: the image files, relative to the folder with "/", sorted.
      unreadable: why each folder that cannot be listed cannot, by the folder's name and a "/".
      others: the number of other files of each suffix, of images that are `HIDDEN`, of
        `HIDDEN_FOLDERS`, and of what is named like images but `NO_FILES`.
    """

    files: list[str]
    unreadable: dict[str, str]
    others: dict[str, int]


class Scan(NamedTuple):
    """The content of the image files of a folder.

    Attributes:
      shapes: int32 (N, 3), the height, width and channels of each image; 0 where it cannot be
        decoded.
      reasons: why each file that cannot be decoded cannot, by its position among the N.
      digest: a SHA-256 of the names and contents of all files.
    """

    shapes: np.ndarray
    reasons: dict[int, str]
    digest: str


class _Found(NamedTuple):
    """The content of one file.

    Attributes:
      shape: height, width and channels; zeros where it cannot be decoded.
      digest: a SHA-256 of the file.
      reason: why it cannot be decoded, or "".
      lasting: whether another try would find the same.
    """

    shape: tuple[int, ...]
    digest: str
    reason: str = ""
    lasting: bool = True


def listing(root: Path, field: str) -> Listing:
    """Lists the files below a folder.

    Args:
      root: the folder.
      field: what an error begins with: config.data.source and its value.

    Raises:
      DataError: there is no such folder, or no image in it.
    """
    if root.is_file():
        raise DataError(f"{field} is a file; name the folder that it is in")
    if not root.is_dir():
        raise DataError(f"{field}: there is no such folder; set --config.data.source=folder:<path>")
    images, seen, unreadable, others = [], set(), {}, collections.Counter()

    def note(error):
        name = Path(error.filename).relative_to(root).as_posix() + "/"
        unreadable[name] = error.strerror

    for folder, below, names in os.walk(root, onerror=note, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # A link to a folder above.
            below.clear()
            continue
        seen.add(real)
        others[HIDDEN_FOLDERS] += sum(each.startswith(".") for each in below)
        below[:] = sorted(each for each in below if not each.startswith("."))
        for file in names:
            is_image = file.lower().endswith(SUFFIXES)
            if file.startswith("."):
                others[HIDDEN] += is_image
            elif is_image and not _is_file(os.path.join(folder, file)):
                others[NO_FILES] += 1
            elif is_image:
                images.append((Path(folder) / file).relative_to(root).as_posix())
            else:
                others[Path(file).suffix.lower() or "no suffix"] += 1
    others = {kind: count for kind, count in sorted(others.items()) if count}
    if not images:
        but = [f"{name} cannot be listed ({why})" for name, why in sorted(unreadable.items())]
        but += [described(others)] if others else []
        raise DataError(
            f"{field}: no {', '.join(s[1:] for s in SUFFIXES)} file is in that folder"
            + (f", but {', '.join(but)}" if but else "")
        )
    return Listing(sorted(images), unreadable, others)


def _is_file(path: str) -> bool:
    """Returns whether a path is a regular file, or a link to nowhere, which `_inspect` reports."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def described(others: Mapping[str, int]) -> str:
    """Returns the words for the files that are not read, from `Listing.others`."""
    return ", ".join(f"{count} of {kind}" for kind, count in others.items())


def scanned(root: Path, files: list[str]) -> Scan:
    """Decodes every file, in threads, to find its shape or what is wrong with it.

    The result is kept in the user's cache and returned from there as long as names, sizes and
    times of modification stay the same. It is not kept if a failure may be gone at the next try.

    Args:
      root: the folder.
      files: N image files in the folder, relative to it.
    """
    lines = [str(root.resolve()), PIL.__version__, f"decode {VERSION}"]
    lines += [f"{file}\0{_stamp(root / file)}" for file in files]
    key = hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()
    cache = Path(platformdirs.user_cache_dir("ganjax")) / "folders" / f"{key}.json"
    cached = _read(cache, len(files))
    if cached:
        return cached
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        inspected = pool.map(lambda file: _inspect(root / file), files)
        results = list(tqdm(inspected, "checking images", len(files), disable=None, leave=False))
    digest = hashlib.sha256()
    for file, each in zip(files, results, strict=True):
        digest.update(os.fsencode(f"{file}\0{each.digest}\n"))
    scan = Scan(
        np.array([each.shape for each in results], np.int32).reshape(-1, 3),
        {i: each.reason for i, each in enumerate(results) if each.reason},
        digest.hexdigest(),
    )
    if all(each.lasting for each in results):
        _write(cache, scan, root)
    return scan


def _stamp(path: Path) -> str:
    """Returns a file's size and time of modification, or "-" where there is no such file."""
    try:
        stat = path.stat()
    except OSError:  # For example a link to nowhere; `_inspect` says why.
        return "-"
    return f"{stat.st_size}\0{stat.st_mtime_ns}"


def _inspect(path: Path) -> _Found:
    """Decodes and hashes one file."""
    digest = ""
    try:
        with regular.open_bytes(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            return _Found(decode_image(file).shape, digest)
    except DataError as error:
        return _Found((0, 0, 0), digest, str(error), not isinstance(error, TransientError))
    except OSError as error:
        # Once a link to nowhere leads somewhere, its `_stamp` differs.
        reason = error.strerror or str(error)
        return _Found((0, 0, 0), "", reason, isinstance(error, FileNotFoundError))


def _read(cache: Path, count: int) -> Scan | None:
    """Returns the scan of `count` files that a cache file holds, or None if it holds none."""
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))
        shapes = np.array(kept["shapes"], np.int32).reshape(count, 3)
        reasons = {int(i): str(reason) for i, reason in kept["reasons"].items()}
        return Scan(shapes, reasons, str(kept["digest"]))
    except (OSError, *storage.NOT_JSON, KeyError, TypeError, AttributeError, OverflowError):
        return None  # It is only a cache, so a damaged file is no error.


def _write(cache: Path, scan: Scan, root: Path) -> None:
    """Writes a scan of the folder `root` to a cache file, if the disk permits it."""
    content = scan._asdict() | {"shapes": scan.shapes.tolist()}
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        storage.write_text(cache, json.dumps(content))
    except OSError as error:
        logging.info("what was found in %s is not remembered: %s", root, error)
