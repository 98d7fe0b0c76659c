"""Config files that make no config: one line says in which file and line."""

import re

import pytest
from conftest import ROOT

from ganjax import config_file
from ganjax.errors import UserError

FAULTY = {
    "no_get_config": ("x = 1", r" has no function get_config, which returns the config"),
    "no_function": ("get_config = 3", r" has no function get_config, which returns the config"),
    "nothing": (
        "def get_config():\n    pass",
        r": its get_config .* nothing: is a return missing\?",
    ),
    "text": ("def get_config():\n    return 'gan'", r": its get_config .* returns a str"),
    "deep": (
        "def two():\n    return 1 / 0\n\ndef get_config():\n    return two()",
        r":2: ZeroDivisionError: division by zero",
    ),
    "import": ("import ganjax\nimport nothing_there", r":2: ModuleNotFoundError: No module named"),
    "syntax": ("\ndef get_config(:\n    pass", r":2: SyntaxError: "),
    "exits": ("import sys\nsys.exit(3)", r":2: SystemExit: 3"),
    "endless": ("def get_config():\n    return get_config()", r":2: RecursionError: maximum"),
    "library": (
        "import json\ndef get_config():\n    return json.loads('{')",
        r":3: JSONDecodeError: Expecting property name",
    ),
    "absent": ("def get_config():\n    return open('/none/there')", r":2: FileNotFoundError: .*"),
    "arguments": ("def get_config(a, b):\n    pass", r": TypeError: .* missing 2 required"),
    "field": (
        "from ml_collections import ConfigDict\n"
        "def get_config():\n    c = ConfigDict({'n_critic': 1}).lock()\n    c.n_critik = 3",
        r":4: the config has no field n_critik; Did you mean .*n_critic",
    ),
    "binary": ("\0\1", r": (SyntaxError|ValueError): .*null bytes"),  # Until 3.11.3 a ValueError.
}


@pytest.mark.parametrize("name", FAULTY)
def test_an_error_in_a_config_file_is_told_by_file_and_line(name, tmp_path):
    content, message = FAULTY[name]
    file = tmp_path / "mine.py"
    file.write_text(content)
    with pytest.raises(UserError) as found:
        config_file.load(str(file))
    told = str(found.value)
    if name != "binary":  # Python does not say in which file the null byte is.
        assert told.startswith(str(file))
    assert re.search(message, told), told
    assert len(told.splitlines()) == 1


def test_a_shipped_file_makes_the_config_of_its_preset():
    file = str(ROOT / "configs" / "wgan_gp.py")
    assert config_file.load(file).image_size == config_file.load(file, "").image_size == 32
    assert config_file.load(file, "celeb_a").image_size == 64
    with pytest.raises(UserError, match=r"^preset 'big': there are digits, celeb_a"):
        config_file.load(file, "big")
