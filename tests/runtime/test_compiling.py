"""Compilations: the memory they leave free goes to the system, and their programs are kept."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, types
from ganjax.runtime import compiling
trims = []
ctypes.CDLL = lambda name: types.SimpleNamespace(**{LIBRARY})
compiling.trim_memory()
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
    ("library", "expected"),
    [
        ("malloc_trim=trims.append", ["1", "2"]),
        pytest.param("", ["0", "0"], marks=pytest.mark.slow),
    ],
)
def test_memory_is_trimmed_once_a_compilation(library, expected):
    """At its end, before the program that is lowered and compiled has run."""
    script = SCRIPT.replace("**{LIBRARY}", library)
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == expected


KEEP = """
import jax, jax.numpy as jnp
from ganjax.runtime import compiling
compiling.keep_programs({FOLDER})
jax.jit(lambda x: jnp.sin(x) + 1)(jnp.zeros(3))
"""


@pytest.mark.parametrize(
    ("argument", "variables", "kept"),
    [
        ("", {"JAX_COMPILATION_CACHE_DIR": "{FOLDER}"}, True),
        ("", {"XDG_CACHE_HOME": "{FOLDER}"}, True),
        pytest.param(
            "{FOLDER!r}",
            {"JAX_COMPILATION_CACHE_DIR": "/dev/null"},
            True,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "{FOLDER!r}",
            {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "60"},
            False,
            marks=pytest.mark.slow,
        ),
        (
            "",
            {
                "JAX_COMPILATION_CACHE_DIR": "{FOLDER}",
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "60",
            },
            False,
        ),
    ],
)
def test_a_program_is_kept_however_fast_it_compiles(argument, variables, kept, tmp_path):
    """Unless the environment says otherwise."""
    folder = str(tmp_path)
    script = KEEP.replace("{FOLDER}", argument.format(FOLDER=folder))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {name: value.format(FOLDER=folder) for name, value in variables.items()}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)
    assert any(tmp_path.rglob("*-cache")) == kept


WHERE = """
import jax, jax.numpy as jnp
from ganjax.runtime import compiling
compiling.keep_programs()
def named(x):
    return jnp.sin(x)
print(jax.jit(lambda x: named(x) + 1).lower(jnp.zeros(3)).as_text(debug_info=True))
"""


@pytest.mark.parametrize("stacks", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_operations_keep_their_line_but_no_stack(stacks, tmp_path):
    """Unless the environment says otherwise."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path)
    if stacks:
        environment["JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS"] = "true"
    (tmp_path / "script.py").write_text(WHERE)
    command, options = [sys.executable, "script.py"], {"capture_output": True, "text": True}
    process = subprocess.run(
        command, env=environment, cwd=tmp_path, check=True, timeout=120, **options
    )
    assert "script.py" in process.stdout
    assert ("callsite" in process.stdout) == stacks
