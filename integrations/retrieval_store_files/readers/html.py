"""Reads HTML as Markdown: all that a browser shows, but for what leads through the site, which is
named, as is what is hidden."""

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers import DATE, FileText, Section, count_phrase, without_parents
from retrieval_store_files.readers.encodings import USUAL, decode
from retrieval_store_files.readers.markup import fenced
from retrieval_store_files.readers.tables import markdown_table, spread

_UNSEEN = [  # what no browser shows, or not as text
    "script", "style", "template", "audio", "video", "canvas", "head", "annotation",
    "annotation-xml", "datalist",
]  # fmt: skip
_NAVIGATION = "//nav|//*[@role='navigation']"
_HIDDEN = (
    "//*[@hidden or contains(translate(@style, ' ', ''), 'display:none')]|//dialog[not(@open)]"
)
_BLOCKS = frozenset([
    "address", "article", "aside", "blockquote", "caption", "center", "dd", "details", "dialog",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "header", "hgroup", "hr",
    "legend", "li", "main", "ol", "p", "section", "summary", "ul", "body", "html", "tbody", "form",
    "table", "tr", "td", "th", "thead", "tfoot", "optgroup", "menu", "dir",
])  # fmt: skip
_WITH_FOOTER = frozenset(["article", "section", "main", "blockquote", "figure", "li", "td"])
_LEVELS = {f"h{level}": level for level in range(1, 7)}
_SPACE = re.compile(r"\s+")
_OF_PLACE = re.compile(r"[¶§#\uf0c1]")  # what links to a heading itself
_SCHEMES = ("http", "https", "mailto")
_DECLARED = re.compile(rb"<meta[^>]*?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_IN_XML = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)")
# What browsers take these names for, by the standard of encodings (encoding.spec.whatwg.org).
_TAKEN_FOR = {
    "iso8859-1": USUAL, "ascii": USUAL, "iso8859-9": "cp1254", "tis-620": "cp874",
    "iso8859-11": "cp874", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932",
    "euc_kr": "cp949", "utf-16": "utf-8", "utf-16-le": "utf-8", "utf-16-be": "utf-8",
}  # fmt: skip
MAX_DEPTH = 200


def read_html(data: bytes, name: str) -> FileText:
    """A page as Markdown, with its links, lists, tables and blocks of code."""
    try:
        from lxml import etree, html
    except ImportError as error:
        raise MissingDependencyError(
            'HTML needs lxml: pip install "retrieval-store[files]"'
        ) from error
    text, guessed = decode(data, _declared_encoding(data))
    if not text.strip():
        return FileText()
    parser = html.HTMLParser(
        encoding="utf-8",
        no_network=True,
        remove_comments=True,
        remove_pis=True,
        huge_tree=True,  # which allows 2,048 levels; this process bounds the rest
    )
    try:
        root = html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except etree.ParserError:  # there is nothing but comments
        return FileText(gaps=guessed)
    if any(error.type_name == "ERR_RESOURCE_LIMIT" for error in parser.error_log):
        raise DataLoaderError("it isn't HTML that can be read: it is nested too deep, or too large")
    metadata = _metadata(root)
    gaps = [*guessed, *_remove_unread(root)]
    bodies = root.xpath("//body")
    sections = without_parents(_Page().sections(bodies[0] if bodies else root))
    first = next((section.headings[0] for section in sections if section.headings), None)
    if first and (metadata["title"] is None or first in metadata["title"]):
        metadata["title"] = first  # without the name of the site
    return FileText(sections, **metadata, gaps=tuple(gaps))


def _declared_encoding(data: bytes) -> str | None:
    """The encoding that a page says it is in, as browsers take it; None where it says none that
    there is."""
    match = _DECLARED.search(data[:4_096]) or _IN_XML.match(data)
    try:
        name = codecs.lookup(match[1].decode()).name if match else None
    except LookupError:
        return None
    return None if name is None else _TAKEN_FOR.get(name, name)


def _remove_unread(root: Any) -> Iterator[str]:
    """Remove what isn't read, and name it where a reader of the page might miss it."""
    for element in root.xpath("|".join(f"//{tag}" for tag in _UNSEEN)):
        _drop(element)
    hidden = _outermost(root.xpath(_HIDDEN))
    count = sum(map(_word_count, hidden))
    if count and 2 * count <= _word_count(root):  # else a script shows it
        yield from count_phrase(count, "word that is hidden", "words that are hidden")
        for element in hidden:
            _drop(element)
    ways = _outermost(filter(_leads_elsewhere, root.xpath(_NAVIGATION)))
    count = sum(map(_word_count, ways))
    yield from count_phrase(count, "word of navigation", "words of navigation")
    frames = root.xpath("//iframe")
    yield from count_phrase(len(frames), "embedded page")
    for element in (*ways, *frames):
        _drop(element)


