"""ganjax: generative adversarial networks for research in JAX.

The names in `__all__` are the interface for Python code (docs/python.md). Each is imported when it
is first used, so that commands start at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganjax import configs
    from ganjax.api.measuring import measure
    from ganjax.api.pictures import grid
    from ganjax.api.runs import Run, load
    from ganjax.api.training import train
    from ganjax.errors import UserError

__version__ = "0.1.0"
__all__ = ["Run", "UserError", "__version__", "configs", "grid", "load", "measure", "train"]

# The module that each name is imported from.
_HOMES = {
    "Run": "ganjax.api.runs",
    "UserError": "ganjax.errors",
    "configs": "ganjax.configs",
    "grid": "ganjax.api.pictures",
    "load": "ganjax.api.runs",
    "measure": "ganjax.api.measuring",
    "train": "ganjax.api.training",
}


def __getattr__(name: str) -> Any:
    """Imports a name of `__all__` (PEP 562).

    Raises:
      AttributeError: there is no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'ganjax' has no attribute {name!r}; it offers {__all__}")
    module = importlib.import_module(_HOMES[name])
    value = module if name == "configs" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Returns the names that tab completion shows, whether or not they are imported yet."""
    return __all__
