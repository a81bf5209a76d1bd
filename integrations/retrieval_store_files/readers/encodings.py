"""Finds the encoding of a text, and decodes it.

A byte order mark says it; without one a text is in UTF-8 if it can be. What is neither is guessed
by charset-normalizer, and the guess is named among the gaps of the file.
"""

import codecs
import contextlib
from typing import NamedTuple

from retrieval_store.errors import DataLoaderError, MissingDependencyError

_MARKS = (  # those of UTF-32 first: one of them begins with one of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# In which most texts are that aren't in UTF-8, and which browsers take for Latin-1.
USUAL = "cp1252"
# Those that are guessed: what people have written texts in. Among all that there are, some of which
# nobody uses, short texts have too many that fit.
_GUESSED = [
    USUAL, "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874", "koi8_r",
    "koi8_u", "cp866", "iso8859_2", "iso8859_7", "cp932", "euc_jp", "cp949", "big5", "gb18030",
]  # fmt: skip
_MANY_ZEROS = 0.2  # of every other byte: of UTF-16 in scripts that have spaces and digits
_NAMES = {"cp932": "Shift JIS", "cp949": "Korean (Windows-949)", "big5": "Big5", "cp866": "IBM866"}


class Decoded(NamedTuple):
    """The text of a file. gaps: that its encoding was guessed."""

    text: str
    gaps: tuple[str, ...] = ()


def decode_text(data: bytes) -> str:
    """The text of a file, without a byte order mark; DataLoaderError where it is none."""
    return decode(data).text


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """The same, with what was guessed of it. declared: the encoding that the file says it is in,
    which counts where it has no byte order mark and isn't in UTF-8."""
    try:
        for mark, encoding in _MARKS:
            if data.startswith(mark):
                return Decoded(data[len(mark) :].decode(encoding))
        wide = _without_mark(data)
        return Decoded(data.decode(wide or "utf-8"))
    except UnicodeDecodeError as error:
        if declared is not None:
            with contextlib.suppress(LookupError, UnicodeError):  # as of what is none of texts
                return Decoded(data.decode(declared, "replace"))
        if b"\0" in data:
            raise DataLoaderError(f"it isn't a text: {error}") from error
    return _guess(data)


def _without_mark(data: bytes) -> str | None:
    """Which UTF-16 a text is in that has no byte order mark: every other byte is often 0."""
    half = len(data) // 2
    if half == 0 or len(data) % 2:
        return None
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        zeros, others = data[first::2].count(0), data[1 - first :: 2].count(0)
        if zeros > _MANY_ZEROS * half and others == 0:
            return encoding
    return None


def _guess(data: bytes) -> Decoded:
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise MissingDependencyError(
            "it isn't a text in UTF-8; to find out what it is in takes charset-normalizer: "
            f'pip install "retrieval-store[files]" ({error})'
        ) from error
    matches = from_bytes(data, cp_isolation=_GUESSED)
    best = matches.best()
    if best is None:
        raise DataLoaderError("it isn't a text in UTF-8, nor in another encoding that is known")
    encoding = best.encoding
    for match in matches:  # of those that fit as well, the usual one
        fits = (match.chaos, -match.coherence) <= (best.chaos, -best.coherence)
        if fits and USUAL in match.could_be_from_charset:
            encoding = USUAL
    gap = f"it isn't in UTF-8, and was read as {_name_of(encoding)}"
    return Decoded(data.decode(encoding, "replace"), (gap,))


def _name_of(encoding: str) -> str:
    """What people call an encoding of Python."""
    if encoding in _NAMES:
        return _NAMES[encoding]
    name = encoding.upper().replace("_", "-")
    return name.replace("CP", "Windows-") if name.startswith("CP125") else name
