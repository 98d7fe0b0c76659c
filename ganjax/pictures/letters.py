"""Texts in any script, written with the letters that a font has."""

import unicodedata
from collections.abc import Callable

from anyascii import anyascii

# The categories of characters that show nothing by themselves: marks, joiners and controls.
INVISIBLE = {"Mn", "Me", "Cc", "Cf"}


def spelled(text: str, drawable: Callable[[str], bool]) -> str:
    """Returns a text whose letters a font has, so that none is drawn as a box.

    The other characters are spelled in Latin letters: 北京 as BeiJing, Фото as Foto, é as e. One
    that has no spelling becomes a question mark, and one that shows nothing is left out.

    Args:
      text: the text; white space becomes spaces.
      drawable: returns whether the font has a character.
    """

    def spell(character: str) -> str:
        if character.isspace():
            return " "
        if drawable(character):
            return character
        invisible = unicodedata.category(character) in INVISIBLE
        latin = anyascii(character)
        return (latin if latin.isprintable() else "") or ("" if invisible else "?")

    return "".join(map(spell, unicodedata.normalize("NFC", text)))
