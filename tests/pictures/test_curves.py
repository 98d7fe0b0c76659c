"""Curves and pictures that matplotlib draws."""

import numpy as np
import pytest

from ganjax.pictures import curves


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("wgan_gp, step 3", "wgan_gp, step 3"),
        ("\u0424\u043e\u0442\u043e", "\u0424\u043e\u0442\u043e"),  # Matplotlib's font has Cyrillic.
        ("\u5317\u4eac", "BeiJing"),
        ("$a$_{", r"\$a\$_{"),
    ],
)
def test_texts_are_drawn_in_any_script_without_boxes_and_formulas(text, written):
    assert curves.written(text) == written
    plot = curves.figure(2.0, 2.0)
    axes = plot.subplots()
    curves.draw(axes, [curves.Curve(np.arange(2), np.arange(2.0))], label=text)
    axes.legend()
    curves.show(plot.subplots(), np.zeros((2, 2, 1), np.uint8), text)
    plot.draw_without_rendering()  # A missing glyph would be a warning, which is an error here.
