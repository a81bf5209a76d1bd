"""Reads and writes CSV files: one record per row, below a row of column names.

The columns "id", "document", "uri", "metadata" (a JSON object), "embedding" (a JSON list, or base64
of float32) and "sparse_embedding" (a JSON object) are fields. Any other column is a key of the
metadata. Its cells are text, unless all non-empty cells have one type: integers in JSON's form,
numbers, or "true" and "false" (in any case). In that case the cells have this type. So a column
that contains "007", or an integer that can't be stored, stays text. An empty cell means that the
record has no such field or key. A cell with only quotation marks is an empty document, as in
PostgreSQL.

The delimiter is a comma, or a tab in a .tsv file. The first line can declare another delimiter, as
in Excel's "sep=;". Without a declaration, a semicolon, a tab or a bar is used if only this
delimiter gives the row of names a column of ids.
"""

import csv
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from retrieval_store import Collection
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.loaders.files import new_file, open_regular
from retrieval_store_files.formats.common import (
    FIELDS,
    FileColumns,
    FilePlace,
    PointSelection,
    Row,
    Where,
    with_vector,
)
from retrieval_store_files.formats.jsonl import json_of, line_of
from retrieval_store_files.reports import Exported
from retrieval_store_files.values import quote

Reads = Callable[[str], Any]
INT_MIN, INT_MAX = -(2**63), 2**64 - 1  # the range of storable integers
DELIMITERS = (";", "\t", "|", ",")
_DECLARATION = re.compile(rf'"?sep=([{"".join(DELIMITERS)}])"?\r?\n')
_IN_JSON = ("metadata", "embedding", "sparse_embedding")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,19}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def export_csv(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    where: Where | None = None,
    where_document: Mapping[str, Any] | None = None,
    embeddings: bool = True,
    batch: int = 1_000,
    show_progress: bool = False,
) -> Exported:
    """Write the points that match the filters, by default all points, into a new CSV file, one
    record per row. All points come from one snapshot of the collection. After an error no file is
    left behind.

    Args:
        collection: the collection.
        path: a file that doesn't exist yet.
        where: a filter on metadata.
        where_document: a filter on documents.
        embeddings: whether vectors are written.
        batch: the number of records in memory at a time.
        show_progress: show a progress bar of the records.

    Raises:
        InvalidArgumentError: the path already exists.
    """
    chosen = PointSelection(collection, where, where_document, embeddings, batch, show_progress)
    names = FIELDS if chosen.has_sparse else FIELDS[: -1 if embeddings else -2]
    with new_file(path) as (target, file), chosen.read() as batches:
        count = 0
        file.write(_line_of(names))
        for records in batches:
            for record in records:
                cells = orjson.loads(line_of(record))
                file.write(_line_of([_write_value(cells.get(name)) for name in names]))
            count += len(records)
        return Exported(target, count, file.tell())


