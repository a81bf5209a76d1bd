"""Reads AsciiDoc, Org and LaTeX, and splits them at the marked headings. Also reads XML and
subtitles.

If a reader keeps the text unchanged, each section is an exact copy of a range of the file.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise

from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers import (
    DATE,
    FileText,
    Section,
    count_phrase,
    few,
    without_parents,
)
from retrieval_store_files.readers.data import lines_of_code
from retrieval_store_files.readers.declared import label_in_xml
from retrieval_store_files.readers.encodings import decode
from retrieval_store_files.readers.entities import Entities
from retrieval_store_files.readers.packed import all_text, local_name, xml_root

CUES = 40  # of a section
_SPACE = re.compile(r"\s+")
_TEXT_LINE = re.compile(r"^(?!:|//)[^\n]*\S", re.MULTILINE)  # neither an attribute nor a comment


@dataclass(slots=True)
class _Heading:
    """A heading, with its start and end in the text. level: 0 for the title of a document."""

    start: int
    end: int
    level: int
    title: str


def _sections(text: str, headings: list[_Heading]) -> list[Section]:
    """The sections of a text, which are the ranges between its headings."""
    sections: list[Section] = []
    path: list[_Heading] = []
    bounds = [_Heading(0, 0, -1, ""), *headings, _Heading(len(text), len(text), -1, "")]
    for heading, following in pairwise(bounds):
        if heading.title:
            path = [known for known in path if known.level < heading.level] + [heading]
        part = text[heading.end : following.start]
        start = heading.end + len(part) - len(part.lstrip())
        end = max(start, heading.end + len(part.rstrip()))
        if part.strip() or heading.title:
            titles = tuple(above.title for above in path)
            sections.append(Section(text[start:end], titles, None, start, end))
    return without_parents(sections)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for line in text.split("\n"):
        yield at, line.rstrip("\r")
        at += len(line) + 1


def _title(text: str, headings: list[_Heading]) -> str | None:
    """The title of a text: its first heading, if this heading has level 0 and there is no text
    before it. Otherwise None."""
    first = headings[0] if headings else None
    if first is None or first.level != 0 or _TEXT_LINE.search(text[: first.start]):
        return None
    return first.title


# AsciiDoc

_ASCIIDOC = re.compile(r"(={1,6}|#{1,6})[ \t]+(\S.*)")
_VERBATIM = re.compile(r"(-{4,}|\.{4,}|\+{4,}|/{4,}|`{3,})(\w*|(?<=`)[^`]*)\s*")
_UNDERLINE = re.compile(r"(=+|-+|~+|\^+|\++)\s*")
_UNDERLINES = "=-~^+"
_ASCIIDOC_ATTRIBUTE = re.compile(
    r"^:(author|revdate|lang|doctitle):[ \t]+(\S.*?)\s*$", re.MULTILINE
)
_AUTHOR = re.compile(r"(\w[\w.' -]*?)\s+<[^<>\s]+>")
_REVISION = re.compile(r"(?:v?[\d.]+,\s*)?(\d{4}-\d\d-\d\d)\b")
_INCLUDED = re.compile(r"^include::(\S.*?)\[", re.MULTILINE)


def read_asciidoc(data: bytes, name: str) -> FileText:
    """Read an AsciiDoc text, and split it at its headings. Other files that the text includes
    aren't read; each of them is reported as a gap."""
    text, guessed = decode(data)
    headings = [*_asciidoc_headings(text)]
    attributes = dict(reversed(_ASCIIDOC_ATTRIBUTE.findall(text)))
    title = attributes.get("doctitle") or _title(text, headings)
    header = text[headings[0].end :].split("\n")[1:3] if title and headings else []
    author = next(map(_AUTHOR.match, header[:1]), None)
    revision = next(filter(None, map(_REVISION.match, header)), None)
    date = attributes.get("revdate") or (revision[1] if revision else "")
    return FileText(
        _sections(text, headings),
        title,
        attributes.get("author") or (author[1] if author else None),
        date if DATE.fullmatch(date) else None,
        attributes.get("lang"),
        (*guessed, *_gaps_of_included(_INCLUDED.findall(text))),
    )


def _gaps_of_included(names: list[str]) -> tuple[str, ...]:
    return few([f"{name!r}, which it includes, isn't read" for name in names])


