"""Reads Word documents with python-docx: the body with its notes and comments, headers and footers,
equations, charts and diagrams.
"""

import re
from collections.abc import Iterator
from typing import Any

from retrieval_store_files.readers import FileText, Section, count_phrase, without_parents
from retrieval_store_files.readers.office import (
    CHART,
    DIAGRAM,
    EQUATION,
    FALLBACK,
    RELATED,
    chart_text,
    drawing_text,
    elements,
    equation,
    missing,
    office_metadata,
    open_by,
    open_office,
    parse_xml,
    reading,
)
from retrieval_store_files.readers.tables import markdown_table

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_PARAGRAPH, _TABLE, _ROW, _CELL, _TEXT = (
    f"{_WORD}{name}" for name in ("p", "tbl", "tr", "tc", "t")
)
_PROPERTIES, _MERGE, _SPAN = (f"{_WORD}{name}" for name in ("tcPr", "vMerge", "gridSpan"))
_BEFORE = f"{_WORD}trPr/{_WORD}gridBefore"
_PICTURE = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}docPr"
_OLD_PICTURE = "{urn:schemas-microsoft-com:vml}shape"
_OBJECT = "{urn:schemas-microsoft-com:office:office}OLEObject"
_MARKS = {
    f"{_WORD}tab": "\t", f"{_WORD}ptab": "\t", f"{_WORD}br": "\n", f"{_WORD}cr": "\n",
    f"{_WORD}noBreakHyphen": "-",
}  # fmt: skip
_NO_TEXT = frozenset([
    *(f"{_WORD}{name}" for name in ("del", "moveFrom", "pPr", "rPr", "instrText", "sdtPr")),
    FALLBACK,
])  # fmt: skip
_NOTES = {  # the reference to a note, and the part of the document that contains it
    f"{_WORD}footnoteReference": "footnotes",
    f"{_WORD}endnoteReference": "endnotes",
    f"{_WORD}commentReference": "comments",
}
_DRAWN = {CHART: "id", DIAGRAM: "dm"}  # the drawing of a part, and the attribute that names it

_WITH_MACROS = "application/vnd.ms-word.document.macroEnabled.main+xml"
_IN_TEXT = frozenset([_TEXT, *_MARKS, *_DRAWN, _PARAGRAPH, EQUATION, _PICTURE])


def read_docx(data: bytes, name: str) -> FileText:
    """Read a Word document with its lists and tables, and split it at its headings. All tracked
    changes count as accepted."""
    try:
        import docx
    except ImportError as error:
        raise missing("Word", "python-docx", error) from error
    packed = open_office(data)
    with reading("a document of Word", packed):
        packed, document = open_by(packed, lambda stream: _open(docx, stream))
        reader = _Document(document)
        sections = without_parents(reader.sections())
        metadata = office_metadata(packed, document.core_properties)
        return FileText(sections, **metadata, gaps=tuple(reader.gaps()))


def _open(docx: Any, stream: Any) -> Any:
    """Open a document with or without macros. python-docx alone refuses documents with macros."""
    docx.opc.part.PartFactory.part_type_for[_WITH_MACROS] = docx.parts.document.DocumentPart
    return docx.package.Package.open(stream).main_document_part.document


