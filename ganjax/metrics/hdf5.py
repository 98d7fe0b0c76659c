"""Weight files of Keras in HDF5, read as tensors only."""

from pathlib import Path
from typing import Any

import numpy as np

from ganjax.metrics.weights import WeightsError

# The optional dependency that reads them, and the extra of ganjax that installs it.
MODULE = "h5py"


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of an `.h5` file that Keras' `save_weights` wrote.

    Such a file has a group for each layer, whose tensors lie in further groups: conv2d_1 has
    conv2d_1/kernel:0.

    Args:
      path: the path of the file.

    Returns:
      The tensors by the names of the layer and of the tensor: conv2d_1/kernel.

    Raises:
      WeightsError: it is no such file.
    """
    import h5py  # pyright: ignore[reportMissingImports]  # Of an extra.

    tensors: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            for layer, group in file.items():

                def keep(name: str, found: Any, layer: str = layer) -> None:
                    if isinstance(found, h5py.Dataset):
                        tensor = name.rpartition("/")[2].partition(":")[0]
                        tensors[f"{layer}/{tensor}"] = np.asarray(found[()], np.float32)

                if isinstance(group, h5py.Group):
                    group.visititems(keep)
    # What a damaged file raises depends on where it is damaged.
    except Exception as error:
        raise WeightsError(
            f"{path} is no weight file of Keras ({error!r}); fetch it anew"
        ) from None
    if not tensors:
        raise WeightsError(f"{path} is no weight file of Keras: it holds no tensors; fetch it anew")
    return tensors
