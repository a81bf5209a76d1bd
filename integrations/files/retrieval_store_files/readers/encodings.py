"""Decodes texts.

A byte order mark defines the encoding. A text without such a mark is UTF-8 if most of its non-ASCII
bytes are valid UTF-8; its invalid bytes are replaced, and reported with their lines. Any other text
is decoded in the encoding that it declares. If the text declares no encoding, chardet guesses it,
and the guess is reported as a gap.
"""

import codecs
import contextlib
import re
from typing import NamedTuple

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers.declared import codec_of

_MARKS = (  # UTF-32 first: one of its marks begins with one of UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The encoding of most texts that aren't UTF-8.
USUAL = "cp1252"
# The encodings that chardet can guess, in which people have written texts. If unused encodings were
# candidates too, too many would match a short text. Of equally likely encodings the first one wins.
_GUESSED = [
    USUAL, "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874",
    "cp932", "euc_jis_2004", "cp949", "gb18030", "big5hkscs", "koi8-r", "koi8-u", "iso8859-2",
    "iso8859-7", "iso8859-5", "cp866", "mac-cyrillic", "mac-roman", "cp850", "cp437", "cp852",
]  # fmt: skip
_RARE = frozenset(["mac-cyrillic", "mac-roman", "cp850", "cp437", "cp852"])  # never second choices
_EQUAL = 0.002  # encodings count as equally likely up to this difference
_UNLIKELY = 0.1  # of a likelihood: below it the sample is too small to guess
_SECOND = 0.8  # of the best likelihood: from it a second choice is named
_USUAL_IF = 0.5  # of the best likelihood: from it a short text is in USUAL
_SAMPLE = 200_000  # bytes that are sampled for a guess, from the first non-ASCII one
_MANY_ZEROS = 0.2  # share of zeros in every other byte from which a text is UTF-16
_NAMES = {
    "cp932": "Shift JIS", "euc_jp": "EUC-JP", "cp949": "Korean (Windows-949)", "cp866": "IBM866",
    "big5hkscs": "Big5", "gb18030": "GB 18030", "mac-roman": "Macintosh",
    "mac-cyrillic": "Macintosh (Cyrillic)", "cp874": "Windows-874", "cp850": "IBM850",
    "cp437": "IBM437", "cp852": "IBM852",
}  # fmt: skip
# Encodings that use only ASCII bytes, so that their texts are also valid UTF-8.
_IN_ASCII = ("iso2022", "hz", "utf-7")
_WIDE = ("utf-16", "utf-32")
# Encodings in which two or three characters can be valid UTF-8 by chance. A text may be such a case
# if, decoded as UTF-8, it has at most `_BY_CHANCE` more bytes than characters.
_OF_SEVERAL_BYTES = frozenset(["cp932", "euc_jp", "cp949", "gb18030", "big5hkscs"])
_BY_CHANCE = 3
_JAPANESE = re.compile(r"\x1b\$[@B]|\x1b\$\([DQ]")  # ISO-2022-JP, as in mails and news
_ASCII = bytes(range(128))
_SURE = 0.9  # share of valid non-ASCII bytes that proves UTF-8, whatever is declared
_MOST = 0.6  # the same, if nothing or UTF-8 is declared: East Asian sentences reach .57
_FEW, _FEW_OF = 3, 0.01  # meaningless bytes, and their share, that a text in ASCII may have
_LINES = 5  # the number of invalid lines that a report names
_BEGINNING = 100_000  # characters whose line ends decide for the whole text


class Decoded(NamedTuple):
    """A decoded text. gaps: up to two notes, which say that the encoding was guessed, or that bytes
    were invalid."""

    text: str
    gaps: tuple[str, ...] = ()


def decode_text(data: bytes) -> str:
    """Decode the bytes of a text file, and remove the byte order mark. Raises DataLoaderError if
    the bytes aren't text."""
    return decode(data).text


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """Decode the bytes of a text file. A guessed encoding and replaced bytes are reported as gaps.
    If most lines end with a carriage return alone, these carriage returns become line feeds.
    declared: the encoding label that the file declares. The label is used only if there is no byte
    order mark, and the bytes aren't UTF-8. Raises DataLoaderError if the bytes aren't text."""
    text, gaps = _decode(data, None if declared is None else codec_of(declared))
    return Decoded(_with_line_ends(text), gaps)


def _decode(data: bytes, declared: str | None) -> Decoded:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decode_as(data[len(mark) :], encoding)
    if declared and declared.startswith((*_IN_ASCII, *_WIDE)):
        with contextlib.suppress(UnicodeError):
            return Decoded(_decoded(data, declared))
    encoding = _without_mark(data) or "utf-8"
    with contextlib.suppress(UnicodeDecodeError):
        return Decoded(_with_escapes(data.decode(encoding), data, declared))
    share = _share_of_utf_8(data)
    if share > (_SURE if declared and declared != "utf-8" else _MOST):
        by_chance = _of_several_bytes(data) if declared is None and share <= _SURE else None
        return by_chance or _decode_as(data, "utf-8")
    if declared and declared != "utf-8":
        return _decode_as(data, declared)
    if b"\0" in data:
        raise DataLoaderError("it isn't a text: it has zeros in it, and bytes that aren't UTF-8")
    return _guess(data)


def _with_escapes(text: str, data: bytes, declared: str | None) -> str:
    """The text of `data`, which are valid UTF-8, but may be in another encoding. An ASCII text with
    escape sequences of ISO-2022-JP is decoded as ISO-2022-JP. If only a word or two aren't ASCII, a
    declared East Asian encoding is used. Otherwise `text` is returned, the data as UTF-8."""
    with contextlib.suppress(UnicodeError):
        if text.isascii():
            if "\x1b$" in text and _JAPANESE.search(text):
                return _decoded(data, "iso2022_jp")
        elif declared in _OF_SEVERAL_BYTES and len(data) - len(text) <= _BY_CHANCE:
            return _decoded(data, declared)
    return text


def _without_mark(data: bytes) -> str | None:
    """The variant of UTF-16 in which a text without a byte order mark is written; None for other
    data. In UTF-16 every other byte is often 0."""
    half = len(data) // 2
    if half == 0 or len(data) % 2 or b"\0" not in data:
        return None
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        zeros, others = data[first::2].count(0), data[1 - first :: 2].count(0)
        if zeros > _MANY_ZEROS * half and others == 0:
            return encoding
    return None


def _share_of_utf_8(data: bytes) -> float:
    """The share of the non-ASCII bytes that belong to valid UTF-8 characters. A truncated last
    character is ignored if only its first byte is left. If two or three bytes are left, they count
    as valid."""
    wrong = len(data) - len(data.decode("utf-8", "ignore").encode())
    valid = len(data.translate(None, _ASCII)) - wrong
    cut = _bytes_of_cut_character(data)
    wrong -= cut
    valid += cut if cut > 1 else 0
    return valid / (valid + wrong) if valid + wrong else 0.0


def _of_several_bytes(data: bytes) -> Decoded | None:
    """Decode a text in an East Asian encoding, in which many bytes may be valid UTF-8 by chance.
    The whole text must be valid in that encoding, and chardet must guess it. Returns None for any
    other text."""
    texts = set()
    for encoding in _OF_SEVERAL_BYTES:
        with contextlib.suppress(UnicodeError):
            texts.add(_decoded(data, encoding))
    if texts:
        with contextlib.suppress(DataLoaderError):  # an unknown encoding
            guessed = _guess(data)
            return guessed if guessed.text in texts else None
    return None


_ESCAPED = re.compile("[\udc80-\udcff]")
_CUT = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z")


def _bytes_of_cut_character(data: bytes) -> int:
    """The number of bytes at the end of a text that are the beginning of a truncated UTF-8
    character."""
    match = _CUT.search(data, max(0, len(data) - 3))
    return len(match[0]) if match else 0


def _decode_as(data: bytes, encoding: str) -> Decoded:
    """Decode data in an encoding. Invalid bytes are replaced; then the result has a gap, which
    gives the number of replaced characters or bytes and the numbers of their lines."""
    with contextlib.suppress(UnicodeError):
        return Decoded(_decoded(data, encoding))
    text = _decoded(data, encoding, "replace")
    if encoding == "utf-8":
        return Decoded(text, (_bad_bytes(data),))
    number, lines = text.count("\ufffd"), _lines_of(re.compile("\ufffd"), text)
    noun = "character that isn't" if number == 1 else "characters that aren't"
    return Decoded(text, (f"{number:,} {noun} {_name_of(encoding)}, in {lines}",))


def _bad_bytes(data: bytes) -> str:
    """A description of the bytes of a text that are invalid in UTF-8, with their lines."""
    cut = _bytes_of_cut_character(data)
    text = data[: len(data) - cut].decode("utf-8", "surrogateescape")
    found = _ESCAPED.findall(text)
    ends = "its last character is cut" if cut else ""
    if not found:
        return f"{ends}, as UTF-8 has it"
    values = ", ".join(f"0x{ord(byte) - 0xDC00:02X}" for byte in found[:_LINES])
    more = f"{values}, …" if len(found) > _LINES else values
    lines = _lines_of(_ESCAPED, text)
    if len(found) == 1:
        why = f"{lines} has a byte that isn't UTF-8 ({more})"
    elif lines.startswith("line "):
        why = f"{lines} has {len(found):,} bytes that aren't UTF-8 ({more})"
    else:
        why = f"{len(found):,} bytes aren't UTF-8 ({more}), in {lines}"
    return f"{why}; {ends}" if cut else why


def _lines_of(pattern: re.Pattern[str], text: str) -> str:
    """The numbers of the lines that match a pattern, as a text such as "line 3" or "lines 3, 4 and
    7 others"."""
    numbers = [i for i, line in enumerate(_LINE_END.split(text), 1) if pattern.search(line)]
    if len(numbers) == 1:
        return f"line {numbers[0]:,}"
    first = ", ".join(f"{number:,}" for number in numbers[:_LINES])
    others = len(numbers) - _LINES
    return f"lines {first} and {others:,} more" if others > 0 else f"lines {first}"


_LINE_END = re.compile(r"\r\n|\r|\n")


def _with_line_ends(text: str) -> str:
    """The text with line feeds, if most lines end with a carriage return alone, as on old Macintosh
    computers. The text keeps its length, so that positions stay valid."""
    if "\r" not in text or not (_has_old_ends(text[:_BEGINNING]) or "\n" not in text):
        return text
    return _RETURN.sub("\n", text)


def _has_old_ends(text: str) -> bool:
    """Whether most lines of a text end with a carriage return alone."""
    return text.count("\r") - text.count("\r\n") > text.count("\n")


_RETURN = re.compile(r"\r(?!\n)")


# Japanese

# Rows of Windows characters, such as "①", which people write in EUC-JP and ISO-2022-JP, too, and
# which Python's codecs for these lack.
_BOTH_BYTES = re.compile(rb"[\xa1-\xfe]{2}")
_SHIFT = re.compile(rb"\x1b(\$[@B]|\$\(D|\([IBJ])([^\x1b]*)")
_SET_HIGH_BIT = bytes(byte | 0x80 if 0x21 <= byte <= 0x7E else byte for byte in range(256))


def _decoded(data: bytes, encoding: str, errors: str = "strict") -> str:
    """Decode data in an encoding that Python knows. Japanese is decoded in Windows' variant of the
    encoding."""
    if encoding == "iso2022_jp":
        with contextlib.suppress(UnicodeError):
            return data.decode(encoding)
        data, encoding = _SHIFT.sub(_shifted, data), "euc_jp"
    if encoding == "euc_jp":
        return data.decode(encoding, _REPLACE if errors == "replace" else _STRICT)
    return data.decode(encoding, errors)


def _shifted(match: re.Match[bytes]) -> bytes:
    """A part of a text in ISO-2022-JP, converted to EUC-JP. match: the escape sequence that selects
    a character set, and the bytes that follow in this character set."""
    if match[1] in (b"(B", b"(J"):
        return match[2]
    high = match[2].translate(_SET_HIGH_BIT)
    if match[1] == b"(I":  # half-width katakana, one byte each
        return re.sub(rb"[\xa1-\xdf]", b"\x8e\\g<0>", high)
    return re.sub(rb"[\xa1-\xfe]{2}", b"\x8f\\g<0>", high) if match[1] == b"$(D" else high


def _of_windows(error: UnicodeError) -> tuple[str, int]:
    """A decoding error handler for EUC-JP. If EUC-JP has no character for two bytes, it returns the
    character that Windows' variant of EUC-JP has for these bytes."""
    assert isinstance(error, UnicodeDecodeError)
    pair = _BOTH_BYTES.match(error.object, error.start)
    if pair is None:
        raise error
    row, cell = pair[0][0] - 0xA1, pair[0][1] - 0xA1
    lead = (0x81 if row < 62 else 0xC1) + row // 2
    trail = cell + 0x9F if row % 2 else cell + 0x40 + (cell >= 63)
    try:
        return bytes([lead, trail]).decode("cp932"), error.start + 2
    except UnicodeDecodeError:
        raise error from None


def _of_windows_or_replaced(error: UnicodeError) -> tuple[str, int]:
    try:
        return _of_windows(error)
    except UnicodeDecodeError as wrong:
        return "\ufffd", wrong.end


_STRICT, _REPLACE = "retrieval_store.of_windows", "retrieval_store.of_windows_or_replaced"
codecs.register_error(_STRICT, _of_windows)
codecs.register_error(_REPLACE, _of_windows_or_replaced)


# Guesses


def _guess(data: bytes) -> Decoded:
    try:
        from chardet import detect_all
    except ImportError as error:
        raise MissingDependencyError(
            "it isn't a text in UTF-8; to find out what it is in takes chardet: "
            f"pip install retrieval-store-files ({error})"
        ) from error
    first = _BEYOND_ASCII.search(data)
    start = max(0, first.start() - 100) if first else 0
    sample = data[start : start + _SAMPLE]
    likely = [
        (_guessed_codec(found["encoding"]), found["confidence"])
        for found in detect_all(
            sample, ignore_threshold=True, compat_names=False, include_encodings=_GUESSED,
            max_bytes=_SAMPLE,
        )
        if found["encoding"] is not None and found["confidence"] > 0
    ]  # fmt: skip
    encoding, confidence = _best_of(likely, sample) if likely else ("", 0.0)
    if not encoding or (confidence < _UNLIKELY and encoding in _RARE):
        return _without_strays(data)
    text, gaps = _decode_as(data, encoding)
    read = _decoded(sample, encoding, "replace")
    if encoding == USUAL and _OF_LATIN_9.search(data) and not _OF_WINDOWS.search(data):
        likely.append(("iso8859-15", confidence))
    others = (
        f"; it may be {_name_of(other)}"
        for other, known in likely
        if known >= _SECOND * confidence
        and other not in _RARE
        and _decoded(sample, other, "replace") != read
    )
    gap = f"it isn't in UTF-8, and was read as {_name_of(encoding)}{next(others, '')}"
    return Decoded(text, (gap, *gaps))


def _without_strays(data: bytes) -> Decoded:
    """Decode data that are ASCII except for a few bytes that are invalid in every known encoding.
    Raises DataLoaderError for other data."""
    strays = len(data.translate(None, _ASCII))
    if b"\0" in data or strays > max(_FEW, _FEW_OF * len(data)):
        raise DataLoaderError("it isn't a text in UTF-8, nor in another encoding that is known")
    return _decode_as(data, "utf-8")


# Characters in which ISO-8859-15 differs from Windows-1252, such as "€" and "œ"; and Windows-1252's
# own ones.
_OF_LATIN_9, _OF_WINDOWS = (
    re.compile(rb"[\xa4\xa6\xa8\xb4\xb8\xbc-\xbe]"),
    re.compile(rb"[\x80-\x9f]"),
)
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


def _guessed_codec(name: str) -> str:
    return {"euc_jis_2004": "euc_jp"}.get(name, name)


def _best_of(likely: list[tuple[str, float]], sample: bytes) -> tuple[str, float]:
    """The best encoding in `likely`, with its likelihood. likely: encodings with their likelihoods,
    the most likely first. If several encodings are about equally likely, the one in which the
    sample has the most letters is the best. If even the first encoding is unlikely, `USUAL` is
    preferred."""
    best = likely[0]
    if best[1] < _UNLIKELY:
        usual = (each for each in likely if each[0] == USUAL and each[1] >= _USUAL_IF * best[1])
        return next(usual, best)
    equal = [each for each in likely if each[1] >= best[1] - _EQUAL]
    order = [_guessed_codec(name) for name in _GUESSED]

    def rank(known: tuple[str, float]) -> tuple[int, int]:
        letters = sum(map(str.isalpha, _decoded(sample, known[0], "replace")))
        return -letters, order.index(known[0])

    return min(equal, key=rank) if len(equal) > 1 else best


def _name_of(encoding: str) -> str:
    """The common name of an encoding, for messages. encoding: Python's name."""
    if encoding in _NAMES:
        return _NAMES[encoding]
    name = encoding.upper().replace("_", "-").replace("ISO8859", "ISO-8859")
    return name.replace("CP", "Windows-") if name.startswith("CP125") else name