def _asciidoc_headings(text: str) -> Iterator[_Heading]:
    """The headings of an AsciiDoc text. Lines in literal blocks are no headings."""
    fence = ""
    before = [(0, ""), (0, "")]  # the last two lines, each with its position
    for at, line in _lines(text):
        level = _underlined_level(before, line) if not fence else None
        block = _VERBATIM.fullmatch(line)
        match = None if fence else _ASCIIDOC.fullmatch(line)
        if level is not None:
            place, title = before[1]
            yield _Heading(place, at + len(line), level, title.strip())
        elif block and fence in ("", block[1]):
            fence = "" if fence else block[1]
        elif match:
            yield _Heading(at, at + len(line), len(match[1]) - 1, match[2].strip())
        before = [before[1], (at, line if level is None else "")]


def _underlined_level(before: list[tuple[int, str]], line: str) -> int | None:
    """The level of the heading that `line` underlines; None if it underlines no heading. The
    underline is as long as the heading, plus or minus one character. The line before the heading
    has no text."""
    (_, above), (_, title) = before
    title = title.rstrip()
    is_title = title[:1] not in ("", ".", "[", " ", "|") and any(map(str.isalnum, title))
    is_first = not above.strip() or above.startswith("[")
    rule = _UNDERLINE.fullmatch(line)
    if not (rule and is_title and is_first) or abs(len(title) - len(rule[1])) > 1:
        return None
    return _UNDERLINES.index(rule[1][0])


# Org

_ORG = re.compile(r"^(\*+)[ \t]+(\S[^\n]*)", re.MULTILINE)
_ORG_KEYWORD = re.compile(
    r"^[ \t]*#\+(title|author|date|language):[ \t]*(\S.*?)\s*$", re.MULTILINE | re.IGNORECASE
)
_ORG_INCLUDED = re.compile(
    r'^[ \t]*#\+include:[ \t]*"?([^"\n]*?)["\r\n]', re.MULTILINE | re.IGNORECASE
)


def read_org(data: bytes, name: str) -> FileText:
    """Read an Org text, and split it at its headings. Other files that the text includes aren't
    read; each of them is reported as a gap."""
    text, guessed = decode(data)
    headings = [
        _Heading(match.start(), match.end(), len(match[1]), match[2].strip())
        for match in _ORG.finditer(text)
    ]
    attributes: dict[str, str] = {}
    for key, value in _ORG_KEYWORD.findall(text):
        known = attributes.get(key.lower())
        attributes[key.lower()] = f"{known} {value}" if known else value
    date = DATE.search(attributes.get("date", ""))
    return FileText(
        _sections(text, headings),
        attributes.get("title"),
        attributes.get("author"),
        date[0] if date else None,
        attributes.get("language"),
        (*guessed, *_gaps_of_included(_ORG_INCLUDED.findall(text))),
    )


# LaTeX

_LEVELS = ("part", "chapter", "section", "subsection", "subsubsection", "paragraph", "subparagraph")
_VERBATIM_NAMES = r"(?:verbatim|lstlisting|minted|comment|Verbatim)\*?"
_LATEX = re.compile(
    rf"\\(?P<heading>{'|'.join(_LEVELS)}|title|author|date)\*?[ \t\n]*"
    r"(?:\[(?P<short>[^\]\n]*)\][ \t\n]*)?\{"
    r"|\\(?P<file>input|include|subfile)[ \t]*\{(?P<name>[^{}\n]*)\}"
    rf"|(?P<verbatim>\\begin[ \t]*\{{{_VERBATIM_NAMES}\}})"
    r"|(?P<comment>(?<!\\)(?:\\\\)*%[^\n]*)"
)
_END_VERBATIM = re.compile(rf"\\end[ \t]*\{{{_VERBATIM_NAMES}\}}")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_LONGEST_TITLE = 1_000  # characters between its braces
_ACCENTS = {
    '"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303", "=": "\u0304",
    ".": "\u0307", "u": "\u0306", "v": "\u030c", "H": "\u030b", "c": "\u0327", "d": "\u0323",
    "b": "\u0331", "r": "\u030a", "k": "\u0328",
}  # fmt: skip
_ACCENT = re.compile(
    r"""\\(?:(["'`^~=.])[ ]*|([uvHcdbrk])(?:[ ]+|(?=\{)))"""
    r"(?:\{(\\?[A-Za-z])\}|(\\[ij](?![a-zA-Z])|[A-Za-z]))"
)
_LETTERS = {
    "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å", "AA": "Å", "o": "ø", "O": "Ø",
    "l": "ł", "L": "Ł", "i": "ı", "j": "ȷ",
}  # fmt: skip
_LETTER = re.compile(r"\\(ss|ae|AE|oe|OE|aa|AA|o|O|l|L|i|j)(?:\{\}|[ ]+|(?![a-zA-Z_@]))")
_IN_BRACES = re.compile(r"\{([^\W\d_a-zA-Z])\}")
_CODE = re.compile(
    rf"(\\begin[ \t]*\{{{_VERBATIM_NAMES}\}}.*?\\end[ \t]*\{{{_VERBATIM_NAMES}\}})", re.DOTALL
)
_COMMAND = re.compile(r"\\label[ ]*\{[^{}]*\}|\\[a-zA-Z]+\*?[ ]?|[{}]")


