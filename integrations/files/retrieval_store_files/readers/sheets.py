"""Reads spreadsheets with openpyxl, including comments, charts and texts outside of the cells."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from retrieval_store_files.readers import FileText, Section, count_phrase
from retrieval_store_files.readers.office import (
    chart_text,
    drawing_text,
    missing,
    office_metadata,
    open_office,
    reading,
    related_parts,
)
from retrieval_store_files.readers.packed import PackedFile
from retrieval_store_files.readers.tables import sheet_sections

MAX_ROWS, MAX_COLUMNS = 100_000, 200  # of a sheet
_MOST_REPEATED = 100_000  # cells that are merged
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell [^>]*?ref="([A-Z]+)(\d+):([A-Z]+)(\d+)"')
# A cell with a formula, but without a value.
_UNSTORED = re.compile(
    rb'<c(?: (?![^>]*\bt="str")[^>]*)?>(?:<f(?: [^>]*)?>[^<]*</f>|<f(?: [^>]*)?/>)'
    rb"(?:<v></v>|<v ?/>)?</c>"
)
_PRINTED = re.compile(rb"<(?:odd|even|first)(?:Header|Footer)>([^<]+)<")
_OF_FORMAT = re.compile(r'&(?:"[^"]*"|K[0-9A-F]{6}|\d+|[A-Z&])')  # in headers and footers
_OBJECTS = ("oleObject", "package")  # kinds of parts that are embedded
Repeated = dict[int, list[tuple[int, int, int]]]  # by row: the first row, and columns from and to


def read_xlsx(data: bytes, name: str) -> FileText:
    """Read the sheets of a spreadsheet, including hidden sheets. The rows of a sheet are split into
    sections, each with the header of the sheet. Formulas are read as their stored values. A merged
    cell is repeated in each position that it covers."""
    try:
        import openpyxl
    except ImportError as error:
        raise missing("spreadsheets", "openpyxl", error) from error
    packed = open_office(data)
    with reading("a spreadsheet", packed):
        book = openpyxl.load_workbook(
            packed.stream, read_only=True, data_only=True, keep_links=False
        )
    sections: list[Section] = []
    gaps: list[str] = []
    paths = _paths_of_sheets(packed)
    for sheet in book.worksheets:
        part = paths.get(sheet.title)
        with reading("a spreadsheet", packed, part or f"the sheet {sheet.title}"):
            raw = _Raw.of(packed, part)
            rows, missing_cells = _rows(sheet, raw)
        gaps += [f"in the sheet {sheet.title!r}: {gap}" for gap in [*missing_cells, *raw.gaps]]
        sections += sheet_sections(rows, (sheet.title,))
        sections += _section("\n\n".join(raw.texts), sheet.title)
    for sheet in book.chartsheets:
        texts, _ = _content_outside_cells(packed, paths.get(sheet.title))
        sections += _section("\n\n".join(texts), sheet.title)
    return FileText(sections, **office_metadata(packed, book.properties), gaps=tuple(gaps))


def _section(text: str, title: str) -> list[Section]:
    return [Section(text, (title,))] if text else []


class _Raw:
    """The parts of a sheet that openpyxl skips when it reads row by row. texts: the texts of
    comments and drawings; repeated: the merged cells; gaps: descriptions of the parts that aren't
    read."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.gaps: list[str] = []
        self.repeated: Repeated = {}

    @classmethod
    def of(cls, packed: PackedFile, path: str | None) -> "_Raw":
        """Read from the zip the parts of a sheet that openpyxl skips. path: the path of the sheet
        in the zip; None if it isn't known."""
        raw = cls()
        if path is None:
            return raw
        data = packed.read(path)
        printed = (_OF_FORMAT.sub(" ", unescape(text.decode("utf-8", "replace"))) for text in
                   _PRINTED.findall(data))  # fmt: skip
        texts = dict.fromkeys(" ".join(text.split()) for text in printed)
        beside, objects = _content_outside_cells(packed, path)
        raw.texts = [*beside, *filter(None, texts)]
        unstored = sum(1 for _ in _UNSTORED.finditer(data))
        without = "without a stored value"
        raw.gaps = count_phrase(unstored, f"formula {without}", f"formulas {without}")
        raw.gaps += count_phrase(objects, "embedded object")
        raw._note_merged(data)
        return raw

    def _note_merged(self, data: bytes) -> None:
        left = _MOST_REPEATED
        for match in _MERGED.finditer(data):
            first, last = _column(match[1]), min(_column(match[3]), MAX_COLUMNS)
            top, bottom = int(match[2]), min(int(match[4]), MAX_ROWS)
            left -= max(0, bottom - top + 1) * max(0, last - first + 1)
            if left < 0:
                self.gaps.append("merged cells beyond the first ones are read once")
                return
            for row in range(top, bottom + 1):
                self.repeated.setdefault(row, []).append((top, first, last))


