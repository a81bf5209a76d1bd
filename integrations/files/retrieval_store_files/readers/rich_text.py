"""Reads RTF with striprtf.

The library returns plain text, and leaves out whole groups, such as footnotes, text boxes and
equations. The control words that begin such groups are removed first, so that the library reads the
contents of the groups. Headings and tables are marked by characters that no text contains.
"""

import re
from collections.abc import Callable
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers import (
    FileText,
    Section,
    count_phrase,
    few,
    unreadable,
    without_parents,
)
from retrieval_store_files.readers.tables import markdown_table

# Private-use characters: a row of a table begins, a cell ends, a row ends; a heading.
_BEGIN_ROW, _END_CELL, _END_ROW, _HEADING = "\ue0f0", "\ue0f1", "\ue0f2", "\ue0f3"
_MARKS = re.compile("[\ue0f0-\ue0f4]")
# A control word begins after an even number of backslashes: two are one shown backslash.
_BINARY = re.compile(rb"(?<!\\)((?:\\\\)*)\\bin(?:(\d{1,10})(?!\d)|[a-zA-Z]*-?\d*) ?")
# Control words that need a number but have none, or an invalid one: their replacements.
_WITHOUT_NUMBER = re.compile(r"(?<!\\)((?:\\\\)*)\\(uc|ansicpg|u)(-?\d+)?(?![a-zA-Z\d])[ ]?")
_PICTURE = re.compile(rb"[0-9a-fA-F\r\n]{400,}")  # in digits, which may be most of a file
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
# Groups whose text is read at their position, instead of being left out.
_READ_IN_PLACE = re.compile(
    r"(?:\\\*\s*)?\\(?:footnote|annotation|header[lrf]?|footer[lrf]?|shp|shpgrp|shpinst|shptxt|do"
    r"|dptxbxtext|object|result|upr|pntext|ffl"
    r"|mmath|moMath|moMathPara|mr|me|mf|mnum|mden|msSup|msSub|msSubSup|msup|msub|mrad|mdeg|md"
    r"|mnary|mfunc|mfName|macc|mbar|mbox|mborderBox|meqArr|mgroupChr|mlimLow|mlimUpp|mlim|mm|mphant"
    r"|msPre)(?![a-zA-Z0-9])[ ]?"
)
# A text twice, in the encoding of the document and in Unicode.
_TWICE, _IN_UNICODE = re.compile(r"\{\s*\\upr(?![a-z])"), re.compile(r"\{\s*\\\*\s*\\ud(?![a-z])")
_COMMENTATOR = re.compile(r"\{\\\*\\atnauthor ([^{}]*)\}")
_NOTE = re.compile(r"\{\s*(?:\\\*\s*)?\\(footnote|annotation)(?![a-zA-Z0-9])")
_BRACE = re.compile(r"\\[\\{}]|[{}]")
_END_PARAGRAPH = re.compile(r"\\(?:par|cell|row|sect|page)(?![a-zA-Z])")
_ENCODINGS = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}
# The descriptions of pictures, and texts that are drawn as letters.
_DRAWN = re.compile(
    r"\{\s*\\sn\s+(?:wzDescription|gtextUNICODE)\s*\}\s*\{\s*\\sv\s+((?:[^{}]|\\[{}])+)\}"
)
_EQUATION = re.compile(r"\\\*\s*\\fldinst(?=[\s{]*EQ )")  # also letters with others above them
_BLOCK = re.compile(r"\\(footnote|annotation|header[lrf]?|footer[lrf]?|shptxt)(?![a-zA-Z0-9])")
_ROW_WORDS = re.compile(r"\\(trowd|nesttableprops|cell|nestcell|row|nestrow)(?![a-zA-Z0-9])[ ]?")
_ROW_MARKS = {
    "trowd": _BEGIN_ROW, "nesttableprops": "", "cell": _END_CELL, "nestcell": " ",
    "row": _END_ROW, "nestrow": " ",
}  # fmt: skip
_STRAY = re.compile(r"(?<![{\s\\])\\\*(?=\\)")  # it would hide the rest of a group
_STYLE = re.compile(r"\\s(\d{1,5})(?![a-zA-Z0-9])[ ]?")
_STYLE_NAME = re.compile(r"\\[a-z]+-?\d* ?([^;{}\\]*);\s*\}")
_WITHIN = re.compile(r"\{\s*\\\*\\(?!cs|ds|ts)[^{}]*\}")  # groups within the entry of a style
_OUTLINE = re.compile(r"\\outlinelevel([0-8])(?![0-9])[ ]?")
_MARKED_HEADING = re.compile(f"{_HEADING}([0-9])")
_CODE_PAGE = re.compile(r"\\(?:mac|pca?|ansicpg\d{1,5})(?![a-zA-Z0-9])")
_GROUP_LENGTH = 2_000  # characters of a group of metadata
_ITEM = re.compile(r"^[ \t]*[\u2022\u00b7\uf0b7\u25cf\u25e6\u25aa\u2013-]\t\s*")
_NUMBERED = re.compile(r"^[ \t]*(\(?\w{1,5}[.)])\t\s*")
_SPACE = re.compile(r"\s+")
_REPLACED = "\ufffd"
# Character sets of Macintosh fonts, for which the library names codecs that Python lacks.
_OF_MACINTOSH = {
    78: "cp932", 79: "cp949", 80: "gb18030", 81: "big5hkscs", 82: "johab", 83: "cp1255",
    84: "iso8859_6", 85: "mac_greek", 86: "mac_turkish", 87: "cp874", 88: "mac_latin2",
    89: "mac_cyrillic",
}  # fmt: skip