def read_latex(data: bytes, name: str) -> FileText:
    """Read a LaTeX text, and split it at its headings. Accent commands become letters; other
    commands stay unchanged. Other files that the text includes aren't read; each of them is
    reported as a gap."""
    text, guessed = decode(data)
    headings: list[_Heading] = []
    attributes: dict[str, str] = {}
    included: list[str] = []
    at = 0
    while match := _LATEX.search(text, at):
        at = match.end()
        if match["verbatim"]:
            end = _END_VERBATIM.search(text, at)
            at = end.end() if end else len(text)
        elif match["file"]:
            included.append(match["name"].strip())
        elif match["heading"]:
            kind, end_of_title = match["heading"], _closing_brace(text, at)
            title = _plain_latex(text[at : end_of_title - 1])
            if kind in _LEVELS and title:
                short = _plain_latex(match["short"] or "")
                title += f" ({short})" if short and short not in title else ""
                level = _LEVELS.index(kind)
                headings.append(_Heading(match.start(), end_of_title, level, title))
            elif title:
                attributes.setdefault(kind, title)
            at = end_of_title
    date = attributes.get("date", "")
    sections = [replace(part, text=_with_letters(part.text)) for part in _sections(text, headings)]
    return FileText(
        sections,
        attributes.get("title"),
        attributes.get("author"),
        date if DATE.fullmatch(date) else None,
        gaps=(*guessed, *_gaps_of_included(included)),
    )


def _closing_brace(text: str, start: int) -> int:
    """The position after the brace that closes the brace directly before `start`."""
    depth = 1
    for match in _BRACES.finditer(text, start, start + _LONGEST_TITLE):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return start + 1


def _plain_latex(text: str) -> str:
    """The text of a LaTeX title without commands."""
    text = _COMMAND.sub(" ", _with_letters(text).replace("~", " ").replace("\\\\", " "))
    return _SPACE.sub(" ", text.replace("\\", "")).strip()


def _with_letters(text: str) -> str:
    """Replace accent commands in LaTeX by letters, so that searches find the words. Code stays
    unchanged."""
    if "\\" not in text:
        return text
    parts = _CODE.split(text)
    parts[::2] = map(_replace_letters, parts[::2])
    return "".join(parts)


def _replace_letters(text: str) -> str:
    text = _ACCENT.sub(_with_accent, text.replace("\\-", ""))
    text = _LETTER.sub(lambda match: _LETTERS[match[1]], text)
    return _IN_BRACES.sub(r"\1", text)


def _with_accent(match: re.Match[str]) -> str:
    letter = (match[3] or match[4]).removeprefix("\\")
    return unicodedata.normalize("NFC", letter + _ACCENTS[match[1] or match[2]])


# XML

_REFERENCE = re.compile(r"&#?\w+;")
_IS_DRAWING = re.compile(
    r"\A(?>[^<]*<(?>\?.*?\?>|!--.*?-->|!DOCTYPE[^<>\[]*>))*[^<]*<(?:\w+:)?svg[\s>]", re.DOTALL
)
_DRAWN_WORDS = frozenset(["title", "desc", "text", "foreignObject", "flowRoot"])


def read_xml(data: bytes, name: str) -> FileText:
    """Read XML, and split it by lines. References to characters, and to entities that the file
    declares, are replaced by what they stand for. From a drawing (SVG), only the words are read."""
    text, guessed = decode(data, label_in_xml(data))
    entities = Entities(text)
    if _IS_DRAWING.match(text[entities.end :]):
        with suppress(DataLoaderError):  # it isn't well-formed
            return _words_of_drawing(entities.expand(text[entities.end :]), guessed, entities)
    sections = [
        replace(section, text=html.unescape(entities.expand(section.text)))
        if _REFERENCE.search(section.text)
        else section
        for section in lines_of_code(text, ()).sections
    ]
    return FileText(sections, gaps=(*guessed, *few(entities.gaps)))


