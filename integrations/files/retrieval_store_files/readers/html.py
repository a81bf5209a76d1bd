"""Reads HTML as Markdown: everything that a browser shows, except navigation. Navigation and hidden
content are named as gaps."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers import (
    DATE,
    FileText,
    Section,
    count_phrase,
    few,
    without_parents,
)
from retrieval_store_files.readers.declared import label_in_page
from retrieval_store_files.readers.elements import Element, html_elements, xml_elements
from retrieval_store_files.readers.encodings import decode
from retrieval_store_files.readers.entities import Entities
from retrieval_store_files.readers.markup import fenced
from retrieval_store_files.readers.packed import xml_root
from retrieval_store_files.readers.tables import markdown_table, spread

# Elements that browsers don't show, or only as a fallback; and their names in gaps.
_UNSEEN = {
    "template": ("word of a template", "words of templates"),
    "datalist": ("word that a field suggests", "words that fields suggest"),
    "annotation": ("word of a formula's source", "words of formulas' sources"),
    "metadata": ("word of a drawing's metadata", "words of drawings' metadata"),
    "media": ("word in place of a medium", "words in place of media"),
}
_SAME_AS = {
    "annotation-xml": "annotation", "audio": "media", "video": "media", "canvas": "media",
    "noembed": "media",
}  # fmt: skip
_FRAMES = frozenset(["iframe", "frame"])
_REMOVED = frozenset([*_UNSEEN, *_SAME_AS, *_FRAMES])
_BLOCKS = frozenset([
    "address", "article", "aside", "blockquote", "caption", "center", "dd", "details", "dialog",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "header", "hgroup", "hr",
    "legend", "li", "main", "ol", "p", "section", "summary", "ul", "body", "html", "tbody", "form",
    "table", "tr", "td", "th", "thead", "tfoot", "optgroup", "menu", "dir", "nav", "search",
    "noframes",
])  # fmt: skip
_WITH_FOOTER = frozenset(["article", "section", "main", "blockquote", "figure", "li", "td"])
_LEVELS = {f"h{level}": level for level in range(1, 7)}
_LONGEST_HEADING = 60  # words: a longer element has the text of a page that forgot to close it
_SPACED = frozenset(["title", "desc", "text", "foreignObject"])  # the labels of a drawing
_PREFORMATTED = frozenset(["pre", "listing", "xmp", "plaintext"])
_LINES = frozenset(["div", "p", "li"])  # each of which is a line, in code
_GROUPS = frozenset(["thead", "tbody", "tfoot"])
_OF_ROWS = frozenset([*_GROUPS, "tr", "td", "th"])
_SPACE = re.compile(r"\s+")
_OF_PLACE = re.compile(r"[¶§#\uf0c1]")  # what links to a heading itself
_XHTML = (".xhtml", ".xht")
_SCHEMES = ("http", "https", "mailto")
MAX_DEPTH = 200


def read_html(data: bytes, name: str) -> FileText:
    """Read an HTML page as Markdown, with its links, lists, tables and blocks of code."""
    page, guessed = _xhtml_of(data) if name.lower().endswith(_XHTML) else page_of(data)
    file = file_text_of_page(page)
    return replace(file, gaps=(*guessed, *file.gaps))


def _xhtml_of(data: bytes) -> tuple[Element, tuple[str, ...]]:
    """Parse an XHTML page. Returns the root element, and a tuple of gaps, in which a guessed
    encoding is noted. A page that isn't well-formed XML is parsed as HTML."""
    try:
        root = xml_root(data, "the page")
    except DataLoaderError:
        return page_of(data)
    return xml_elements(root), ()


def page_of(data: bytes) -> tuple[Element, tuple[str, ...]]:
    """Parse an HTML page. Returns the root element, and a tuple of gaps, in which a guessed
    encoding is noted."""
    text, guessed = decode(data, label_in_page(data))
    entities = Entities(text)
    if entities.end:  # for XHTML; HTML parsers ignore declarations in a DOCTYPE
        text = entities.expand(text[entities.end :])
        guessed = (*guessed, *few(entities.gaps))
    return html_elements(text), guessed


def file_text_of_page(page: Element) -> FileText:
    """The text of a page, from its root element. Elements that aren't read are removed from the
    page."""
    metadata = _metadata(page)
    gaps = [*_remove_unread(page)]
    sections = without_parents(_Page().sections(page))
    first = next((section.headings[0] for section in sections if section.headings), None)
    if first and (metadata["title"] is None or first in metadata["title"]):
        metadata["title"] = first  # without the name of the site
    return FileText(sections, **metadata, gaps=tuple(gaps))


