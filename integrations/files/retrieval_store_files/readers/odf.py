"""Parses OpenDocument files, which are zips or flat XML. Finds the parts of a file, the names of
elements, and the styles.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers import DATE
from retrieval_store_files.readers.packed import PackedFile, all_text, local_name, xml_root

MAX_LEVEL = 10  # of headings
_URN = "urn:oasis:names:tc:opendocument:xmlns:"


def attribute(prefix: str, name: str) -> str:
    return f"{{{_URN}{prefix}:1.0}}{name}"


STYLE = attribute("text", "style-name")
CLASS = attribute("presentation", "class")
HREF = "{http://www.w3.org/1999/xlink}href"
_SVG = f"{{{_URN}svg-compatible:"
_DRAWING = f"{{{_URN}drawing:"
_SPACES = re.compile(r"[ \t\r\n]+")


@dataclass(slots=True)
class StylesOfText:
    """The styles of a document that readers need. parents: the parent of each style; numbered: the
    numbered levels of lists, as pairs of list style and level. outline: for each level of headings,
    how many numbers are shown, and the texts before and after the numbers."""

    parents: dict[str, str] = field(default_factory=dict)
    numbered: set[tuple[str, int]] = field(default_factory=set)
    outline: dict[int, tuple[int, str, str]] = field(default_factory=dict)
    unnumbered: set[str] = field(default_factory=set)  # styles of headings that show no number

    def add(self, root: Any) -> None:
        """Add all styles inside an element."""
        for element in root.iter(attribute("style", "style")):
            name, parent = (
                element.get(attribute("style", key)) for key in ("name", "parent-style-name")
            )
            if name and parent:
                self.parents.setdefault(name, parent)
            if name and element.get(attribute("style", "list-style-name")) == "":
                self.unnumbered.add(name)
        for element in root.iter(attribute("text", "outline-level-style")):
            if element.get(attribute("style", "num-format")) == "1":
                before, after = (
                    element.get(attribute("style", key)) or ""
                    for key in ("num-prefix", "num-suffix")
                )
                shown = count_of(element, attribute("text", "display-levels"), MAX_LEVEL)
                level = count_of(element, attribute("text", "level"), MAX_LEVEL)
                self.outline[level] = (shown, before, after)
        for element in root.iter(attribute("text", "list-level-style-number")):
            level, above = element.get(attribute("text", "level")), element.getparent()
            name = above.get(attribute("style", "name"))
            if name and level and level.isdigit():
                self.numbered.add((name, int(level)))

    def heading_number(self, heading: Any, counts: list[int]) -> str:
        """The number of a heading as text; "" if the heading has no number. counts: the number of
        headings so far on each level, from level 1; this call updates it."""
        level = count_of(heading, attribute("text", "outline-level"), MAX_LEVEL)
        is_listed = heading.get(attribute("text", "is-list-header")) != "true"
        if not is_listed or level not in self.outline or heading.get(STYLE) in self.unnumbered:
            return ""
        counts[level:] = [counts[level] + 1, *[0] * (MAX_LEVEL - level)]
        shown, before, after = self.outline[level]
        numbers = [str(count) for count in counts[max(1, level - shown + 1) : level + 1] if count]
        return f"{before}{'.'.join(numbers)}{after.strip()} "

    def is_title(self, paragraph: Any) -> bool:
        """Whether a paragraph has the style of the document's title, or a style derived from that
        style."""
        name = paragraph.get(STYLE)
        for _ in range(20):
            if name is None or name == "Title":
                return name is not None
            name = self.parents.get(name)
        return False


@dataclass(slots=True)
class DocumentParts:
    """The root elements of the content, styles and metadata of a document. In flat XML, all three
    are the same element. package: the zip that contains the document; None for flat XML."""

    content: Any
    styles: Any
    meta: Any
    package: PackedFile | None = None


def styles_of(parts: DocumentParts) -> StylesOfText:
    """The styles of a document. They are collected from its content and from its part for
    styles."""
    styles = StylesOfText()
    for root in (parts.content, parts.styles):
        if root is not None:
            styles.add(root)
    return styles


def parts_of(data: bytes) -> DocumentParts:
    """Parse a document into its parts. Raises DataLoaderError if the document is invalid or
    encrypted."""
    if not data.startswith(b"PK"):
        if not data[:100].lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0").startswith(b"<"):
            raise DataLoaderError("it isn't OpenDocument: it is neither a zip nor XML")
        root = xml_root(data, "the document")
        return DocumentParts(root, root, root)
    package = PackedFile(data, "OpenDocument")
    if "META-INF/manifest.xml" in package and b"encryption-data" in package.read(
        "META-INF/manifest.xml"
    ):
        raise DataLoaderError("it is encrypted, and requires a password")
    content = package.xml("content.xml")
    styles, meta = (
        package.xml(part) if part in package else None for part in ("styles.xml", "meta.xml")
    )
    return DocumentParts(content, styles, meta, package)


def metadata_of(root: Any) -> dict[str, Any]:
    """The metadata of a document, as keyword arguments for FileText."""
    texts: dict[str, str] = {}
    for element in () if root is None else root.iter(attribute("office", "meta")):
        for part in element:
            texts.setdefault(local_name(part), all_text(part))
    # LibreOffice writes nanoseconds, which ISO 8601 allows and Python's dates don't.
    date = (texts.get("date") or texts.get("creation-date") or "").partition(".")[0]
    return {
        "title": texts.get("title") or None,
        "author": texts.get("initial-creator") or texts.get("creator") or None,
        "date": date if DATE.fullmatch(date) else None,
        "language": texts.get("language") or None,
    }


def count_of(element: Any, name: str, most: int) -> int:
    """The number in an attribute of an element, limited to `most`; 1 if the attribute is missing or
    isn't a number."""
    text = element.get(name) or ""
    return min(max(int(text), 1), most) if text.isdecimal() and len(text) < 12 else 1


def is_shape(element: Any) -> bool:
    """Whether an element is a frame, a box or another shape."""
    return isinstance(element.tag, str) and element.tag.startswith(_DRAWING)


def is_label(element: Any) -> bool:
    """Whether an element is the description of a picture or a shape. (Other elements, such as
    fields, can have the same local name.)"""
    return isinstance(element.tag, str) and element.tag.startswith(_SVG)


def labels_of(element: Any) -> str:
    """The descriptions of a picture or a shape, which are meant for people who can't see it."""
    return "\n".join(all_text(part) for part in element if is_label(part)).strip()


def rows_of(table: Any) -> Iterator[Any]:
    """The rows of a table, including rows in groups. Rows of tables inside cells are left out."""
    for part in table:
        kind = local_name(part)
        if kind == "table-row":
            yield part
        elif kind in ("table-header-rows", "table-rows", "table-row-group"):
            yield from rows_of(part)


def equation_text(math: Any) -> str:
    """An equation in the syntax of the formula editor. If the file doesn't contain this syntax, the
    result is the symbols of the equation."""
    notes = [element for element in math.iter() if local_name(element) == "annotation"]
    if notes and all_text(notes[0]):
        return all_text(notes[0])
    return " ".join(filter(None, (str(text).strip() for text in math.itertext())))


def collapse_space(text: str | None) -> str:
    """A text in which each run of white space is one space; "" for None."""
    return _SPACES.sub(" ", text) if text else ""


def one_line(text: str) -> str:
    return " ".join(text.split())