def _words_of_drawing(text: str, guessed: tuple[str, ...], entities: Entities) -> FileText:
    """The words in a drawing (SVG): its title, and the texts and descriptions of its parts."""
    root = xml_root(_without_declaration(text).encode(), "the drawing")
    title = next((all_text(part) for part in root if local_name(part) == "title"), None) or None
    words = dict.fromkeys(
        all_text(part)
        for part in root.iter()
        if local_name(part) in _DRAWN_WORDS and all_text(part) != title
    )
    shown = "\n".join(filter(None, words))
    sections = [Section(shown, (title,) if title else ())] if shown or title else []
    return FileText(sections, title, gaps=(*guessed, *few(entities.gaps)))


def _without_declaration(text: str) -> str:
    """Remove the encoding declaration of XML, which is wrong after the text was decoded."""
    return re.sub(r"\A\s*<\?xml\b.*?\?>", "", text, flags=re.DOTALL)


# Subtitles

_CUE = re.compile(
    r"[ \t]*(?P<hours>\d{1,4}:)?(?P<minutes>\d\d?):(?P<seconds>\d\d)[.,]\d{1,3}"
    r"[ \t]*-->[ \t]*[\d:.,]+.*"
)
_SPEAKER = re.compile(r"<v(?:\.[^ >]{0,200})?[ \t]+([^>]{1,200})>")
_TAG = re.compile(
    r"</?(?:i|b|u|s|c|v|font|lang|ruby|rt|span|em|strong)(?:[.\t ][^>]{0,200})?>"
    r"|<[\d:.]{1,20}>|\{\\[^}]{0,200}\}",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Cue:
    """A text of subtitles with the time at which it is shown, and its start and end in the file."""

    start: int
    end: int
    time: str
    lines: list[str]


def read_subtitles(data: bytes, name: str) -> FileText:
    """Read subtitles in the form of SubRip or WebVTT, with the names of the speakers. A section
    consists of some dozens of cues, which are texts with a time. The heading of a section is the
    time of its first cue."""
    text, guessed = decode(data)
    cues: list[_Cue] = []
    title, styles, names = None, 0, 0
    for start, end, lines in _paragraphs(text):
        timing = next((i for i, line in enumerate(lines[:3]) if _CUE.fullmatch(line)), None)
        if timing is not None:
            # A number, or a program's name for the cue; otherwise a line of text.
            called = [line for line in lines[:timing] if " " not in line.strip()]
            names += sum(not line.strip().isdigit() for line in called)
            shown = [line for line in lines[:timing] if line not in called] + lines[timing + 1 :]
            cues.append(_Cue(start, end, _time(lines[timing]), shown))
        elif start == 0 and lines[0].startswith("WEBVTT"):
            title = lines[0].removeprefix("WEBVTT").strip(" -\t") or None
            cues += [_Cue(start, end, "", lines[1:])] if lines[1:] else []
        elif lines[0].split()[0] in ("STYLE", "REGION"):
            styles += 1
        else:  # notes, and lines after an empty one within a cue
            cues.append(_Cue(start, end, "", lines))
    gaps = count_phrase(styles, "block of styles") + count_phrase(
        names, "name of a cue", "names of cues"
    )
    return FileText([*_cue_sections(cues)], title, gaps=(*guessed, *gaps))


def _paragraphs(text: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the start, the end and the lines of each block of consecutive lines that aren't
    empty."""
    start, end = 0, 0
    lines: list[str] = []
    for at, line in _lines(text):
        if line.strip():
            start = start if lines else at
            end = at + len(line)
            lines.append(line)
        elif lines:
            yield start, end, lines
            lines = []
    if lines:
        yield start, end, lines


def _time(line: str) -> str:
    match = _CUE.fullmatch(line)
    assert match is not None
    hours = int((match["hours"] or "0").rstrip(":"))
    return f"{hours:02}:{int(match['minutes']):02}:{match['seconds']}"


def _cue_sections(cues: list[_Cue]) -> Iterator[Section]:
    for first in range(0, len(cues), CUES):
        group = cues[first : first + CUES]
        shown = [_text_of_cue(cue) for cue in group]
        time = next((cue.time for cue in group if cue.time), "")
        text = "\n".join(filter(None, shown))
        if text:
            headings = (time,) if time else ()
            yield Section(text, headings, None, group[0].start, group[-1].end)


def _text_of_cue(cue: _Cue) -> str:
    """The text of a cue in one line, with its speaker and without tags."""
    text = _SPEAKER.sub(r"\1: ", " ".join(line.strip() for line in cue.lines))
    return _SPACE.sub(" ", html.unescape(_TAG.sub("", text))).strip()