class _Document:
    """Reads the sections of a Word document."""

    def __init__(self, document: Any) -> None:
        self._part, self._body = document.part, document.element.body
        self._styles = _Styles(document)
        relations = [each for each in document.part.rels.values() if not each.is_external]
        self._parts = {each.rId: each.target_part for each in relations}
        self._kinds: dict[str, list[Any]] = {}
        for each in relations:
            kind = each.reltype.rpartition("/")[2]
            self._kinds.setdefault(kind, []).append(each.target_part)
        self._has_old_pictures = next(self._body.iter(_OLD_PICTURE), None) is not None
        self._drawn: set[str] = set()  # names of the parts that were read at their references
        self._notes = {
            (kind, note.get(f"{_WORD}id")): text
            for kind in _NOTES.values()
            for root in self._roots(kind)
            for note in root
            if (text := self._note(kind, note))
        }

    def _roots(self, kind: str) -> list[Any]:
        return [_root_of(part) for part in self._kinds.get(kind, ())]

    def _note(self, kind: str, note: Any) -> str:
        """The text of a footnote, an endnote or a comment. The text of a comment begins with its
        author."""
        text = "\n".join(self._lines(note))
        author = note.get(f"{_WORD}author") if kind == "comments" else None
        return f"{author}: {text}" if author and text else text

    def sections(self) -> list[Section]:
        """The sections of the body, which is split at its headings, and a section with the headers
        and footers."""
        sections: list[Section] = []
        path: list[tuple[int, str]] = []
        blocks: list[str] = []
        bare = False

        def end() -> None:
            if blocks or bare:
                sections.append(Section("\n\n".join(blocks), tuple(title for _, title in path)))
            blocks.clear()

        for element in elements(self._body, (_PARAGRAPH, _TABLE, EQUATION), _NO_TEXT):
            notes = self._notes_in(element)
            if element.tag == _TABLE:
                blocks += filter(None, [markdown_table(self._rows(element)), *notes])
                bare = bare and not blocks
                continue
            text = equation(element) if element.tag == EQUATION else self._text(element).strip()
            level = None if element.tag == EQUATION else self._styles.level(element)
            if level is not None and text:
                end()
                path[:] = [above for above in path if above[0] < level] + [(level, text)]
                bare = True
            elif text:
                item = f"- {text}" if self._styles.is_item(element) else text
                joins = item != text and blocks and blocks[-1].startswith("- ")
                blocks[-1:] = [f"{blocks[-1]}\n{item}"] if joins else [*blocks[-1:], item]
                bare = False
            blocks += notes
            bare = bare and not notes
        end()
        others = [*self._around(), *self._notes.values(), *self._not_drawn()]
        return [*sections, Section("\n\n".join(others))] if others else sections

    def _notes_in(self, element: Any) -> list[str]:
        """The texts of the notes to which a paragraph or a table refers. The caller adds them after
        the paragraph or the table."""
        if not self._notes:
            return []
        references = element.iter(*_NOTES)
        keys = [(_NOTES[each.tag], each.get(f"{_WORD}id")) for each in references]
        return [self._notes.pop(key) for key in keys if key in self._notes]

    def _around(self) -> list[str]:
        """The texts of the headers and footers of all sections. Equal texts are returned once."""
        roots = [*self._roots("header"), *self._roots("footer")]
        texts = ("\n".join(self._lines(root)) for root in roots)
        return [*dict.fromkeys(filter(None, texts))]

    def _lines(self, parent: Any) -> Iterator[str]:
        """The paragraphs and tables of a note, a header or a footer."""
        for element in elements(parent, (_PARAGRAPH, _TABLE), _NO_TEXT):
            is_table = element.tag == _TABLE
            text = markdown_table(self._rows(element)) if is_table else self._text(element).strip()
            if text:
                yield text

    def _text(self, element: Any) -> str:
        """The text of a paragraph or a cell."""
        pieces: list[str] = []
        for part in elements(element, _IN_TEXT, _NO_TEXT):
            if part.tag == _TEXT:
                pieces.append(part.text or "")
            elif part.tag == _PARAGRAPH:  # in a cell, or a box
                pieces += ["\n" if pieces else "", self._text(part), "\n"]
            elif part.tag == _PICTURE:
                pieces.append(_surround_with_spaces(part.get("descr")))
            elif part.tag == EQUATION:
                pieces.append(equation(part))
            elif part.tag in _DRAWN:
                pieces.append(
                    _surround_with_spaces(self._drawing(part.get(f"{RELATED}{_DRAWN[part.tag]}")))
                )
            else:
                pieces.append(_MARKS[part.tag])
        if self._has_old_pictures and element.tag == _PARAGRAPH:  # a cell's are its paragraphs'
            old = elements(element, (_OLD_PICTURE,), _NO_TEXT)
            pieces += [_surround_with_spaces(each.get("alt")) for each in old]
        return "".join(pieces)

    def _drawing(self, number: str | None) -> str:
        """The text of a chart or a diagram; "" if the file doesn't contain the chart or diagram.
        number: the id of the part with the chart or diagram."""
        part = self._parts.get(number)
        return "" if part is None else self._drawn_text(part)

    def _drawn_text(self, part: Any) -> str:
        self._drawn.add(str(part.partname))
        root = _root_of(part)
        return chart_text(root) if "/charts/" in str(part.partname) else drawing_text(root)

    def _not_drawn(self) -> list[str]:
        """The texts of charts and diagrams that weren't read with the body, because they are
        outside of the body."""
        parts = [
            part
            for part in self._part.package.iter_parts()
            if re.search(r"/charts/chart\w*\.xml$|/diagrams/data\d*\.xml$", str(part.partname))
            and str(part.partname) not in self._drawn
        ]
        return [*filter(None, map(self._drawn_text, parts))]

    def _rows(self, table: Any) -> list[list[str]]:
        """The rows of a table. A merged cell is repeated in each position that it covers."""
        rows: list[list[str]] = []
        for row in elements(table, (_ROW,), _NO_TEXT):
            above, texts = rows[-1] if rows else [], [""] * _span(row.find(_BEFORE), 0)
            for cell in elements(row, (_CELL,), _NO_TEXT):
                parts = cell.find(_PROPERTIES)
                of_cell = {} if parts is None else {part.tag: part for part in parts}
                merge = of_cell.get(_MERGE)
                goes_on = merge is not None and merge.get(f"{_WORD}val") != "restart"
                place = len(texts)
                is_below = goes_on and place < len(above)
                text = above[place] if is_below else self._text(cell).strip()
                texts += [text] * _span(of_cell.get(_SPAN), 1)
            rows.append(texts)
        return [row for row in rows if any(row)]

    def gaps(self) -> Iterator[str]:
        """Yield descriptions of the parts that weren't read."""
        deleted = (each for each in self._body.iter(f"{_WORD}del") if _has_deleted(each))
        yield from count_phrase(sum(1 for _ in deleted), "tracked deletion")
        yield from count_phrase(sum(1 for _ in self._body.iter(_OBJECT)), "embedded object")
        chunks = sum(1 for _ in self._body.iter(f"{_WORD}altChunk"))
        yield from count_phrase(chunks, "embedded document")