def read_rtf(data: bytes, name: str) -> FileText:
    """Read an RTF document with its tables, and split it at its headings. Footnotes, comments,
    headers and boxes are read at their positions in the file."""
    try:
        from striprtf.striprtf import charset_map, rtf_to_text
    except ImportError as error:
        raise MissingDependencyError(
            f"RTF needs striprtf: pip install retrieval-store-files ({error})"
        ) from error
    charset_map.update(_OF_MACINTOSH)
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n\0").startswith(b"{\\rtf"):
        raise DataLoaderError("it isn't RTF: it doesn't begin with {\\rtf")
    source = _in_unicode(_with_numbers(_escape(data)))
    metadata = _metadata(source, rtf_to_text)
    gaps = _gaps(source)
    text = _plain(_mark_source(source), rtf_to_text)
    return FileText(without_parents(_sections(text)), **metadata, gaps=few(gaps))


def _escape(data: bytes) -> str:
    """The RTF source as ASCII, without binary data. Non-ASCII bytes become RTF escapes, so that
    they are decoded in the encoding of their font."""
    pieces, at = [], 0
    while match := _BINARY.search(data, at):
        pieces.append(data[at : match.end(1)])
        length = int(match[2] or 0)
        at = match.end() + (length if length <= len(data) - match.end() else 0)
    pieces.append(data[at:])
    source = _PICTURE.sub(b" ", b"".join(pieces)).replace(b"\0", b"")
    return _BEYOND_ASCII.sub(lambda match: b"\\'%02x" % match[0][0], source).decode("ascii")


def _with_numbers(source: str) -> str:
    """The source, in which control words with a missing or invalid number are corrected."""

    def numbered(match: re.Match[str]) -> str:
        before, word, digits = match.groups()
        number = int(digits) if digits and len(digits) < 12 else None
        if word == "uc" and (number is None or not 0 <= number < 100):
            return f"{before}\\uc1 "
        if word == "ansicpg" and not number:
            return str(before)
        if word == "u" and digits and (number is None or not -0x8000 <= number <= 0x10FFFF):
            return f"{before}\\u{ord(_REPLACED)} "
        return match[0]

    return _WITHOUT_NUMBER.sub(numbered, source)


def _with_drawn_texts(source: str) -> str:
    """The source, with the descriptions of pictures and the texts of WordArt added at its end."""
    texts = dict.fromkeys(match[1] for match in _DRAWN.finditer(source))
    end = source.rfind("}")
    drawn = "".join(rf"{{\par\pard {text}\par}}" for text in texts if text.strip())
    return f"{source[:end]}{drawn}{source[end:]}" if drawn and end >= 0 else source


def _in_unicode(source: str) -> str:
    """The source without the repetitions of text that are meant for programs without Unicode."""
    pieces, at = [], 0
    for match in _TWICE.finditer(source):
        end = _end_of_group(source, match.start())
        twin = _IN_UNICODE.search(source, match.end(), end)
        if match.start() >= at and twin is not None:
            pieces += [source[at : match.start()], "{", source[twin.end() : end - 2], "}"]
            at = end
    return "".join([*pieces, source[at:]])


def _mark_source(source: str) -> str:
    """The source with marks for headings and tables. Groups that the library would skip, and that
    should be read, become part of the text."""
    source = _with_drawn_texts(_STRAY.sub("", source))
    source = _with_marked_headings(source)
    source = _ROW_WORDS.sub(lambda match: _ROW_MARKS[match[1]], source)
    source = _EQUATION.sub("", _with_notes_after(source))
    source = _BLOCK.sub(lambda match: f"\\{match[1]}\n\\par ", source)
    return _READ_IN_PLACE.sub("", source)


def _with_marked_headings(source: str) -> str:
    """The source with a mark in each paragraph that is a heading. A paragraph is a heading if its
    style is for headings, or if the paragraph itself has an outline level."""
    start = source.find("{\\stylesheet")
    end = _end_of_group(source, start) if start >= 0 else 0
    levels = _levels_of_styles(source[start:end]) if end else {}

    def marked(match: re.Match[str]) -> str:
        level = levels.get(match[1])
        return match[0] if level is None else f"\\s{match[1]} {_HEADING}{level}"

    body = _STYLE.sub(marked, source[end:]) if levels else source[end:]
    return source[:end] + _OUTLINE.sub(lambda match: f"{_HEADING}{int(match[1]) + 1}", body)


def _levels_of_styles(sheet: str) -> dict[str, int]:
    """A dict from the number of each style for headings to the level of its headings. The level of
    the title is 0. sheet: the style sheet in the source."""
    levels: dict[str, int] = {}
    for entry in _WITHIN.sub("", sheet)[1:].split("{"):
        number, name = _STYLE.search(entry), _STYLE_NAME.search(entry)
        if number is None or name is None:
            continue
        words, outline = name[1].strip().lower(), _OUTLINE.search(entry)
        heading = re.fullmatch(r"heading ([1-9])", words)
        if heading or words == "title":
            levels[number[1]] = int(heading[1]) if heading else 0
        elif outline:
            levels[number[1]] = int(outline[1]) + 1
    return levels


def _with_notes_after(source: str) -> str:
    """The source, in which each note and comment is moved to the end of its paragraph."""
    pieces: list[str] = []
    notes: list[str] = []
    at = 0
    for match in _NOTE.finditer(source):
        if match.start() < at:  # nested in another
            continue
        before = source[at : match.start()]
        at = _end_of_group(source, match.start())
        authors = _COMMENTATOR.findall(before) if match[1] == "annotation" else []
        by = f" Comment by {authors[-1]}: " if authors else " "
        pieces += _paragraphs_with(before, notes)
        notes.append(match[0] + by + source[match.end() : at])
    *pieces, rest = [*pieces, *_paragraphs_with(source[at:], notes)]
    end = rest.rfind("}")  # the document's end, after which nothing is read
    return "".join(
        [*pieces, rest[:end], *notes, rest[end:]] if notes and end >= 0 else [*pieces, rest]
    )


def _paragraphs_with(source: str, notes: list[str]) -> list[str]:
    """The pieces of a part of the source. If a paragraph ends in this part, the notes are inserted
    at the end of the first paragraph, and `notes` is emptied. Otherwise the part and `notes` stay
    unchanged."""
    end = _END_PARAGRAPH.search(source) if notes else None
    if end is None:
        return [source]
    pieces = [source[: end.start()], *notes, source[end.start() :]]
    notes.clear()
    return pieces


def _end_of_group(source: str, start: int) -> int:
    depth = 0
    for match in _BRACE.finditer(source, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return len(source)


def _encoding_of(source: str) -> str:
    """The encoding of a document that doesn't declare the number of a code page."""
    match = re.search(r"\\(mac|pca?)(?![a-zA-Z0-9])", source[:_GROUP_LENGTH])
    return _ENCODINGS[match[1]] if match else "cp1252"


def _plain(source: str, convert: Callable[..., Any]) -> str:
    """The text of an RTF source. Surrogate pairs in the text are joined. convert: the library's
    function that converts RTF to text."""
    try:
        text = str(convert(source, _encoding_of(source), errors="replace"))
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise unreadable("RTF", error, "Word or LibreOffice") from error
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _metadata(source: str, convert: Callable[..., Any]) -> dict[str, Any]:
    """The title, author and date of a document, as keyword arguments for FileText. They come from
    the group with the metadata. The date is that of the last change, or else that of the creation.
    convert: see `_plain`."""
    start = source.find("{\\info")
    info = source[start : start + 20 * _GROUP_LENGTH] if start >= 0 else ""
    page = "".join(_CODE_PAGE.findall(source[:_GROUP_LENGTH]))
    date = _date(info, "revtim") or _date(info, "creatim")
    return {
        "title": _group_text(info, "title", page, convert),
        "author": _group_text(info, "author", page, convert),
        "date": date,
    }


def _group_text(info: str, word: str, page: str, convert: Callable[..., Any]) -> str | None:
    """The text of a group in the metadata; None if there is no such group. info: the metadata in
    the source; word: the control word of the group; page: the source's declaration of its code
    page; convert: see `_plain`."""
    match = re.search(rf"\{{\\{word} ((?:[^{{}}]|\{{[^{{}}]*\}})*)\}}", info)
    if match is None or len(match[1]) > _GROUP_LENGTH:
        return None
    return _SPACE.sub(" ", _plain("{\\rtf1" + page + " " + match[1] + "}", convert)).strip() or None


def _date(info: str, word: str) -> str | None:
    match = re.search(rf"\\{word}\\yr(\d{{4}})\\mo(\d\d?)\\dy(\d\d?)", info)
    if match is None:
        return None
    year, month, day = map(int, match.groups())
    is_date = year > 1601 and 1 <= month <= 12 and 1 <= day <= 31  # 1601 means never
    return f"{year:04}-{month:02}-{day:02}" if is_date else None


def _gaps(source: str) -> list[str]:
    """Gaps that say how many embedded objects weren't read, and how many tracked deletions were
    read as text."""

    def number(pattern: str) -> int:
        return len(re.findall(rf"\\{pattern}(?![a-zA-Z0-9])", source))

    gaps = count_phrase(number("objdata"), "embedded object")
    gaps += count_phrase(
        number("deleted"), "deletion that is tracked is read", "deletions that are tracked are read"
    )
    return gaps


def _sections(text: str) -> list[Section]:
    """The sections of a text with marks, which is split at its headings."""
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    blocks: list[str] = []

    def end() -> None:
        shown = "\n\n".join(filter(None, blocks))
        if shown or path:
            sections.append(Section(shown, tuple(title for _, title in path)))
        blocks.clear()

    for block in _blocks(text):
        heading = None if isinstance(block, list) else _MARKED_HEADING.search(block)
        if isinstance(block, list):
            blocks.append(markdown_table(block))
        elif heading is None:
            blocks.append(block)
        elif title := _SPACE.sub(" ", _MARKED_HEADING.sub("", block)).strip():
            end()
            level = int(heading[1])
            path = [known for known in path if known[0] < level] + [(level, title)]
    end()
    return sections


def _blocks(text: str) -> list[str | list[list[str]]]:
    """The blocks of a text with marks. A paragraph is a str, and a table is a list of rows of
    cells."""
    blocks: list[str | list[list[str]]] = []
    for piece in re.split(f"({_END_ROW})", text):
        if piece == _END_ROW:
            continue
        before, _, row = piece.partition(_BEGIN_ROW)
        if _END_CELL in before:  # a row like the last one, or described at its end
            before, row = "", piece
        blocks += _paragraphs(before)
        cells = [
            _SPACE.sub(" ", _MARKS.sub(" ", _MARKED_HEADING.sub(" ", cell))).strip()
            for cell in row.split(_END_CELL)
        ]
        *cells, rest = cells
        if any(cells):
            _add_row(blocks, cells)
        blocks += [rest] if rest else []
    return blocks


def _add_row(blocks: list[str | list[list[str]]], cells: list[str]) -> None:
    last = blocks[-1] if blocks else None
    if isinstance(last, list):
        last.append(cells)
    else:
        blocks.append([cells])


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a text. Consecutive list items are in one paragraph."""
    blocks: list[str] = []
    was_item = False
    for marked in text.split("\n"):
        line = marked if _HEADING in marked else _MARKS.sub("", marked)
        item = _NUMBERED.sub(r"\1 ", _ITEM.sub("- ", line, count=1), count=1)
        is_item = item != line and _HEADING not in line
        if is_item and was_item:
            blocks[-1] += f"\n{item.strip()}"
        elif line.strip():
            blocks.append(item.strip() if is_item else line.strip())
        was_item = is_item or (was_item and not line.strip())
    return blocks
