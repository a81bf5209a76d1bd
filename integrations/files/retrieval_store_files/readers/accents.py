"""Joins accents with their letters in the text of PDF pages. Some programs, such as TeX with its
older fonts, draw an accent and its letter one over the other. The text of the page then has "fu¨r",
which a search for "für" doesn't find.
"""

import unicodedata
from ctypes import c_double
from typing import Any, NamedTuple

# For each drawn accent, the combining character that is put after the letter.
_JOINED = {
    "`": "\u0300", "´": "\u0301", "^": "\u0302", "ˆ": "\u0302", "~": "\u0303", "˜": "\u0303",
    "¯": "\u0304", "˘": "\u0306", "˙": "\u0307", "¨": "\u0308", "˚": "\u030a", "˝": "\u030b",
    "ˇ": "\u030c", "¸": "\u0327", "˛": "\u0328",
}  # fmt: skip
_WITHOUT_DOT = str.maketrans("ıȷ", "ij")
_AROUND = 80  # characters around an accent that are searched for its letter
_OF_HEIGHT = 1.5  # of a letter, between its middle and its accent's middle
_GAP = 0.15  # of a letter's height: nearer characters belong to the same word


class _Box(NamedTuple):
    """The rectangle in which a character is drawn on a page."""

    left: float
    right: float
    bottom: float
    top: float

    @property
    def height(self) -> float:
        return self.top - self.bottom

    def is_over(self, letter: "_Box") -> bool:
        """Whether this accent is drawn directly over or below a letter."""
        middle = (self.left + self.right) / 2
        apart = abs((self.bottom + self.top) - (letter.bottom + letter.top)) / 2
        return letter.left <= middle <= letter.right and apart < _OF_HEIGHT * letter.height

    def is_word_with(self, after: "_Box") -> bool:
        """Whether this character and the next one belong to the same word, because no space is
        between them."""
        is_on_line = self.bottom < after.top and after.bottom < self.top
        return is_on_line and abs(after.left - self.right) < _GAP * max(self.height, after.height)


def with_accents(page: Any, text: str) -> str:
    """The text of a page, in which each accent is joined with the letter over which it is drawn.
    page: the text page of pypdfium2."""
    if not any(accent in text for accent in _JOINED):
        return text
    from pypdfium2 import raw

    characters = [chr(raw.FPDFText_GetUnicode(page, i)) for i in range(page.count_chars())]
    for place, accent in enumerate(characters):
        if accent in _JOINED:
            _join(page, characters, place)
    return "".join(characters)


def _join(page: Any, characters: list[str], place: int) -> None:
    """Join the accent at a position with the letter over which it is drawn, if there is such a
    letter."""
    accent = _box(page, place)
    first, last = max(0, place - _AROUND), min(len(characters), place + _AROUND)
    for letter in sorted(range(first, last), key=lambda other: abs(other - place)):
        known = characters[letter]
        if not known.isalpha() or not accent.is_over(_box(page, letter)):
            continue
        sign = _JOINED[characters[place]]
        joined = unicodedata.normalize("NFC", known.translate(_WITHOUT_DOT) + sign)
        if len(joined) == 1:
            characters[letter], characters[place] = joined, ""
            _close(page, characters, place)
            return


def _close(page: Any, characters: list[str], place: int) -> None:
    """Remove the spaces around a position where an accent was removed, unless they separate two
    words."""
    before, after = place - 1, place + 1
    while before >= 0 and characters[before] in ("", " "):
        before -= 1
    while after < len(characters) and characters[after] in ("", " "):
        after += 1
    if before < 0 or after == len(characters) or after - before == 2:
        return
    if "\n" in characters[before] + characters[after] or "\r" in characters[before : after + 1]:
        return
    is_word = _box(page, before).is_word_with(_box(page, after))
    characters[before + 1 : after] = [""] * (after - before - 1)
    if not is_word:
        characters[place] = " "


def _box(page: Any, place: int) -> _Box:
    from pypdfium2 import raw

    sides = [c_double() for _ in range(4)]
    raw.FPDFText_GetCharBox(page, place, *sides)
    return _Box(*(side.value for side in sides))