def _column(letters: bytes) -> int:
    """The number of a column, from 1. letters: the name of the column, such as "AB"."""
    number = 0
    for letter in letters[:4]:
        number = number * 26 + letter - 64
    return number


def _rows(sheet: Any, raw: _Raw) -> tuple[list[list[str]], list[str]]:
    """The rows of a sheet that have text, and a list of the gaps in the sheet."""
    sheet.reset_dimensions()  # the file's may be wrong
    rows: list[list[str]] = []
    far, merged = 0, dict[tuple[int, int], str]()  # by their first place: merged cells
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        texts = [_text(value) for value in row[:MAX_COLUMNS]]
        far += sum(value is not None for value in row[MAX_COLUMNS:])
        for top, first, last in raw.repeated.get(number, ()):
            if number == top:
                merged[top, first] = texts[first - 1] if first <= len(texts) else ""
            texts += [""] * (last - len(texts))
            texts[first - 1 : last] = [merged.get((top, first), "")] * (last - first + 1)
        while texts and not texts[-1]:
            texts.pop()
        if texts:
            rows.append(texts)
        if len(rows) == MAX_ROWS:
            return rows, [f"what is below its row {MAX_ROWS:,} isn't read"]
    place = f"beyond its column {MAX_COLUMNS}"
    return rows, count_phrase(far, f"cell {place}", f"cells {place}")


def _text(value: Any) -> str:
    return "" if value is None else str(value).removesuffix(" 00:00:00")


def _paths_of_sheets(packed: PackedFile) -> dict[str, str]:
    """A dict from the title of each sheet to the path of the sheet in the zip."""
    path = "xl/workbook.xml"
    if path not in packed:  # of a program that uses another name
        return {}
    root = packed.xml(path)
    parts = {number: part for number, _, part in related_parts(packed, path)}
    titles = {}
    for sheet in root.iter("{*}sheet"):
        numbers = [value for key, value in sheet.attrib.items() if key.endswith("}id")]
        titles.update({sheet.get("name", ""): parts[each] for each in numbers if each in parts})
    return {title: part for title, part in titles.items() if part in packed}


def _content_outside_cells(packed: PackedFile, path: str | None) -> tuple[list[str], int]:
    """The content of a sheet outside of its cells: the texts of its comments, each with the name of
    its cell, and the texts of its drawings. Also returns the number of embedded objects."""
    texts: list[str] = []
    objects = 0
    relations = [*related_parts(packed, path)] if path else []
    has_threads = any(kind == "threadedComment" for _, kind, _ in relations)
    for _, kind, part in relations:
        if kind in _OBJECTS:
            objects += 1
        elif part in packed and kind in ("comments", "threadedComment"):
            texts += _comments(packed.xml(part), has_threads)
        elif part in packed and kind == "drawing":
            texts += _texts_of_drawing(packed, part)
    return [*dict.fromkeys(filter(None, texts))], objects


def _texts_of_drawing(packed: PackedFile, path: str) -> Iterator[str]:
    """The texts of the shapes, pictures, charts and diagrams in a drawing."""
    root = packed.xml(path)
    yield drawing_text(root)
    for name in root.iter("{*}cNvPr"):
        yield name.get("descr") or ""
    for _, kind, part in related_parts(packed, path):
        if part in packed and kind in ("chart", "chartEx"):
            yield chart_text(packed.xml(part))
        elif part in packed and kind == "diagramData":
            yield drawing_text(packed.xml(part))


def _comments(root: Any, has_threads: bool) -> Iterator[str]:
    """The texts of comments, each with the name of its cell. has_threads: whether another part has
    threaded comments; if so, the copies of these comments for older programs are skipped."""
    authors = [author.text or "" for author in root.iter("{*}author")]
    threads = {str(i) for i, author in enumerate(authors) if author.startswith("tc=")}
    for comment in root.iter("{*}comment", "{*}threadedComment"):
        text = " ".join("".join(comment.itertext("{*}t", "{*}text")).split())
        if text and not (has_threads and comment.get("authorId") in threads):
            yield f"{comment.get('ref', '')}: {text}"
