"""Writes tables as Markdown. A cell that spans several rows or columns is repeated in each position
that it covers.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from retrieval_store_files.readers import Section

ROWS = 20  # of a section
WIDEST = 500  # columns that all rows are filled up to
_MOST_SPREAD = 100_000  # cells that are repeated in a table
_SPACE = re.compile(r"\s+")
Cell = tuple[str, int, int]  # its text, and how many columns and rows it takes


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown, with the first row as its header. An empty text if there are no rows."""
    if not rows:
        return ""
    longest = max(map(len, rows))
    width = longest if longest <= WIDEST else len(rows[0])
    lines = [
        "| " + " | ".join(map(_escape, [*row, *[""] * (width - len(row))])) + " |" for row in rows
    ]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


def _escape(text: str) -> str:
    return _SPACE.sub(" ", text).strip().replace("|", "\\|")


def spread(rows: Iterable[Sequence[Cell]]) -> list[list[str]]:
    """The rows of a table, each as a list of the texts of its cells. rows: for each cell, its text,
    and the numbers of columns and of rows that it spans. A cell is repeated in each position that
    it covers within the table. Rows without text are left out."""
    spread_rows: list[list[str]] = []
    below: dict[int, tuple[str, int]] = {}  # by column: what goes on, and for how many rows
    left = _MOST_SPREAD
    for cells in rows:
        row: list[str] = []
        for text, columns, height in cells:
            for _ in range(max(1, min(columns, left, WIDEST))):
                _fill(row, below)
                if height > 1:
                    below[len(row)] = text, height - 1
                row.append(text)
            left = max(0, left - columns)
        _fill(row, below)
        if any(text.strip() for text in row):
            spread_rows.append(row)
    return spread_rows


def _fill(row: list[str], below: dict[int, tuple[str, int]]) -> None:
    """Append to `row` the texts of cells in earlier rows that also cover the next columns of this
    row. below: a dict from a column to the text of the cell that covers it, and the number of rows
    that this cell still covers. This call updates `below`."""
    while (known := below.get(len(row))) is not None:
        text, height = known
        if height > 1:
            below[len(row)] = text, height - 1
        else:
            del below[len(row)]
        row.append(text)


def table_sections(
    rows: list[tuple[int, int, list[str]]], headings: tuple[str, ...]
) -> Iterator[Section]:
    """Split a table into sections of rows, each with the header. rows: for each row, the start and
    end in the file, and the cells. headings: the headings of these sections."""
    if not rows:
        return
    header = rows[0][2]
    for first in range(1, max(2, len(rows)), ROWS):
        part = rows[first : first + ROWS]
        start = rows[0][0] if first == 1 else part[0][0]
        table = markdown_table([header, *(row for _, _, row in part)])
        yield Section(table, headings, None, start, (part or rows)[-1][1])


def sheet_sections(rows: list[list[str]], headings: tuple[str, ...]) -> list[Section]:
    """Split a sheet of a spreadsheet into sections of rows, each with the header. headings: the
    headings of these sections."""
    placed = [(0, 0, row) for row in rows]
    return [Section(part.text, part.headings) for part in table_sections(placed, headings)]


_PAGE_WORDS = frozenset([
    "page", "pages", "of", "seite", "seiten", "von", "sur", "pagina", "página", "de", "di", "da",
    "oldal", "strana", "stránka", "strona", "sida", "side", "sivu", "av", "af", "van", "z", "из",
    "страница", "стр",
])  # fmt: skip


def without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    """The rows of a sheet, from which columns that are empty in all rows are removed."""
    used = sorted({column for row in rows for column, text in enumerate(row) if text})
    if not used or len(used) > used[-1]:
        return rows
    return [[row[column] for column in used if column < len(row)] for row in rows]


def is_page_number(text: str) -> bool:
    """Whether a line of a header or a footer has only words such as "page" and "of". text: the
    line, without fields such as the page's number."""
    words = "".join(letter if letter.isalpha() else " " for letter in text.lower()).split()
    return _PAGE_WORDS.issuperset(words)
