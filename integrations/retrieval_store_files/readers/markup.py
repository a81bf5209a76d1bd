"""Reads texts with headings: plain ones, Markdown, reStructuredText, and HTML.

Of a text as it stands each section is word for word what is in the file between two places. HTML is
written as Markdown: the main part of the page, without what leads through the site.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers import FileText, Section

_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_SAID = re.compile(r"^(title|author|date|lang|language):[ \t]*(\S.*)", re.MULTILINE)
_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)", re.DOTALL)
_RULE = re.compile(r"([=~^\"'*+-])\1{2,}\s*")
_FENCE = re.compile(r" {0,3}(```|~~~)")
DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8, without a byte order mark; DataLoaderError, else."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataLoaderError(f"it isn't a text in UTF-8: {error}") from error


def read_text(data: bytes, name: str) -> FileText:
    """A text by its headings, which may be those of Markdown or reStructuredText."""
    return file_text_of(decoded(data))


read_markdown = read_text


def read_rst(data: bytes, name: str) -> FileText:
    """reStructuredText, in which a row of "~" underlines a heading, and begins no code."""
    return file_text_of(decoded(data), has_fences=False)


def file_text_of(text: str, has_fences: bool = True) -> FileText:
    """A text by its headings. Its title is that of its front matter, a block of YAML between two
    lines of "---", which is left out; or else the heading that it begins with."""
    said, start = _front_matter(text)
    parts = _parts(text, start, has_fences)
    own = parts[1].title if len(parts) > 1 and parts[1].level == 1 and parts[0].is_blank else None
    return FileText(
        [*_sections(text, parts)],
        said.get("title") or own,
        said.get("author"),
        said["date"] if DATE.fullmatch(said.get("date", "")) else None,
        said.get("language", said.get("lang")),
    )


def _front_matter(text: str) -> tuple[dict[str, str], int]:
    """What the front matter says in plain lines, and where the text begins."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return {}, 0
    said = {key: value.strip().strip("\"'") for key, value in _SAID.findall(found[1])}
    return said, found.end()


@dataclass(slots=True)
class _Part:
    """A heading and the lines below it, each with the place that it begins at; level 0 before the
    first heading."""

    level: int
    title: str
    start: int
    lines: list[tuple[int, str]] = field(default_factory=list)

    @property
    def is_blank(self) -> bool:
        return not any(line.strip() for _, line in self.lines)


def _parts(text: str, start: int, has_fences: bool) -> list[_Part]:
    """The parts of a text, which may be empty."""
    parts = [_Part(0, "", start)]
    fence = ""  # by which a block of code is closed, in which "#" begins a comment
    rules: list[str] = []  # by which headings are underlined, the highest first
    at = start
    for line in text[start:].split("\n"):
        after = at + len(line) + 1
        mark = _FENCE.match(line) if has_fences else None
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        found, rule = (None, None) if fence else (_HEADING.match(line), _RULE.fullmatch(line))
        title = _take_underlined_heading(parts[-1].lines, line.rstrip()) if rule else ""
        if found:
            parts.append(_Part(len(found[1]), _without_closing(found[2]), after))
        elif rule and title:
            if rule[1] not in rules:  # "-" is the second in Markdown, also where it stands alone
                rules += [rule[1]] if rules or rule[1] != "-" else ["=", "-"]
            parts.append(_Part(rules.index(rule[1]) + 1, title, after))
        else:
            parts[-1].lines.append((at, line))
        at = after
    return parts


def _without_closing(title: str) -> str:
    """A heading without the "#" that may close it."""
    title = title.rstrip()
    rest = title.rstrip("#")
    return rest.rstrip() if rest != title and rest.endswith((" ", "\t")) else title


def _take_underlined_heading(lines: list[tuple[int, str]], rule: str) -> str:
    """Remove and return the heading at the end of `lines` that a rule underlines, with a rule above
    it; "" without one."""
    *above, title = ["", "", *(line for _, line in lines[-2:])][-2:]
    is_alone = above[0].strip() in ("", rule)
    if not title.strip() or len(title.rstrip()) > len(rule) or title == rule or not is_alone:
        return ""
    del lines[-2 if above[0] == rule else -1 :]
    return title.strip()


def _sections(text: str, parts: list[_Part]) -> Iterator[Section]:
    """The sections of the parts that have a text, or nothing below them but their heading."""
    path: list[tuple[int, str]] = []
    for i, part in enumerate(parts):
        following = parts[i + 1].level if i + 1 < len(parts) else 0
        if part.title:
            path = [one for one in path if one[0] < part.level] + [(part.level, part.title)]
        if part.is_blank and not (part.title and following <= part.level):
            continue
        start, end = _place(part)
        yield Section(text[start:end], tuple(title for _, title in path), None, start, end)