def _remove_unread(page: Element) -> Iterator[str]:
    """Remove the elements that aren't read, such as frames and hidden content. For each kind of
    removed content, yield a description that becomes a gap."""
    unseen = _outermost(page, lambda element: element.tag in _REMOVED)
    counts: Counter[str] = Counter()
    for element in unseen:
        kind = "frame" if element.tag in _FRAMES else _SAME_AS.get(element.tag, element.tag)
        counts[kind] += 1 if kind == "frame" else _word_count(element)
        element.take_out()
    for part in _elements_of(page):
        if part.tag == "head":
            part.take_out()
    hidden = _outermost(page, _is_hidden)
    count = sum(map(_word_count, hidden))
    if count and 2 * count <= _word_count(page):  # otherwise a script shows it
        yield from count_phrase(count, "word that is hidden", "words that are hidden")
        for element in hidden:
            element.take_out()
    ways = [way for way in _outermost(page, _is_navigation) if _leads_elsewhere(way)]
    count = sum(map(_word_count, ways))
    yield from count_phrase(count, "word of navigation", "words of navigation")
    for way in ways:
        way.take_out()
    for kind, phrases in _UNSEEN.items():
        yield from count_phrase(counts[kind], *phrases)
    yield from count_phrase(counts["frame"], "embedded page")


def _outermost(page: Element, is_one: Callable[[Element], bool]) -> list[Element]:
    """The elements of a page for which `is_one` returns True. An element inside another element of
    this list is left out."""
    found: list[Element] = []
    waiting = [page]
    while waiting:
        for child in waiting.pop().children:
            if not isinstance(child, str):
                (found if is_one(child) else waiting).append(child)
    return found


def _is_hidden(element: Element) -> bool:
    attributes = element.attributes
    if element.tag == "dialog":
        return "open" not in attributes
    return bool(attributes) and (
        "hidden" in attributes
        or ("style" in attributes and "display:none" in element.get("style").replace(" ", ""))
    )


def _is_navigation(element: Element) -> bool:
    is_called = element.attributes.get("role") == "navigation" and element.tag != "body"
    return element.tag == "nav" or is_called


def _word_count(element: Element) -> int:
    return len(" ".join(element.texts()).split())


def _leads_elsewhere(element: Element) -> bool:
    """Whether at least half of the words in an element are links, so that the element contains only
    navigation. (If a page doesn't close a navigation element, the element also contains the text of
    the page.)"""
    linked = sum(_word_count(link) for link in element.elements() if link.tag == "a")
    return 2 * linked >= _word_count(element)


def _metadata(page: Element) -> dict[str, Any]:
    known: dict[str, str] = {}
    for element in _outermost(page, lambda element: element.tag == "meta"):
        name = (element.get("name") or element.get("property")).lower()
        if content := _plain(element.get("content")):
            known.setdefault(name, content)

    def meta(*names: str) -> str | None:
        return next((known[name] for name in names if name in known), None)

    date = meta("date", "article:published_time", "dc.date", "dcterms.date", "last-modified") or ""
    return {
        "title": meta("og:title") or _title(page) or None,
        "author": meta("author", "article:author", "dc.creator"),
        "date": date if DATE.fullmatch(date) else None,
        "language": page.get("lang") or page.get("xml:lang") or None,
    }


def _title(page: Element) -> str:
    """The titles of a page, joined in one text; "" if there is no title. If the head has no titles,
    those at the beginning of the body are used."""
    for part in (page, *_elements_of(page)):
        titles = ("".join(child.texts()) for child in _elements_of(part) if child.tag == "title")
        if title := " – ".join(dict.fromkeys(filter(None, map(_plain, titles)))):
            return title
    return ""


