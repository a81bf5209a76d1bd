"""Reads plain texts, Markdown and reStructuredText, and splits them at their headings.

Each section is an exact copy of a range of the file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from retrieval_store_files.readers import DATE, FileText, Section
from retrieval_store_files.readers.encodings import decode

_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_KEY = re.compile(r"([A-Za-z_][\w.-]*):(?:[ \t]+(.*))?")
_GOES_ON = re.compile(r"[ \t]|- |-$|[\]}]|#|$")  # a YAML line that continues the one above
_FOLDED = re.compile(r"[>|][+-]?\d?")
_TAKEN = frozenset(["title", "author", "date", "lang", "language"])
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)", re.DOTALL)
_RULE = re.compile(r"([=~^\"'*+-])\1{2,}\s*")
_LONGEST_TITLE = 60  # words
_NO_TITLE = re.compile(r"[ \t]*(?:[-*+>|]|\d+[.)] )")  # items of lists, quotations, rows
# The marks that begin or end a block of code, and the text after them; it may not contain backticks
# after backticks.
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)", re.DOTALL)
_BREAK = re.compile(r" {0,3}(?:(?:- *){3,}|(?:\* *){3,}|(?:_ *){3,})$")  # such as "* * *"
_ITEM = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)]) {1,4}(?=\S)")


def read_text(data: bytes, name: str) -> FileText:
    """Read a text, and split it at its headings. The headings can be in the form of Markdown or of
    reStructuredText."""
    text, gaps = decode(data)
    return replace(file_text_of(text), gaps=gaps)


read_markdown = read_text


def read_rst(data: bytes, name: str) -> FileText:
    """Read a reStructuredText document, and split it at its headings. In such a document a row of
    "~" underlines a heading, and doesn't begin a block of code."""
    text, gaps = decode(data)
    return replace(file_text_of(text, has_fences=False), gaps=gaps)


class CodeBlocks:
    """Finds the lines of Markdown that are in blocks of code. Each line must be passed to
    `goes_on`, in order. As in CommonMark, a block ends at a line of marks without text, if the line
    has at least as many marks as the block's first line. A block inside a list item also ends where
    the list item ends."""

    def __init__(self) -> None:
        self._marks = ""  # the open block's
        self._item = 0  # the indentation of the open list item's text
        self._is_in_item = False  # whether the open block is in it
        self._is_apart = False  # whether no paragraph is open that would continue in the next line

    @property
    def is_open(self) -> bool:
        """Whether the last line was in a block of code that continues after it."""
        return bool(self._marks)

    def goes_on(self, line: str) -> bool:
        """Whether the next line belongs to a block of code that began on an earlier line. The line
        can be the end of that block. If a block begins on this line, the result is False, and
        `is_open` becomes True."""
        line = line.expandtabs(4)
        indent, is_blank = len(line) - len(line.lstrip(" ")), not line.strip()
        if self._is_in_item and not is_blank and indent < self._item:
            self._marks, self._is_in_item, self._item = "", False, 0
        if self._marks:
            self._end_at(line[self._item :] if self._is_in_item else line)
            return True
        ends_paragraph = bool(_HEADING.match(line) or _BREAK.match(line))
        match = _FENCE.match(line)
        if item := None if ends_paragraph else _ITEM.match(line):
            self._item = len(item[0])
        elif not is_blank and indent < self._item and (self._is_apart or ends_paragraph or match):
            self._item = 0
        self._is_apart = is_blank or ends_paragraph
        is_inside = bool(item) or 0 < self._item <= indent
        if is_inside:
            match = _FENCE.match(line[self._item :])
        if match:
            self._marks, self._is_in_item = match[1], is_inside
        return False

    def _end_at(self, line: str) -> None:
        """If this line closes the open block of code, end the block."""
        match = _FENCE.match(line)
        if match and match[1].startswith(self._marks) and not match[2].strip():
            self._marks, self._is_in_item, self._is_apart = "", False, True


def fenced(code: str, language: str = "") -> str:
    """Code as a Markdown block of code. The marks around it are longer than any run of marks in the
    code."""
    longest = max(map(len, re.findall("`{3,}", code)), default=2)
    marks = "`" * (longest + 1)
    return f"{marks}{language}\n{code}\n{marks}"


def file_text_of(text: str, has_fences: bool = True, keeps_fields: bool = True) -> FileText:
    """Split a text at its headings. The title of the text is taken from its front matter, a block
    of YAML between two lines of "---". If the front matter has no title, the first heading is the
    title, if it has level 1 and no text before it. has_fences: whether rows of marks enclose blocks
    of code, as in Markdown. keeps_fields: whether those fields of the front matter that aren't
    metadata of the file become a section."""
    front = _front_matter(text)
    parts = _parts(text, front.end, has_fences)
    own = parts[1].title if len(parts) > 1 and parts[1].level == 1 and parts[0].is_blank else None
    kept = front.others if keeps_fields else ()
    return FileText(
        [*(_word_for_word(text, start, end) for start, end in kept), *_sections(text, parts)],
        front.fields.get("title") or own,
        front.fields.get("author"),
        front.fields.get("date"),
        front.fields.get("language", front.fields.get("lang")),
    )


@dataclass(frozen=True, slots=True)
class _FrontMatter:
    """The front matter of a text, a block of YAML. fields: the fields that are metadata of the
    file; others: the ranges of all other fields in the text; end: the position after the front
    matter."""

    fields: dict[str, str]
    others: tuple[tuple[int, int], ...]
    end: int