def _drop(element: Any) -> None:
    if element.getparent() is not None and element.tag not in ("html", "body"):
        element.drop_tree()


def _word_count(element: Any) -> int:
    return len(" ".join(element.itertext()).split())


def _outermost(elements: Iterable[Any]) -> list[Any]:
    """Those of the elements that lie in none of them."""
    every = [*elements]
    dropped = {*every}
    return [element for element in every if dropped.isdisjoint(element.iterancestors())]


def _leads_elsewhere(element: Any) -> bool:
    """Whether navigation is what it says: pages that forget to close it have their text in it."""
    linked = sum(_word_count(link) for link in element.iter("a"))
    return 2 * linked >= _word_count(element)


def _metadata(root: Any) -> dict[str, Any]:
    def meta(*names: str) -> str | None:
        for name in names:
            for element in root.xpath("//meta[@content]"):
                if (element.get("name") or element.get("property") or "").lower() == name:
                    return _plain(element.get("content")) or None
        return None

    titles = root.xpath("//head//title|//html/title|//body/title")
    title = _plain(titles[0].text_content()) if titles else ""
    date = meta("date", "article:published_time", "dc.date", "dcterms.date", "last-modified") or ""
    return {
        "title": meta("og:title") or title or None,
        "author": meta("author", "article:author", "dc.creator"),
        "date": date if DATE.fullmatch(date) else None,
        "language": root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang"),
    }