def _write_value(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _line_of(cells: Sequence[str | None]) -> bytes:
    """A line of CSV, with quotation marks around every value. None becomes an empty cell without
    quotation marks."""
    escaped = ("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in cells)
    return (",".join(escaped) + "\n").encode()


def rows_of_csv(path: Path, columns: FileColumns, most: int, delimiter: str) -> Iterator[Row]:
    """The records of a CSV file. Row 1 is the row after the column names. most: the largest size of
    a line in bytes, and of a cell in characters; delimiter: the usual delimiter for this kind of
    file."""
    delimiter = _delimiter_of(path, columns, most, delimiter)
    kinds = _kinds(path, columns, most, delimiter)
    place = FilePlace(path.name, "row")
    meanings: dict[str, str] = {}
    for number, cells, size in _rows(path, place, most, delimiter):
        names, values = cells
        try:
            meanings = meanings or columns.meanings_of(names)
            record = _record(meanings, dict(zip(names, values, strict=True)), kinds)
            yield Row(number, with_vector(record), size)
        except InvalidArgumentError as error:
            raise place.error(number, error) from None


def _delimiter_of(path: Path, columns: FileColumns, most: int, usual: str) -> str:
    """The delimiter of a CSV file. The first line can declare it, such as "sep=;". Otherwise the
    delimiter is `usual`, unless the first line has a column of ids only with another delimiter.
    most: see `rows_of_csv`."""
    with open_regular(path) as file:
        line = file.readline(most).decode("utf-8-sig", "replace")
    if declaration := _DECLARATION.fullmatch(line):
        return declaration[1]

    def fits(delimiter: str) -> tuple[bool, bool, int]:
        names = next(csv.reader([line], delimiter=delimiter), [])
        return columns.have_ids(names), delimiter == usual, len(names)

    try:
        return max(DELIMITERS, key=fits)
    except csv.Error:  # for an invalid line, which is reported when it is read
        return usual


def _record(
    meant: dict[str, str], cells: dict[str, str | None], kinds: dict[str, Reads]
) -> dict[str, Any]:
    record: dict[str, Any] = {}
    keys: dict[str, Any] = {}
    for name, text in cells.items():
        if text or (text is not None and meant[name] in ("document", "uri")):
            if meant[name] in FIELDS:
                record[meant[name]] = _cell(meant[name], text)
            else:
                keys[name] = kinds.get(name, str)(text)
    metadata = record.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise InvalidArgumentError(f"metadata is {quote(metadata)}, expected a JSON object")
    if keys or metadata is not None:
        record["metadata"] = {**(metadata or {}), **keys}
    return record


def _cell(field: str, text: str) -> Any:
    if field not in _IN_JSON or (field == "embedding" and not text.lstrip().startswith("[")):
        return text
    try:
        return json_of(text)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{field} is {quote(text)}: {error}") from None


def _kinds(path: Path, columns: FileColumns, most: int, delimiter: str) -> dict[str, Reads]:
    """A dict from the name of each column to the parser for its cells. All cells are read to choose
    the parsers. most: see `rows_of_csv`."""
    left: dict[str, list[Reads]] = {}
    meant: dict[str, str] = {}
    for _, (names, values), _ in _rows(path, FilePlace(path.name, "row"), most, delimiter):
        if not meant:
            if "" in names:
                raise InvalidArgumentError(
                    f"{path.name}: column {names.index('') + 1} has no name; pandas writes its "
                    "index so: index=False leaves it out"
                )
            meant = columns.meanings_in_table(names, path.name)
            if "id" not in meant.values():
                raise columns.no_ids(names, path.name)
            left = {name: [_whole, _number, _truth] for name in names if meant[name] not in FIELDS}
        for name, text in zip(names, values, strict=True):
            if text and left.get(name):
                left[name] = [read for read in left[name] if read(text) is not None]
    return {name: reads[0] if reads else str for name, reads in left.items()}


def _rows(
    path: Path, place: FilePlace, most: int, delimiter: str
) -> Iterator[tuple[int, tuple[list[str], list[str | None]], int]]:
    """Yield the number of each row, its column names and cells, and its size in bytes. Empty cells
    without quotation marks are None. most: see `rows_of_csv`."""
    # The csv module refuses a cell of more than 131,072 characters, unless its limit is raised,
    # which applies to the whole process. It is only ever raised, so that readable cells stay
    # readable.
    csv.field_size_limit(max(csv.field_size_limit(), most))
    with open_regular(path) as file:
        text = _Lines(file, place, most)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        names, number = None, 0
        while True:
            try:
                values = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                raise place.error(text.number, f"it isn't CSV: {error}") from None
            raw, size = text.take()
            if names is None and _DECLARATION.fullmatch(raw):
                continue
            if names is None:
                names, text.number = values, 1
            elif values:
                number += 1
                text.number = number + 1
                if len(values) != len(names):
                    raise place.error(
                        number, f"it has {len(values)} cells, but there are {len(names)} columns"
                    )
                yield number, (names, _distinguish_nulls(values, raw, delimiter)), size
        if names is None:
            raise place.unreadable("it is empty, expected a line with the names of the columns")


def _distinguish_nulls(values: list[str], raw: str, delimiter: str) -> list[str | None]:
    """The cells of a row, in which an empty cell without quotation marks becomes None. raw: the
    text of the row, which shows the quotation marks."""
    if '""' not in raw:
        return [value or None for value in values]
    end = re.escape(delimiter)
    written = re.finditer(rf'("(?:[^"]++|"")*+"|[^{end}\r\n]*+)(?:{end}|\r?\n|\Z)', raw)
    return [v or ("" if cell[1] else None) for v, cell in zip(values, written, strict=False)]


class _Lines:
    """Iterates over the lines of a UTF-8 file as text, and limits their length."""

    def __init__(self, file: IO[bytes], place: FilePlace, most: int) -> None:
        self._file, self._place, self._most = file, place, most
        self._bytes, self._read = 0, [""]
        self.number = 0  # the row that is being read, beginning with the names

    def take(self) -> tuple[str, int]:
        """The text that was read since the last call, and its size in bytes."""
        taken = "".join(self._read), self._bytes
        self._bytes, self._read = 0, []
        return taken

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        first = self._file.tell() == 0
        line = self._file.readline(self._most + 1)
        self._bytes += len(line)
        if not line:
            raise StopIteration
        if self._bytes > self._most + line.endswith(b"\n"):
            why = f"it is longer than {self._most:,} bytes (max_line_bytes)"
            raise self._place.error(self.number, why)
        try:
            text = line.decode("utf-8-sig" if first else "utf-8")
        except UnicodeDecodeError as error:
            raise self._place.error(self.number, f"it isn't valid UTF-8: {error}") from None
        self._read.append(text)
        return text


def _whole(text: str) -> int | None:
    number = int(text) if _WHOLE.fullmatch(text) else None
    return number if number is not None and INT_MIN <= number <= INT_MAX else None


def _number(text: str) -> int | float | None:
    if not _NUMBER.fullmatch(text):
        return None
    whole = _whole(text)
    if whole is None and text.lstrip("-").isdecimal() and text != "-0":
        return None  # a float would lose digits
    number = float(text) if whole is None else whole
    return number if abs(number) < float("inf") else None


def _truth(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())