def _root_of(part: Any) -> Any:
    """The root element of a part. python-docx parses only the kinds of parts that it knows. This
    function parses all other parts."""
    root = getattr(part, "element", None)
    return parse_xml(part.blob) if root is None else root


def _surround_with_spaces(text: str | None) -> str:
    return f" {text} " if text else ""


_MOST_COLUMNS = 500


def _span(element: Any, default: int) -> int:
    """The number in an element, such as the number of columns that a cell spans; `default` if there
    is no such number."""
    value = None if element is None else element.get(f"{_WORD}val")
    return min(int(value), _MOST_COLUMNS) if value and re.fullmatch(r"\d{1,4}", value) else default


def _has_deleted(element: Any) -> bool:
    return any((part.text or "").strip() for part in element.iter(f"{_WORD}delText"))


class _Styles:
    """The styles of a Word document, which say whether a paragraph is a heading or a list item."""

    def __init__(self, document: Any) -> None:
        styles = document.styles.element.iterchildren(f"{_WORD}style")
        self._styles = {style.get(f"{_WORD}styleId"): style for style in styles}

    def level(self, paragraph: Any) -> int | None:
        """The level of a paragraph that is a heading, or 0 for the title; None for any other
        paragraph."""
        own = [paragraph, *self._of(paragraph)]
        for style in own[1:]:
            name = (_value(style, "name") or "").lower()
            if name == "title":
                return 0
            if match := re.fullmatch(r"heading ([1-9])", name):
                return int(match[1])
        levels = (_value(style, f"pPr/{_WORD}outlineLvl") for style in own)
        level = next((known for known in levels if known is not None), "")
        return int(level) + 1 if re.fullmatch("[0-8]", level) else None

    def is_item(self, paragraph: Any) -> bool:
        """Whether a paragraph is an item of a list."""
        for style in (paragraph, *self._of(paragraph)):
            if style.find(f"{_WORD}pPr/{_WORD}numPr") is not None:
                return _value(style, f"pPr/{_WORD}numPr/{_WORD}numId") != "0"
        return False

    def _of(self, paragraph: Any) -> Iterator[Any]:
        """The style of a paragraph, and then the styles from which that style is derived."""
        name = _value(paragraph, f"pPr/{_WORD}pStyle")
        for _ in range(20):
            style = self._styles.get(name)
            if style is None:
                return
            yield style
            name = _value(style, "basedOn")


def _value(element: Any, path: str) -> str | None:
    child = element.find(f"{_WORD}{path}")
    value = None if child is None else child.get(f"{_WORD}val")
    return None if value is None else str(value)
