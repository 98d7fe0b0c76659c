"""Texts in any script, written with the letters that a font has."""

import unicodedata
from collections.abc import Callable

from anyascii import anyascii

# The categories of characters that show nothing by themselves: marks, joiners and controls, and
# letters that only change another one, such as the one by which kana write a long vowel.
INVISIBLE = {"Mn", "Me", "Cc", "Cf", "Lm"}


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
        latin = anyascii(character)
        if latin and latin.isprintable():
            return latin
        return "" if unicodedata.category(character) in INVISIBLE else _first_sound(character)

    return "".join(map(spell, unicodedata.normalize("NFC", text)))


def _first_sound(character: str) -> str:
    """Returns a letter that anyascii leaves out, since it has no sound of its own in every word.

    Of what Unicode calls ARABIC LETTER ALEF that is "a". What is no such letter becomes "?".
    """
    _, letter, name = unicodedata.name(character, "").partition(" LETTER ")
    return name[0].lower() if letter else "?"
