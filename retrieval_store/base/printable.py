"""Text from elsewhere, as it may be shown: without what a terminal, a browser or a reader's eye
would obey."""

import unicodedata

JOINERS = "\u200c\u200d"  # which some scripts and emoji are written with


def printable(text: str) -> str:
    """The text with characters that control something (escape sequences, the direction of what
    follows, what can't be seen) shown by their numbers, and lines and tabs as spaces."""
    if text.isprintable():
        return text
    return "".join(one if _is_shown(one) else _told(one) for one in text.replace("\r\n", "\n"))


def _is_shown(one: str) -> bool:
    return one.isprintable() or one in JOINERS or unicodedata.category(one) == "Zs"


def _told(one: str) -> str:
    return " " if one in "\n\t" else one.encode("unicode_escape").decode()
