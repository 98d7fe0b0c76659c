"""Published weight files, which are found or fetched, checked by a hash, and read as tensors only.

`ganjax.metrics.torch_files` reads those of PyTorch.
"""

import hashlib
import http.client
import importlib.util
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs

from ganjax.metrics import torch_files
from ganjax.metrics.torch_files import WeightsError
from ganjax.runtime import regular, storage

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30


class File(NamedTuple):
    """A published weight file.

    Attributes:
      name: the file's name in the cache.
      hash: the hash of its content, in hexadecimal.
      algorithm: the algorithm of that hash: "sha256", or "md5" where no other is published.
      package: the Python package that contains the file, and the path within; None if none does.
      urls: the addresses where it is published, which are tried in order.
      read: reads its tensors by name; by default as a file of PyTorch.
      requires: the Python module that `read` needs, which the extra of ganjax of the same name
        installs; "" for none.
    """

    name: str
    hash: str
    algorithm: str = "sha256"
    package: tuple[str, str] | None = None
    urls: tuple[str, ...] = ()
    read: Callable[[Path], dict[str, np.ndarray]] = torch_files.read
    requires: str = ""


def load(file: File, path: str | Path | None = None) -> dict[str, np.ndarray]:
    """Loads the tensors of a published file, by name.

    Args:
      file: the published file.
      path: where it is. None looks in its package, then in the cache, and fetches the file into
        the cache over https if it is in neither.

    Raises:
      WeightsError: the file is missing, cannot be fetched, or has another hash, or the module that
        reads it is not installed.
    """
    if file.requires and importlib.util.find_spec(file.requires) is None:
        raise WeightsError(
            f"the weights {file.name} are read by {file.requires}, which is not installed: "
            f"pip install 'ganjax[{file.requires}]'"
        )
    path = locate(file) if path is None else Path(path).expanduser()
    try:
        found = digest(path, file.algorithm)
    except OSError as error:
        raise WeightsError(
            f"{path}: the weights {file.name} cannot be read there ({error.strerror}); "
            f"{_mend(file)}"
        ) from None
    if found != file.hash:
        raise WeightsError(
            f"{path}: its {file.algorithm} is {found}, that of {file.name} is {file.hash}: not "
            f"that file, or not all of it; {_mend(file)}"
        )
    return file.read(path)


def cached(file: File) -> Path:
    """Returns the path at which a fetched file is kept, and where it may be put by hand."""
    return Path(platformdirs.user_cache_dir("ganjax")) / "weights" / file.name


def locate(file: File) -> Path:
    """Returns the path of a file, in its package or in the cache, to which it may be fetched.

    Raises:
      WeightsError: the file is in neither and cannot be fetched.
    """
    if file.package:
        spec = importlib.util.find_spec(file.package[0])
        for folder in (spec and spec.submodule_search_locations) or ():
            path = Path(folder) / file.package[1]
            if path.is_file():
                return path
    path = cached(file)
    if not path.is_file():
        _fetch(file, path)
    return path


def _mend(file: File) -> str:
    """Returns what a user can do if a file is missing, for an error message."""
    if file.package:
        return f"pip install {file.package[0].replace('_', '-')}"
    source = f"get it from {file.urls[0]}" if file.urls else "get it"
    return (
        f"{source} and name it by --weights or config.evaluation.weights, or put it at "
        f"{cached(file)}"
    )


def _fetch(file: File, path: Path) -> None:
    """Fetches a file to `path` in the cache, where nothing with another hash ever appears."""
    reason = "no address is known"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f"{path.parent}: the weights {file.name} cannot be kept there ({error.strerror}); "
            f"{_mend(file)}"
        ) from None
    for url in file.urls:
        print(f"fetching {url} to {path}", file=sys.stderr, flush=True)
        try:
            with storage.replacing(path) as temporary:
                with (
                    urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as source,
                    temporary.open("wb") as target,
                ):
                    while chunk := source.read(CHUNK_BYTES):
                        target.write(chunk)
                if (found := digest(temporary, file.algorithm)) != file.hash:
                    raise OSError(f"it sent a file with the {file.algorithm} {found}")
            return
        except (OSError, http.client.HTTPException) as error:  # OSError: urllib's own too.
            reason = f"{url}: {getattr(error, 'reason', error)}"
    raise WeightsError(f"the weights {file.name} cannot be fetched ({reason}); {_mend(file)}")


def digest(path: Path, algorithm: str) -> str:
    """Returns the hash of a file's content by an algorithm of `hashlib`, in hexadecimal."""
    with regular.open_bytes(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
