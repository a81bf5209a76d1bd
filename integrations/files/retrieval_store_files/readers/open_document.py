"""Reads OpenDocument: texts, spreadsheets, slides and drawings, as zips or as flat XML."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers import FileText, Section, count_phrase, few, without_parents
from retrieval_store_files.readers.odf import (
    CLASS,
    HREF,
    MAX_LEVEL,
    STYLE,
    DocumentParts,
    StylesOfText,
    attribute,
    collapse_space,
    count_of,
    equation_text,
    is_label,
    is_shape,
    labels_of,
    metadata_of,
    one_line,
    parts_of,
    rows_of,
    styles_of,
)
from retrieval_store_files.readers.packed import all_text, local_name
from retrieval_store_files.readers.sheets import MAX_COLUMNS, MAX_ROWS
from retrieval_store_files.readers.tables import (
    is_page_number,
    markdown_table,
    sheet_sections,
    without_empty_columns,
)

MAX_CELLS = 1_000_000  # of a sheet, repeated ones included
MAX_REPEATED = 1_000  # spaces, and cells of a text's table, that one element repeats
_REPEATED_COLUMNS = attribute("table", "number-columns-repeated")
_REPEATED_ROWS = attribute("table", "number-rows-repeated")
_COLUMNS_SPANNED = attribute("table", "number-columns-spanned")
_ROWS_SPANNED = attribute("table", "number-rows-spanned")
_HEADERS = (attribute("style", "header"), attribute("style", "footer"))
_VALUES = tuple(
    attribute("office", f"{kind}value") for kind in ("string-", "date-", "time-", "boolean-", "")
)
# Elements that define how a document is shown, or what an index is made from, without text of their
# own.
_NO_TEXT = frozenset([
    "bibliography-source", "illustration-index-source", "table-index-source",
    "object-index-source", "table-of-content-source", "user-index-source",
    "alphabetical-index-source", "tracked-changes", "sequence-decls", "variable-decls",
    "user-field-decls", "dde-connection-decls", "automatic-styles", "scripts", "event-listeners",
    "named-expressions", "database-ranges", "calculation-settings", "content-validations",
    "binary-data", "settings", "font-face-decls", "data-pilot-tables", "soft-page-break",
    "note-citation", "footer", "header", "date-time",  # of slides: fields
])  # fmt: skip
# Fields that add no information to the header or footer of each page.
_OF_EACH_PAGE = frozenset([
    "page-number", "page-count", "sheet-name", "date", "time", "file-name", "title",
])  # fmt: skip
_START = attribute("text", "start-value")
_CONTINUED, _CONTINUED_LIST = (
    attribute("text", f"continue-{name}") for name in ("numbering", "list")
)
_ITEM = re.compile(r"\s*(?:- |\d+\. )")
_FAR_CELL = f"cell beyond the column {MAX_REPEATED:,}"
_MESSAGE = "message shown at the input of cells"
_PLURALS = {what: what.replace(" ", "s ", 1) for what in (_FAR_CELL, _MESSAGE)}
_CONTROL_TEXTS = ("label", "current-value", "value", "title")


def read_open_document(data: bytes, name: str) -> FileText:
    """Read an OpenDocument file. A text is split at its headings, a spreadsheet into sheets and
    rows, and slides one by one with their notes. Comments, notes, headers and footers are read too;
    deleted text is reported as a gap."""
    parts = parts_of(data)
    body = next((part for part in parts.content.iter(attribute("office", "body"))), None)
    if body is None and local_name(parts.content) == "math":
        return FileText([Section(equation_text(parts.content))], **metadata_of(parts.meta))
    if body is None or not len(body):
        raise DataLoaderError("it isn't OpenDocument: it has no body")
    reader = _DocumentReader(parts, styles_of(parts))
    kind = local_name(body[0])
    if kind == "spreadsheet":
        reader.sheets(body[0])
    elif kind in ("presentation", "drawing"):
        reader.pages(body[0])
    else:
        reader.text(body[0])
    reader.headers_and_footers()
    return FileText(without_parents(reader.sections), **metadata_of(parts.meta), gaps=reader.gaps())


class _DocumentReader:
    """Converts a document to sections of Markdown, and counts the parts that it doesn't read."""

    def __init__(self, parts: DocumentParts, styles: StylesOfText) -> None:
        self.sections: list[Section] = []
        self._parts, self._styles = parts, styles
        self._path: list[tuple[int, str]] = []
        self._blocks: list[str] = []
        self._after: list[str] = []  # notes and comments of the current block
        self._is_bare = False  # whether the last heading still has no content
        self._headings = [0] * (MAX_LEVEL + 1)  # the last numbers, by level from 1
        self._mark = ""  # of the list item that begins
        self._numbers: dict[tuple[str, int], int] = {}  # of the last items, by style and level
        self._left_out: Counter[str] = Counter()
        self._gaps: list[str] = []
        self._objects: set[str] = set()  # embedded ones in progress
        self._is_sheet = False  # whether shapes in a cell lie above it, and not in its text

    def gaps(self) -> tuple[str, ...]:
        """Descriptions of the parts that weren't read, with their counts."""
        deletions = sum(1 for _ in self._parts.content.iter(attribute("text", "deletion")))
        deletions += sum(1 for _ in self._parts.content.iter(attribute("table", "deletion")))
        gaps = count_phrase(deletions, "tracked deletion")
        for what, number in self._left_out.items():
            gaps += count_phrase(number, what, _PLURALS.get(what, ""))
        return few([*gaps, *self._gaps])

    # Texts

    def text(self, body: Any) -> None:
        """Add the sections of a text document."""
        self._flow(body, ())
        self._end_section()

    def _flow(self, parent: Any, lists: tuple[str, ...]) -> None:
        """Add all blocks inside an element. lists: the style names of the lists that contain the
        element."""
        for element in parent:
            kind = local_name(element)
            if kind in _NO_TEXT or not kind or is_label(element):
                continue
            if kind == "h":
                self._heading(element)
            elif kind == "p":
                self._paragraph(element, lists)
            elif kind == "list":
                name = element.get(STYLE) or (lists[0] if lists else "")
                self._list(element, (*lists, name))
            elif kind == "table":
                self._add(markdown_table([*self._rows(element)]))
                self._add_notes()
            elif kind == "forms":
                self._add("\n".join(self._controls(element)))
            elif kind in ("annotation", "a") or is_shape(element):
                self._add(self._piece(element).strip())
                self._add_notes()
            else:
                self._flow(element, lists)

    def _list(self, element: Any, lists: tuple[str, ...]) -> None:
        """Add the items of a list. lists: the style names of the lists that contain the items; the
        last name is the style of this list. The numbering of the items can continue the numbering
        of an earlier list."""
        key = (lists[-1], len(lists))
        goes_on = element.get(_CONTINUED) == "true" or element.get(_CONTINUED_LIST)
        number = self._numbers.get(key, 0) if goes_on else 0
        for item in element:
            if local_name(item) == "list-item":
                start = item.get(_START) or ""
                number = int(start) if start.isdecimal() and len(start) < 9 else number + 1
                self._mark = f"{number}. " if key in self._styles.numbered else "- "
            self._flow(item, lists)
            self._mark = ""
        self._numbers[key] = number

    def _heading(self, element: Any) -> None:
        text = one_line(self._inline(element))
        if text:
            level = count_of(element, attribute("text", "outline-level"), MAX_LEVEL)
            self._begin(level, self._styles.heading_number(element, self._headings) + text)
        self._add_notes()

    def _begin(self, level: int, title: str) -> None:
        """Begin a new section with the heading `title`. level: the level of the heading."""
        self._end_section()
        self._path = [known for known in self._path if known[0] < level] + [(level, title)]
        self._is_bare = True

    def _paragraph(self, element: Any, lists: tuple[str, ...]) -> None:
        text = self._inline(element).strip()
        if text and not lists and self._styles.is_title(element):
            self._begin(0, one_line(text))
        elif text and lists:
            self._add_item(text, lists)
        else:
            self._add(text)
        self._add_notes()

    def _add_item(self, text: str, lists: tuple[str, ...]) -> None:
        mark, self._mark = self._mark or "  ", ""  # only the first paragraph of an item has one
        item = "  " * (len(lists) - 1) + mark + text
        if self._blocks and _ITEM.match(self._blocks[-1]):
            self._blocks[-1] += f"\n{item}"
        else:
            self._blocks.append(item)

    def _add(self, block: str) -> None:
        if block.strip():
            self._blocks.append(block)

    def _add_notes(self) -> None:
        """Add the notes and comments to which the last block refers."""
        notes, self._after = self._after, []
        self._blocks += notes

    def _end_section(self) -> None:
        if self._blocks or self._is_bare:
            headings = tuple(title for _, title in self._path)
            self.sections.append(Section("\n\n".join(self._blocks), headings))
        self._blocks, self._is_bare = [], False

    # In a paragraph

    def _inline(self, element: Any) -> str:
        """The text inside an element. Notes and comments inside the element are stored, and are
        added after the current block."""
        pieces = [collapse_space(element.text)]
        for child in element:
            pieces += [self._piece(child), collapse_space(child.tail)]
        return "".join(pieces)

    def _piece(self, element: Any) -> str:
        kind = local_name(element)
        if kind == "s":
            return " " * count_of(element, attribute("text", "c"), MAX_REPEATED)
        if kind in ("tab", "line-break"):
            return "\t" if kind == "tab" else "\n"
        if kind in _NO_TEXT or not kind or is_label(element):
            return ""
        if kind == "page-number" and (element.text or "").startswith("<"):
            return ""  # "<number>", which each slide replaces
        if kind == "note":
            return self._note(element)
        if kind == "annotation":
            self._after.append(one_line(self._comment(element)))
            return ""
        if kind == "frame":
            return self._frame(element)
        if kind == "hidden-text":
            return self._inline(element) or element.get(attribute("text", "string-value")) or ""
        if kind == "table":
            return "".join(f"\n{' | '.join(row)}" for row in self._rows(element)) + "\n"
        if kind == "a":
            return self._link(element)
        if kind == "ruby-text":
            return f" ({self._inline(element)}) "
        text = self._inline(element)
        if kind in ("p", "h", "list-item") or is_shape(element):
            return f"{text}\n{labels_of(element)}"
        return text

    def _link(self, element: Any) -> str:
        """The text of a link; as a Markdown link if the address of the link is outside of the
        file."""
        text, address = self._inline(element), (element.get(HREF) or "").strip()
        leads_out = address.startswith(("http:", "https:", "mailto:")) and address != text.strip()
        return f"[{text.strip()}]({address})" if leads_out and text.strip() else text

    def _note(self, element: Any) -> str:
        """The mark of a footnote. The text of the footnote is stored, and added after the
        paragraph."""
        parts = {local_name(part): part for part in element}
        mark = all_text(parts["note-citation"]) if "note-citation" in parts else ""
        if "note-body" in parts:
            text = one_line(self._inline(parts["note-body"]))
            self._after.append(f"[{mark}] {text}" if mark else text)
        return f" [{mark}]" if mark else ""

    def _comment(self, element: Any) -> str:
        """The text of a comment, with its author."""
        author, texts = "", []
        for part in element:
            kind = local_name(part)
            if kind == "creator":
                author = all_text(part)
            elif kind not in ("date", "date-string", "creator-initials", "sender-initials"):
                texts.append(self._piece(part))
        by = f" by {author}" if author else ""
        return f"Comment{by}: {' '.join(texts)}"

    def _frame(self, frame: Any) -> str:
        """The text of a box, a table or an embedded object. For a picture, the result is its
        description."""
        texts = []
        for part in frame:
            kind = local_name(part)
            if kind == "object":
                # It is accompanied by a picture, for programs that can't draw it.
                texts.append(self._object(part))
            elif kind == "object-ole":
                self._left_out["embedded OLE object"] += 1
            elif kind in ("applet", "plugin", "floating-frame"):
                self._left_out[f"embedded {kind}"] += 1
            else:
                texts.append(self._piece(part))
        text = "\n".join([*filter(None, map(str.strip, texts)), labels_of(frame)]).strip()
        return f"{text}\n" if "\n" in text else f"{text} "

    def _object(self, element: Any) -> str:
        """The text of an embedded equation, chart or document."""
        for part in element:
            if local_name(part) in ("document", "math"):  # flat XML, which contains it
                return self._object_text(part)
        package, path = self._parts.package, posixpath.normpath(element.get(HREF) or "")
        content = f"{path}/content.xml"
        if package is None or content not in package or path in self._objects:
            self._left_out["embedded object"] += 1
            return ""
        self._objects.add(path)
        try:
            return self._object_text(package.xml(content))
        except DataLoaderError as error:
            self._gaps.append(f"an embedded object isn't read: {error}")
            return ""
        finally:
            self._objects.discard(path)

    def _object_text(self, root: Any) -> str:
        if local_name(root) == "math":
            return equation_text(root)
        bodies = [*root.iter(attribute("office", "body"))]
        if not bodies:
            self._left_out["embedded object"] += 1
        return "\n\n".join("\n".join(self._chart(body)) for body in bodies)

    def _chart(self, body: Any) -> Iterator[str]:
        """Yield the texts of an embedded object. For a chart, these are its titles, and tables of
        its data. For any other document, the whole text is yielded."""
        for chart in body.iter(attribute("chart", "chart")):
            for place in [*chart.iter(attribute("drawing", "g"))]:
                place.clear()  # the cell of the data in its sheet
        tables = [*body.iter(attribute("table", "table"))]
        within = {part for table in tables for part in table.iter()}
        for element in body.iter():
            if element not in within and local_name(element) in ("p", "h"):
                line = one_line(self._inline(element))
                yield from [line] if line else []
        for table in tables:
            yield "\n" + markdown_table([*self._rows(table)])

    def _controls(self, forms: Any) -> Iterator[str]:
        """The labels and values that form fields display."""
        for element in forms.iter():
            texts = [element.get(attribute("form", name)) for name in _CONTROL_TEXTS]
            texts += [all_text(element)] if local_name(element) in ("textarea", "p") else []
            shown = [*dict.fromkeys(filter(None, texts))]
            if shown:
                yield ": ".join(shown)

    # Tables

    def _rows(self, table: Any) -> Iterator[list[str]]:
        """The rows of a table in a text document. The text of each cell is put into one line. A
        merged cell is repeated in each position that it covers."""
        below: dict[int, tuple[int, str]] = {}  # by column: how many more rows a cell covers
        for row in rows_of(table):
            cells = self._cells(row, below)
            for _ in range(count_of(row, _REPEATED_ROWS, MAX_REPEATED) if any(cells) else 1):
                yield cells

    def _cells(self, row: Any, below: dict[int, tuple[int, str]]) -> list[str]:
        """The cells of a row. below: for each column, the merged cell of an earlier row that
        reaches into this row. This call updates `below`."""
        cells: list[str] = []
        is_far = False  # cells after a run that is left out have no column
        for cell in row:
            kind = local_name(cell)
            if kind not in ("table-cell", "covered-table-cell"):
                continue
            text = self._cell(cell)
            width = count_of(cell, _COLUMNS_SPANNED, MAX_REPEATED)
            height = count_of(cell, _ROWS_SPANNED, MAX_ROWS)
            repeated = count_of(cell, _REPEATED_COLUMNS, MAX_REPEATED)
            is_far = is_far or len(cells) + repeated > MAX_REPEATED
            if is_far:
                if text:
                    self._left_out[_FAR_CELL] += 1
                continue
            for _ in range(repeated):
                column = len(cells)
                rows, above = below.pop(column, (0, ""))
                covered = kind == "covered-table-cell"
                cells.append(text or (above if covered else ""))
                if covered and rows > 1:
                    below[column] = (rows - 1, above)
                if not covered and (width > 1 or height > 1):
                    self._merge(below, column, width, height, text)
        while cells and not cells[-1]:
            cells.pop()
        return cells

    @staticmethod
    def _merge(
        below: dict[int, tuple[int, str]], column: int, width: int, height: int, text: str
    ) -> None:
        """Add to `below` the positions that a merged cell covers. They are in later rows, and to
        the right of the cell in its own row."""
        for covered in range(column, column + width):
            rows = height - 1 if covered == column else height
            if rows:
                below[covered] = (rows, text)

    def _cell(self, cell: Any) -> str:
        """The text that a cell displays; the cell's value if the file has no such text."""
        if len(cell) == 1 and not len(cell[0]) and local_name(cell[0]) == "p":
            return one_line(cell[0].text or "")  # as nearly all are
        shapes = [part for part in cell if self._is_sheet and is_shape(part)]
        for shape in shapes:
            self._after.append(self._piece(shape).strip())
            cell.remove(shape)
        text = one_line(self._inline(cell))
        if not text and local_name(cell) == "table-cell":
            text = next(filter(None, map(cell.get, _VALUES)), "")
        return text

    # Spreadsheets

    def sheets(self, body: Any) -> None:
        """Add the sections of all sheets of a spreadsheet, including hidden sheets."""
        self._is_sheet = True
        for part in body:
            if local_name(part) == "table":
                self._sheet(part)
            elif local_name(part) == "content-validations":
                self._messages(part)

    def _sheet(self, table: Any) -> None:
        title = table.get(attribute("table", "name")) or ""
        rows: list[list[str]] = []
        last = cells = 0  # the number of the last read row, and the cells so far
        below: dict[int, tuple[int, str]] = {}
        comments: list[str] = []
        for element in rows_of(table):
            row = self._cells(element, below)
            comments += filter(None, self._after)
            self._after = []
            number = count_of(element, _REPEATED_ROWS, MAX_CELLS)
            if not row:
                last += number
                continue
            room = min(MAX_ROWS - len(rows), (MAX_CELLS - cells) // len(row))
            rows += [row] * min(number, room)
            last += min(number, room)
            cells += len(row) * number
            if number > room:
                self._gaps.append(f"the sheet {title!r} is read to its row {last:,}")
                break
        rows = without_empty_columns(rows)
        if any(len(row) > MAX_COLUMNS for row in rows):
            self._gaps.append(f"the sheet {title!r} is read to its column {MAX_COLUMNS:,}")
        self.sections += sheet_sections([row[:MAX_COLUMNS] for row in rows], (title,))
        shapes = [*comments, *self._shapes_of(table)]
        if shapes:
            self.sections.append(Section("\n\n".join(shapes), (title,)))

    def _shapes_of(self, table: Any) -> list[str]:
        """The texts of the boxes, charts and form fields that lie on a sheet."""
        texts: list[str] = []
        for part in table:
            if local_name(part) == "shapes":
                texts += [self._piece(shape).strip() for shape in part]
            elif local_name(part) == "forms":
                texts += self._controls(part)
        return [*filter(None, [*texts, *self._after])]

    def _messages(self, validations: Any) -> None:
        """Count the messages that a spreadsheet shows when a cell is edited. The messages aren't
        read, so their number is reported as a gap."""
        self._left_out[_MESSAGE] += sum(
            1
            for element in validations.iter()
            if local_name(element) in ("help-message", "error-message") and all_text(element)
        )

    # Slides

    def pages(self, body: Any) -> None:
        """Add a section for each slide with its notes, or for each page of a drawing."""
        declared = {
            element.get(attribute("presentation", "name")): all_text(element)
            for element in body
            if local_name(element) in ("footer-decl", "header-decl", "date-time-decl")
        }
        pages = (part for part in body if local_name(part) == "page")
        for number, page in enumerate(pages, 1):
            title, blocks = self._page(page)
            for kind in ("header", "footer", "date-time"):
                name = page.get(attribute("presentation", f"use-{kind}-name"))
                blocks += [declared[name]] if declared.get(name) else []
            text = "\n\n".join(filter(None, map(str.strip, blocks)))
            if text or title:
                self.sections.append(Section(text, (title,) if title else (), number))
            else:
                self._gaps.append(f"slide {number} has no text")

    def _page(self, page: Any) -> tuple[str, list[str]]:
        """The title of a slide, and its blocks of text. The notes of the slide are the last
        blocks."""
        title = ""
        blocks: list[str] = []
        notes: list[str] = []
        for part in page:
            kind = local_name(part)
            if kind == "notes":
                notes = [self._piece(shape) for shape in part]
            elif kind == "forms":
                blocks += self._controls(part)
            elif kind not in ("animations", "par"):
                text = self._shape(part)
                if part.get(CLASS) == "title" and not title:
                    title = one_line(text)
                else:
                    blocks.append(text)
        blocks += [*notes, *self._after]
        self._after = []
        return title, blocks

    def _shape(self, shape: Any) -> str:
        """The content of a shape on a slide: blocks of text, lists and tables."""
        boxes = [part for part in shape if local_name(part) == "text-box"]
        tables = [part for part in shape if local_name(part) == "table"]
        if not boxes and not tables:
            return self._piece(shape)
        inner = _DocumentReader(self._parts, self._styles)
        inner._left_out, inner._gaps, inner._objects = self._left_out, self._gaps, self._objects
        for box in boxes:
            inner._flow(box, ())
        for table in tables:
            inner._add(markdown_table([*inner._rows(table)]))
        inner._add_notes()
        return "\n\n".join([*_with_headings(inner), labels_of(shape)])

    # Headers and footers

    def headers_and_footers(self) -> None:
        """Add a section with the headers and footers of a text document or a spreadsheet. For a
        presentation, the section has the texts of the slide master, which every slide shows."""
        if self._parts.styles is None:
            return
        lines: list[str] = []
        for masters in self._parts.styles.iter(attribute("office", "master-styles")):
            for element in masters.iter():
                if isinstance(element.tag, str) and element.tag.startswith(_HEADERS):
                    lines += self._lines_of_each_page(element)
                elif local_name(element.getparent()) == "master-page" and _displays_text(element):
                    lines.append(one_line(self._piece(element)))
        text = "\n".join(dict.fromkeys(line for line in lines if line))
        if text:
            self.sections.append(Section(text))

    def _lines_of_each_page(self, element: Any) -> Iterator[str]:
        """The lines of a header or a footer, except lines that have only page numbers."""
        for part in element:
            for paragraph in part.iter(attribute("text", "p")):
                line = one_line(self._inline(paragraph))
                fields = [
                    field.text or ""
                    for field in paragraph.iter()
                    if local_name(field) in _OF_EACH_PAGE
                ]
                rest = line
                for shown in filter(None, fields):
                    rest = rest.replace(shown, " ")
                if not fields or not is_page_number(rest):
                    yield line


def _with_headings(reader: _DocumentReader) -> list[str]:
    """The blocks that a reader has collected for a shape. For each section, the innermost heading
    becomes a block, and the text of the section the next block."""
    reader._end_section()
    blocks: list[str] = []
    for section in reader.sections:
        blocks += [*section.headings[-1:], section.text]
    return blocks


def _displays_text(element: Any) -> bool:
    """Whether a shape on a slide master displays text, instead of being a placeholder for text of
    the slides."""
    return is_shape(element) and element.get(CLASS) in (None, "header", "footer")
