"""Lets Python's mail library read headers in all encodings that mail programs know.

Headers can have "encoded words", such as =?gb2312?B?...?=. The library decodes an encoded word only
if Python knows the encoding by the name in this word. The library doesn't decode non-ASCII bytes.
This module converts encoded words and non-ASCII bytes to UTF-8 before the library parses a header.
"""

import base64
import binascii
import quopri
import re
from email.policy import EmailPolicy
from typing import Any

from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.encodings import decode

_WORD = r"=\?[^?\s]+\?[bBqQ]\?[^?\r\n]*\?="
_WORDS = re.compile(rf"{_WORD}(?:\s+{_WORD})*")
_ONE_WORD = re.compile(r"=\?([^?*\s]+)[^?\s]*\?([bBqQ])\?([^?\r\n]*)\?=")
_BEYOND_ASCII = re.compile("[\x80-\U0010ffff]")


def decode_words(header: str) -> str:
    """Decode the encoded words in a header."""
    return _WORDS.sub(lambda match: "".join(_texts_of(match[0])), header)


def _texts_of(words: str) -> list[str]:
    """The texts of consecutive encoded words. Neighbouring words in the same encoding are decoded
    together, since mail programs may split a character's bytes between them."""
    pieces: list[tuple[str, bytes]] = []
    for match in _ONE_WORD.finditer(words):
        charset, data = match[1].lower(), _bytes_of(match[2].lower(), match[3])
        if pieces and pieces[-1][0] == charset:
            pieces[-1] = (charset, pieces[-1][1] + data)
        else:
            pieces.append((charset, data))
    return [_text_of(data, charset) for charset, data in pieces]


def _bytes_of(kind: str, text: str) -> bytes:
    raw = text.encode("ascii", "replace")
    if kind == "q":
        return quopri.decodestring(raw, header=True)
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4))
    except binascii.Error:
        return raw


def _text_of(data: bytes, charset: str | None = None) -> str:
    try:
        return decode(data, charset).text
    except DataLoaderError:
        return data.decode("ascii", "replace")


def _in_utf_8(header: str) -> str:
    """A header, whose encoded words and non-ASCII bytes are replaced by encoded words in UTF-8."""
    if _BEYOND_ASCII.search(header):
        header = _text_of(header.encode("utf-8", "surrogateescape"))
    return _WORDS.sub(lambda match: _encoded("".join(_texts_of(match[0]))), header)


def _encoded(text: str) -> str:
    return f"=?utf-8?b?{base64.b64encode(text.encode('utf-8', 'replace')).decode()}?="


class _Policy(EmailPolicy):
    """Python's mail policy that parses headers into objects. This class converts headers to UTF-8
    before they are parsed."""

    def header_fetch_parse(self, name: str, value: Any) -> Any:
        """Convert the value of a header to UTF-8, and parse it as Python's policy does."""
        if isinstance(value, str):
            value = _in_utf_8(value)
        return super().header_fetch_parse(name, value)


MAIL_POLICY = _Policy()