def _place(part: _Part) -> tuple[int, int]:
    """Where the text of a part begins and ends, without white space around it."""
    full = [(at, line) for at, line in part.lines if line.strip()]
    if not full:
        return part.start, part.start
    (first, begins), (last, ends) = full[0], full[-1]
    return first + len(begins) - len(begins.lstrip()), last + len(ends.rstrip())


def without_parents(sections: list[Section]) -> list[Section]:
    """The sections without those that are only a heading, of which the next ones have parts."""
    following = [*sections[1:], Section("")][: len(sections)]
    return [
        one
        for one, after in zip(sections, following, strict=True)
        if one.text or after.headings[: len(one.headings)] != one.headings
    ]


# HTML

_LEFT_OUT = [
    "script", "style", "noscript", "template", "nav", "aside", "button", "input", "select",
    "textarea", "iframe", "object", "embed", "svg", "canvas", "audio", "video", "head",
]  # fmt: skip
_ROLES = ("navigation", "banner", "contentinfo", "search", "complementary", "dialog")
_MAIN = ("//main", "//*[@role='main']", "//article")
_BLOCKS = frozenset([
    "address", "article", "blockquote", "center", "dd", "details", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "header", "hgroup", "hr", "li", "main", "ol",
    "p", "section", "summary", "ul", "body", "html", "tbody", "form",
])  # fmt: skip
_LEVELS = {f"h{level}": level for level in range(1, 7)}
_SPACE = re.compile(r"\s+")
_OF_PLACE = re.compile(r"[¶§#\uf0c1]")  # what links to a heading itself
_SCHEMES = ("http", "https", "mailto")
MAX_DEPTH = 200


def read_html(data: bytes, name: str) -> FileText:
    """The main part of a page as Markdown, with its links, lists, tables and blocks of code."""
    try:
        from lxml import html
    except ImportError as error:
        raise MissingDependencyError(
            'HTML needs lxml: pip install "retrieval-store[files]"'
        ) from error
    if not data.strip():
        return FileText()
    encoding = "utf-8" if _is_utf8(data) else None  # else what the page says
    parser = html.HTMLParser(
        encoding=encoding,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
        huge_tree=True,  # which allows 2,048 levels; this process bounds the rest
    )
    root = html.document_fromstring(data, parser=parser)
    if any(one.type_name == "ERR_RESOURCE_LIMIT" for one in parser.error_log):
        raise DataLoaderError("it isn't HTML that can be read: it is nested too deep, or too large")
    said = _said_in(root)
    for one in root.xpath("|".join(f"//{tag}" for tag in _LEFT_OUT)):
        _drop(one)
    for one in root.xpath("//*[@role or @hidden or @aria-hidden='true']"):
        if one.get("role") in _ROLES or one.get("hidden") is not None or one.get("aria-hidden"):
            _drop(one)
    for one in root.xpath("//body/header|//body/footer|//body/*/header|//body/*/footer"):
        if not one.xpath(".//h1"):
            _drop(one)
    sections = without_parents(_Page().sections(_main(root)))
    own = next((one.headings[0] for one in sections if one.headings), None)
    if own and (said["title"] is None or own in said["title"]):
        said["title"] = own  # without the name of the site
    return FileText(sections, **said)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _drop(element: Any) -> None:
    if element.getparent() is not None and element.tag not in ("html", "body"):
        element.drop_tree()


def _main(root: Any) -> Any:
    """The element that has the main part; the whole page where none says so, or several do."""
    for path in _MAIN:
        found = root.xpath(path)
        if len(found) == 1:
            return found[0]
    bodies = root.xpath("//body")
    return bodies[0] if bodies else root


def _said_in(root: Any) -> dict[str, Any]:
    def meta(*names: str) -> str | None:
        for name in names:
            for one in root.xpath("//meta[@content]"):
                if (one.get("name") or one.get("property") or "").lower() == name:
                    return _SPACE.sub(" ", one.get("content")).strip() or None
        return None

    titles = root.xpath("//title")
    title = _SPACE.sub(" ", titles[0].text_content()).strip() if titles else ""
    date = meta("date", "article:published_time", "dc.date", "dcterms.date", "last-modified") or ""
    return {
        "title": meta("og:title") or title or None,
        "author": meta("author", "article:author", "dc.creator"),
        "date": date if DATE.fullmatch(date) else None,
        "language": root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang"),
    }


