"""ganjax.compiling: what a compilation leaves free is given back before its program runs."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, types
from ganjax import compiling
trims = []
ctypes.CDLL = lambda name: types.SimpleNamespace(**{LIBRARY})
compiling.trim_memory()
import jax, jax.numpy as jnp
function = jax.jit(lambda x: jnp.sin(x) + 1)
x = jnp.zeros(3)
before = len(trims)
compiled = function.lower(x).compile()
print(len(trims) - before)
compiled(x)
jax.block_until_ready(jax.jit(jnp.cos)(x))
print(len(trims) - before)
"""


@pytest.mark.skipif(os.name != "posix", reason="of POSIX")
@pytest.mark.parametrize(
    ("library", "expected"), [("malloc_trim=trims.append", ["1", "2"]), ("", ["0", "0"])]
)
def test_memory_is_trimmed_once_a_compilation(library, expected):
    """When it ends: a program that is lowered and compiled has not run yet."""
    script = SCRIPT.replace("**{LIBRARY}", library)
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == expected