def _plain(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


class _Page:
    """Converts the elements of a page to sections of Markdown."""

    def __init__(self) -> None:
        self._sections: list[Section] = []
        self._path: list[tuple[int, str]] = []
        self._blocks: list[str] = []
        self._line: list[str] = []
        self._prefix = ""  # of a list item
        self._above: list[Element] = []  # the current element and its ancestors
        self._is_term = False  # whether the last block is a term, whose definition follows
        self._bare = False  # whether the last heading still has no content
        self._items: dict[Element, int] = {}  # of numbered lists: how many items were read

    def sections(self, root: Element) -> list[Section]:
        """Convert the content of an element to sections."""
        self._walk(root)
        self._end_section()
        return self._sections

    def _walk(self, element: Element) -> None:
        tag = element.tag
        self._above.append(element)
        if len(self._above) > MAX_DEPTH:
            self._line.append(f" {words_of(element)} ")
        elif tag in _LEVELS:
            self._heading(_LEVELS[tag], element)
        elif tag in _PREFORMATTED:
            self._code(element)
        elif tag == "table" and _is_of_data(element):
            self._table(element)
        elif tag == "a":
            self._link(element)
        elif tag == "code":
            self._line.append(f"`{words_of(element)}`")
        elif tag in _SHOWN:
            self._line.append(_SHOWN[tag](element))
        elif tag == "main" or element.attributes.get("role") == "main" or self._is_of_page(element):
            self._part(element, tag)
        else:
            self._inside(element, tag)
        self._above.pop()

    def _is_of_page(self, element: Element) -> bool:
        """Whether an element is the footer of the whole page, and not of an article in it."""
        return element.tag == "footer" and not any(
            parent.tag in _WITH_FOOTER for parent in self._above[:-1]
        )

    def _part(self, element: Element, tag: str) -> None:
        """Add the main part or the footer of a page as separate sections. The text before and after
        this element goes into other sections, so that no passage mixes these texts."""
        self._end_section()
        if tag == "footer":
            self._path = []
        self._inside(element, tag)
        self._end_section()
        self._path = []

    def _code(self, element: Element) -> None:
        self._end_block()
        code = _lines_of(element).strip("\n")
        if code.strip():
            self._blocks.append(fenced(code))

    def _table(self, element: Element) -> None:
        self._end_block()
        for part in _outside_of_cells(element):  # its caption, and stray content
            self._inside(Element("caption", {}, [part]), "caption")
        self._blocks.append(markdown_table(_rows_of(element)))

    def _inside(self, element: Element, tag: str) -> None:
        is_block = tag in _BLOCKS
        if is_block:
            self._end_block()
        before = self._prefix
        if tag == "li":
            inner = "  " if before.strip() else before
            self._prefix = inner + self._mark_of(element)
        space = _space_around(element)
        self._line.append(space)
        for child in element.children:
            if isinstance(child, str):
                self._line.append(child)
            else:
                self._walk(child)
        self._line.append(space)
        if is_block:
            self._end_block()
        self._is_term = tag == "dt" or (self._is_term and tag not in ("dd", "dl"))
        self._prefix = before

    def _mark_of(self, item: Element) -> str:
        """The mark of a list item: its number, or "-"."""
        parent = self._above[-2]
        if parent.tag != "ol":
            return "- "
        before = self._items.get(parent, 0)
        self._items[parent] = before + 1
        return f"{_whole(item.get('value'), _whole(parent.get('start'), 1) + before)}. "

    def _heading(self, level: int, element: Element) -> None:
        title = words_of(element)
        if len(title.split()) > _LONGEST_HEADING:
            self._inside(element, "div")
            return
        self._end_section()
        for link in element.elements():
            if link.tag == "a" and _OF_PLACE.fullmatch(_plain("".join(link.texts()))):
                link.take_out()
                title = words_of(element)
        if title:
            self._path = [above for above in self._path if above[0] < level] + [(level, title)]
            self._bare = True

    def _link(self, element: Element) -> None:
        if any(inner.tag in _BLOCKS or inner.tag in _LEVELS for inner in element.elements()):
            self._inside(element, "div")
            return
        text = words_of(element)
        href = element.get("href").strip()
        if _OF_PLACE.fullmatch(text):
            return
        # Links within a site are useless in a passage, and their addresses aren't words.
        leads_out = _scheme(href) in _SCHEMES and href != text
        around = "".join(element.texts())
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
        if self._prefix:  # the item's other content follows below
            self._prefix = " " * len(self._prefix)

    def _end_section(self) -> None:
        self._end_block()
        text = "\n\n".join(block for block in self._blocks if block.strip())
        self._blocks.clear()
        if text or self._bare:
            self._sections.append(Section(text, tuple(title for _, title in self._path)))
        self._bare = False


def _is_item(block: str) -> bool:
    return re.match(r"\s*(?:-|\d+\.) ", block) is not None


def _whole(number: str, default: int) -> int:
    return int(number) if re.fullmatch(r"-?\d{1,9}", number) else default


def _lines_of(element: Element) -> str:
    """The text of an element with its white space unchanged. Line breaks are added at <br> and
    between blocks."""
    pieces: list[str] = []
    waiting: list[Element | str | None] = [element]  # None for the end of a block
    is_ended = False
    while waiting:
        part = waiting.pop()
        if part is None:
            is_ended = bool(pieces) and not pieces[-1].endswith("\n")
        elif isinstance(part, str):
            if part:
                pieces.append("\n" + part if is_ended and part[0] != "\n" else part)
                is_ended = False
        elif part.tag == "br":
            waiting.append("\n")
        elif part.tag in _SHOWN and part.tag != "button":
            waiting.append(_SHOWN[part.tag](part))
        else:
            if part.tag in _LINES:
                waiting.append(None)
            waiting += reversed(part.children)
    return "".join(pieces)


def _input_text(element: Element) -> str:
    """The text that a form field displays."""
    kind = (element.get("type") or "text").lower()
    if kind in ("hidden", "checkbox", "radio", "password", "file", "image", "color", "range"):
        return f" {element.get('alt')} "
    return f" {element.get('value') or element.get('placeholder')} "


def _choice_text(element: Element) -> str:
    """The options of a selection list, with the names of their groups."""
    return f" {', '.join(filter(None, map(_plain, _choices(element))))} "


def _choices(element: Element) -> Iterator[str]:
    waiting: list[Element | str] = [element]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif part.tag == "option":
            label, text = part.get("label"), _plain("".join(part.texts()))
            yield label if text in label else text if label in text else f"{label} {text}"
        else:
            yield part.get("label")
            waiting += reversed(part.children)


def _text_or_placeholder(element: Element) -> str:
    return f" {''.join(element.texts()) or element.get('placeholder')} "


_SHOWN: dict[str, Callable[[Element], str]] = {
    "br": lambda element: " ",
    "img": lambda element: f" {element.get('alt')} ",
    "area": lambda element: f" {element.get('alt')} ",
    "input": _input_text,
    "select": _choice_text,
    "textarea": _text_or_placeholder,
    "button": lambda element: f" {words_of(element)} ",
}


def _scheme(href: str) -> str:
    try:
        return urlsplit(href).scheme.lower()
    except ValueError:
        return "wrong"


def _is_of_data(table: Element) -> bool:
    """Whether a table contains rows of data, and isn't only used for the layout of the page."""
    cells = [len(_cells_of(row)) for row in _row_elements(table)]
    if len(cells) < 2 or max(cells) < 2:
        return False
    return not any(inner.tag == "table" for inner in table.elements())


def _row_elements(table: Element) -> list[Element]:
    """The rows of a table, including rows in groups such as <tbody>."""
    rows: list[Element] = []
    for part in _elements_of(table):
        rows += [part] if part.tag == "tr" else _elements_of(part) if part.tag in _GROUPS else []
    return [row for row in rows if row.tag == "tr"]


def _elements_of(element: Element) -> list[Element]:
    return [child for child in element.children if not isinstance(child, str)]


def _cells_of(row: Element) -> list[Element]:
    return [cell for cell in _elements_of(row) if cell.tag in ("td", "th")]


def _outside_of_cells(table: Element) -> Iterator[Element | str]:
    """The content of a table that is in no cell, such as its caption."""
    waiting = [table]
    while waiting:
        for part in waiting.pop().children:
            if isinstance(part, str) or part.tag not in _OF_ROWS:
                yield part
            elif part.tag not in ("td", "th"):
                waiting.append(part)


def _rows_of(table: Element) -> list[list[str]]:
    """The rows of a table, each as a list of the texts of its cells. A cell that spans several
    positions is repeated in each position."""
    rows = (
        [
            (words_of(cell), _whole(cell.get("colspan"), 1), _whole(cell.get("rowspan"), 1))
            for cell in _cells_of(row)
        ]
        for row in _row_elements(table)
    )
    return spread(rows)


def words_of(element: Element) -> str:
    """The text of an element in one line, with a space between blocks. The texts of pictures and
    form fields inside the element are included."""
    children = element.children
    if len(children) == 1 and isinstance(children[0], str):
        return _plain(children[0])
    pieces: list[str] = []
    waiting: list[Element | str] = [element]
    while waiting:  # not recursive, since a file may nest them deeply
        part = waiting.pop()
        if isinstance(part, str):
            pieces.append(part)
        elif part is not element and part.tag in _SHOWN and part.tag != "button":
            pieces.append(_SHOWN[part.tag](part))
        else:
            space = _space_around(part)
            waiting += (space, *reversed(part.children), space)
    return _plain("".join(pieces))


def _space_around(element: Element) -> str:
    tag = element.tag
    is_apart = (
        tag in _BLOCKS
        or tag in _LEVELS
        or tag in _PREFORMATTED
        or tag in _SPACED
        or (tag == "tspan" and "x" in element.attributes)  # a line of a label
    )
    return " " if is_apart else ""