class _Page:
    """Writes the elements of a page as Markdown, section after section."""

    def __init__(self) -> None:
        self._sections: list[Section] = []
        self._path: list[tuple[int, str]] = []
        self._blocks: list[str] = []
        self._line: list[str] = []
        self._prefix, self._depth = "", 0  # of a list item; of elements
        self._is_term = False  # whether the last block is a term, which what explains it follows
        self._bare = False  # whether the last heading has nothing below it yet

    def sections(self, root: Any) -> list[Section]:
        """The sections below an element."""
        self._walk(root)
        self._end_section()
        return self._sections

    def _walk(self, element: Any) -> None:
        tag = element.tag
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._line.append(element.text_content())
        elif tag in _LEVELS:
            self._heading(_LEVELS[tag], element)
        elif tag == "pre":
            self._end_block()
            code = element.text_content().strip("\n")
            if code.strip():
                fence = "````" if "```" in code else "```"
                self._blocks.append(f"{fence}\n{code}\n{fence}")
        elif tag == "table" and _is_of_data(element):
            self._end_block()
            self._blocks.append(markdown_table(_rows_of(element)))
        elif tag == "a":
            self._link(element)
        elif tag == "code":
            self._line.append(f"`{element.text_content()}`")
        elif tag == "br":
            self._line.append(" ")
        elif tag == "img":
            self._line.append(element.get("alt") or "")
        else:
            self._inside(element, tag)
        self._depth -= 1

    def _inside(self, element: Any, tag: Any) -> None:
        is_block = tag in _BLOCKS or tag in ("table", "tr", "td", "th")
        if is_block:
            self._end_block()
        before = self._prefix
        if tag == "li":
            parent = element.getparent()
            inner = "  " if before.strip() else before
            self._prefix = inner + ("1. " if parent is not None and parent.tag == "ol" else "- ")
        self._line.append(element.text or "")
        for child in element:
            if isinstance(child.tag, str):
                self._walk(child)
            self._line.append(child.tail or "")
        if is_block:
            self._end_block()
        self._is_term = tag == "dt" or (self._is_term and tag not in ("dd", "dl"))
        self._prefix = before

    def _heading(self, level: int, element: Any) -> None:
        self._end_section()
        title = _SPACE.sub(" ", _OF_PLACE.sub("", element.text_content())).strip()
        if title:
            self._path = [one for one in self._path if one[0] < level] + [(level, title)]
            self._bare = True

    def _link(self, element: Any) -> None:
        text = _SPACE.sub(" ", element.text_content()).strip()
        href = (element.get("href") or "").strip()
        if _OF_PLACE.fullmatch(text):
            return
        # Links within a site lead nowhere from a passage, and their addresses are no words.
        leads_out = _scheme(href) in _SCHEMES and href != text
        self._line.append(f"[{text}]({href})" if leads_out and text else text)

    def _end_block(self) -> None:
        text = _SPACE.sub(" ", "".join(self._line)).strip()
        self._line.clear()
        if not text:
            return
        shown = self._prefix + text
        is_item = self._prefix and self._blocks and self._blocks[-1].lstrip()[:2] in ("- ", "1.")
        if is_item or (self._is_term and self._blocks):
            self._blocks[-1] += f"\n{shown}"
        else:
            self._blocks.append(shown)
        self._is_term = False
        if self._prefix:  # what else the item has stands below it
            self._prefix = " " * len(self._prefix)

    def _end_section(self) -> None:
        self._end_block()
        text = "\n\n".join(one for one in self._blocks if one.strip())
        self._blocks.clear()
        if text or self._bare:
            self._sections.append(Section(text, tuple(title for _, title in self._path)))
        self._bare = False


def _scheme(href: str) -> str:
    try:
        return urlsplit(href).scheme.lower()
    except ValueError:
        return "wrong"


def _is_of_data(table: Any) -> bool:
    """Whether a table has rows of cells, and isn't there for the layout of the page."""
    rows = _rows_of(table)
    return not table.xpath(".//table") and len(rows) > 1 and max(map(len, rows)) > 1


def _rows_of(table: Any) -> list[list[str]]:
    return [
        [_words_of(cell) for cell in row.xpath("./td|./th")] for row in table.xpath("./tr|./*/tr")
    ]


def _words_of(cell: Any) -> str:
    """The text of a cell, with a space between the blocks in it."""
    for one in cell.iterdescendants(*_BLOCKS, "br", *_LEVELS, "pre"):
        one.text, one.tail = f" {one.text or ''}", f" {one.tail or ''}"
    return _SPACE.sub(" ", cell.text_content()).strip()


_WIDEST = 500  # columns that all rows are filled up to


def markdown_table(rows: list[list[str]]) -> str:
    """A table as Markdown has it, the first row as its header; "" for one without rows."""
    if not rows:
        return ""
    longest = max(map(len, rows))
    width = longest if longest <= _WIDEST else len(rows[0])
    lines = [
        "| " + " | ".join(_cell(one) for one in [*row, *[""] * (width - len(row))]) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


def _cell(text: str) -> str:
    return _SPACE.sub(" ", text).strip().replace("|", "\\|")
