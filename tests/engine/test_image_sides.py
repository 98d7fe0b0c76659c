"""What config.image_size may be, and the one form that it is kept in."""

import pytest

from ganjax.engine.phases import Phase
from ganjax.engine.sizes import Size, checked, parsed, size_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64", 64),
        ("96,128", (96, 128)),
        ("(96, 128)", (96, 128)),
        ("[64, 64]", 64),
        ("(64,64)", 64),
    ],
)
def test_a_size_is_the_side_of_a_square_or_a_pair(text, value):
    assert parsed(text) == value
    assert checked(value) == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("96x128", "set the side of square images in pixels"),
        ((1, 2, 3), "set the side"),
        (True, "set the side"),
        (64.0, "set the side"),
        (0, "greater than 0"),
        ((8, -8), "greater than 0"),
        ((8, 16_385), "less than or equal to 16384"),
    ],
)
def test_anything_else_is_no_size(value, message):
    with pytest.raises(ValueError, match=message):
        parsed(value)


def test_a_phase_has_the_size_that_a_config_names():
    assert Phase(0, 1, 8, 28).size == (28, 28)
    assert str(Phase(0, 1, 8, (96, 128)).size) == "96x128"
    size = size_of((96, 128))
    assert (size.pixels, size.shorter, size.field) == (12_288, 96, (96, 128))
    assert Size(5, 5).field == 5