def _front_matter(text: str) -> _FrontMatter:
    """The front matter of a text, if it is a YAML object. If the lines between the two rows of
    "---" are no YAML object, they are part of the text."""
    none = _FrontMatter({}, (), 0)
    match = _FRONT_MATTER.match(text)
    if match is None:
        return none
    fields: dict[str, str] = {}
    others: list[tuple[int, int]] = []
    at, is_taken, key = match.start(1), False, ""
    for line in match[1].splitlines(keepends=True):
        plain = line.rstrip()
        is_note = plain[:1] in ("", "#")  # an empty line, or a comment
        if pair := _KEY.fullmatch(plain):
            key, value = pair[1], (pair[2] or "").strip()
            is_taken = key in _TAKEN and (
                key != "date" or DATE.fullmatch(_unquote(value)) is not None
            )
            if is_taken:
                fields[key] = "" if _FOLDED.fullmatch(value) else value
        elif not is_note and (not key or not _GOES_ON.match(plain)):
            return none
        elif is_taken and not is_note:
            fields[key] = f"{fields[key]} {plain.strip()}".strip()
        if plain and (is_note or not is_taken):
            goes_on = others and not text[others[-1][1] : at].strip()
            others[-1:] = [(others[-1][0], at + len(plain))] if goes_on else [
                *others[-1:], (at, at + len(plain))
            ]  # fmt: skip
        at += len(line)
    read = {name: _unquote(value) for name, value in fields.items() if value}
    return _FrontMatter(read, tuple(others), match.end()) if key else none


def _unquote(value: str) -> str:
    return value.strip().strip("\"'")


def _word_for_word(text: str, start: int, end: int) -> Section:
    return Section(text[start:end], (), None, start, end)


@dataclass(slots=True)
class _Part:
    """A heading and the lines below it, each with its start position. level: the level of the
    heading; 0 for the lines before the first heading."""

    level: int
    title: str
    start: int
    lines: list[tuple[int, str]] = field(default_factory=list)

    @property
    def is_blank(self) -> bool:
        return not any(line.strip() for _, line in self.lines)


def _parts(text: str, start: int, has_fences: bool) -> list[_Part]:
    """The parts of a text from `start` on, one for each heading. A part can be empty. has_fences:
    see `file_text_of`."""
    parts = [_Part(0, "", start)]
    code = CodeBlocks()  # in which "#" begins a comment
    rules: list[str] = []  # the underline characters of headings, the highest first
    at = start
    for line in text[start:].split("\n"):
        after = at + len(line) + 1
        is_code = has_fences and (code.goes_on(line) or code.is_open)
        heading, rule = (None, None) if is_code else (_HEADING.match(line), _RULE.fullmatch(line))
        may_be_shorter = rule is not None and has_fences and rule[1] in "=-"
        title = ""
        if rule:
            title = _take_underlined_heading(parts[-1].lines, line.strip(), may_be_shorter)
        if heading:
            parts.append(_Part(len(heading[1]), _without_closing(heading[2]), after))
        elif rule and title:
            if rule[1] not in rules:  # "-" is the second in Markdown, even without "="
                rules += [rule[1]] if rules or rule[1] != "-" else ["=", "-"]
            parts.append(_Part(rules.index(rule[1]) + 1, title, after))
        else:
            parts[-1].lines.append((at, line))
        at = after
    return parts


def _without_closing(title: str) -> str:
    """A heading without the "#" marks at its end."""
    title = title.rstrip()
    rest = title.rstrip("#")
    return rest.rstrip() if rest != title and rest.endswith((" ", "\t")) else title


def _take_underlined_heading(lines: list[tuple[int, str]], rule: str, may_be_shorter: bool) -> str:
    """Remove from the end of `lines` the heading that the row `rule` underlines, and return it; ""
    if there is no such heading. An equal row above the heading is removed, too. may_be_shorter:
    whether `rule` can be shorter than a heading that has no row above it, as in Markdown."""
    *above, title = ["", "", *(line for _, line in lines[-2:])][-2:]
    is_between, is_alone = above[0].strip() == rule, not above[0].strip()
    is_long_enough = len(title.rstrip()) <= len(rule)
    if not title.strip() or title.strip() == rule or _NO_TITLE.match(title):
        return ""
    if len(title.split()) > _LONGEST_TITLE:  # a paragraph above a rule between two
        return ""
    if not ((is_between or is_alone) and (is_long_enough or (is_alone and may_be_shorter))):
        return ""
    del lines[-2 if is_between else -1 :]
    return title.strip()


def _sections(text: str, parts: list[_Part]) -> Iterator[Section]:
    """The sections of the parts. A part without text is left out if it has no heading, or if
    subsections follow its heading."""
    path: list[tuple[int, str]] = []
    for i, part in enumerate(parts):
        following = parts[i + 1].level if i + 1 < len(parts) else 0
        if part.title:
            path = [heading for heading in path if heading[0] < part.level] + [
                (part.level, part.title)
            ]
        if part.is_blank and not (part.title and following <= part.level):
            continue
        start, end = _place(part)
        yield Section(text[start:end], tuple(title for _, title in path), None, start, end)


def _place(part: _Part) -> tuple[int, int]:
    """The start and end of a part's text, without surrounding white space."""
    full = [(at, line) for at, line in part.lines if line.strip()]
    if not full:
        return part.start, part.start
    (first, begins), (last, ends) = full[0], full[-1]
    return first + len(begins) - len(begins.lstrip()), last + len(ends.rstrip())