def _plain(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


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
        self._items: dict[Any, int] = {}  # of lists with numbers: how many items were read

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
            self._code(element)
        elif tag == "table" and _is_of_data(element):
            self._table(element)
        elif tag == "a":
            self._link(element)
        elif tag == "code":
            self._line.append(f"`{words_of(element)}`")
        elif tag in _SHOWN:
            self._line.append(_SHOWN[tag](element))
        elif tag == "main" or element.get("role") == "main" or _is_of_page(element):
            self._part(element, tag)
        else:
            self._inside(element, tag)
        self._depth -= 1

    def _part(self, element: Any, tag: Any) -> None:
        """The main part of a page, or its footer: what stands around it is no part of its
        sections, so that passages of the text say what it says, and no more."""
        self._end_section()
        if tag == "footer":
            self._path = []
        self._inside(element, tag)
        self._end_section()
        self._path = []

    def _code(self, element: Any) -> None:
        self._end_block()
        for line_break in element.iterdescendants("br"):
            line_break.text = "\n"
        for line in element.iterdescendants("div", "p", "li"):
            if not line.text_content().endswith("\n") and not (line.tail or "").startswith("\n"):
                line.tail = f"\n{line.tail or ''}"
        code = element.text_content().strip("\n")
        if code.strip():
            self._blocks.append(fenced(code))

    def _table(self, element: Any) -> None:
        self._end_block()
        for part in element.xpath("./*[not(self::tr or .//tr)]"):  # its caption, and what strays
            self._inside(part, "caption")
        self._blocks.append(markdown_table(_rows_of(element)))

    def _inside(self, element: Any, tag: Any) -> None:
        is_block = tag in _BLOCKS
        if is_block:
            self._end_block()
        before = self._prefix
        if tag == "li":
            inner = "  " if before.strip() else before
            self._prefix = inner + self._mark_of(element)
        self._line.append(element.text or "")
        for child in element:
            if isinstance(child.tag, str):
                self._walk(child)
            self._line.append(child.tail or "")
        if is_block:
            self._end_block()
        self._is_term = tag == "dt" or (self._is_term and tag not in ("dd", "dl"))
        self._prefix = before

    def _mark_of(self, item: Any) -> str:
        """What stands before the next item of a list: its number, or "-"."""
        parent = item.getparent()
        if parent is None or parent.tag != "ol":
            return "- "
        before = self._items.get(parent, 0)
        self._items[parent] = before + 1
        return f"{_whole(item.get('value'), _whole(parent.get('start'), 1) + before)}. "

    def _heading(self, level: int, element: Any) -> None:
        self._end_section()
        for link in element.xpath(".//a"):
            if _OF_PLACE.fullmatch(_plain(link.text_content())):
                link.drop_tree()
        title = words_of(element)
        if title:
            self._path = [above for above in self._path if above[0] < level] + [(level, title)]
            self._bare = True

    def _link(self, element: Any) -> None:
        if any(child.tag in _BLOCKS or child.tag in _LEVELS for child in element.iterdescendants()):
            self._inside(element, "div")
            return
        text = words_of(element)
        href = (element.get("href") or "").strip()
        if _OF_PLACE.fullmatch(text):
            return
        # Links within a site lead nowhere from a passage, and their addresses are no words.
        leads_out = _scheme(href) in _SCHEMES and href != text
        around = element.text_content() if len(element) else element.text or ""
        lead = " " if around[:1].isspace() else ""
        end = " " if around[-1:].isspace() else ""
        self._line.append(
            f"{lead}[{text}]({href}){end}" if leads_out and text else lead + text + end
        )

    def _end_block(self) -> None:
        text = _plain("".join(self._line))
        self._line.clear()
        if not text:
            return
        shown = self._prefix + text
        is_item = self._prefix and self._blocks and _is_item(self._blocks[-1])
        if is_item or (self._is_term and self._blocks):
            self._blocks[-1] += f"\n{shown}"
        else:
            self._blocks.append(shown)
        self._is_term = False
        if self._prefix:  # what else the item has stands below it
            self._prefix = " " * len(self._prefix)

    def _end_section(self) -> None:
        self._end_block()
        text = "\n\n".join(block for block in self._blocks if block.strip())
        self._blocks.clear()
        if text or self._bare:
            self._sections.append(Section(text, tuple(title for _, title in self._path)))
        self._bare = False


def _is_of_page(element: Any) -> bool:
    """Whether a footer is that of the page, and not of an article in it."""
    return element.tag == "footer" and not any(
        parent.tag in _WITH_FOOTER for parent in element.iterancestors()
    )


def _is_item(block: str) -> bool:
    return re.match(r"\s*(?:-|\d+\.) ", block) is not None


def _whole(number: str | None, default: int) -> int:
    return int(number) if number and re.fullmatch(r"-?\d{1,9}", number) else default


def _input_text(element: Any) -> str:
    """What a field of a form shows."""
    kind = (element.get("type") or "text").lower()
    if kind in ("hidden", "checkbox", "radio", "password", "file", "image", "color", "range"):
        return f" {element.get('alt') or ''} "
    return f" {element.get('value') or element.get('placeholder') or ''} "


def _choice_text(element: Any) -> str:
    """The choices of a field of a form."""
    labels = [_plain(option.text_content()) or option.get("label") or "" for option in
              element.iterdescendants("option")]  # fmt: skip
    return f" {', '.join(filter(None, labels))} "


def _svg_text(element: Any) -> str:
    texts = (_plain("".join(text.itertext())) for text in element.iter("text"))
    return f" {' '.join(texts)} "


_SHOWN = {
    "br": lambda element: " ",
    "img": lambda element: f" {element.get('alt') or ''} ",
    "area": lambda element: f" {element.get('alt') or ''} ",
    "input": _input_text,
    "select": _choice_text,
    "textarea": lambda element: f" {element.text_content() or element.get('placeholder') or ''} ",
    "button": lambda element: f" {words_of(element)} ",
    "svg": _svg_text,
}


def _scheme(href: str) -> str:
    try:
        return urlsplit(href).scheme.lower()
    except ValueError:
        return "wrong"


def _is_of_data(table: Any) -> bool:
    """Whether a table has rows of cells, and isn't there for the layout of the page."""
    cells = [len(row.xpath("./td|./th")) for row in _row_elements(table)]
    return not table.xpath(".//table") and len(cells) > 1 and max(cells) > 1


def _row_elements(table: Any) -> list[Any]:
    """Its rows, wherever they stand in it: one of data has no other table within."""
    return [*table.iter("tr")]


def _rows_of(table: Any) -> list[list[str]]:
    """The rows of a table, in which a cell that takes several places is in each of them."""
    rows = (
        [
            (words_of(cell), _whole(cell.get("colspan"), 1), _whole(cell.get("rowspan"), 1))
            for cell in row.xpath("./td|./th")
        ]
        for row in _row_elements(table)
    )
    return spread(rows)


def words_of(element: Any) -> str:
    """The text of an element in one line, with a space between the blocks in it, and with what
    pictures and fields show."""
    if not len(element):
        return _plain(element.text or "")
    pieces: list[str] = []
    waiting: list[Any] = [element]
    while waiting:  # without recursion, for a file may nest them
        part = waiting.pop()
        if isinstance(part, str):
            pieces.append(part)
        elif part is not element and part.tag in _SHOWN and part.tag != "button":
            pieces.append(_SHOWN[part.tag](part))
        else:
            waiting += reversed([*_parts_of(part)])
    return _plain("".join(pieces))


def _parts_of(element: Any) -> Iterator[Any]:
    """The texts and elements that an element has, with spaces around those of a block."""
    space = " " if element.tag in _BLOCKS or element.tag in _LEVELS or element.tag == "pre" else ""
    yield space + (element.text or "")
    for child in element:
        if isinstance(child.tag, str):
            yield child
        yield child.tail or ""
    yield space
