"""Which format a file has, and the rows in it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import path_of, shown, whole_number
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.exchange.formats import arrays
from retrieval_store.exchange.formats.arrays import rows_of_arrays
from retrieval_store.exchange.formats.csv_format import rows_of_csv
from retrieval_store.exchange.formats.files import Stamp, stamp_of
from retrieval_store.exchange.formats.jsonl import rows_of_lines
from retrieval_store.exchange.formats.parquet import rows_of_parquet
from retrieval_store.exchange.formats.rows import Columns, Place, Row

Format = Literal["jsonl", "csv", "tsv", "parquet", "arrays"]
_OF_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_DELIMITERS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of records, or a directory of arrays, and how it is read."""

    path: Path
    format: Format
    columns: Columns
    max_line_bytes: int

    @property
    def place(self) -> Place:
        """What it is called in messages."""
        if self.format == "arrays":
            return Place(arrays.RECORDS, "line")
        return Place(self.path.name, "line" if self.format == "jsonl" else "row")

    def rows(self) -> Iterator[Row]:
        """The rows, read as they are asked for."""
        match self.format:
            case "jsonl":
                return rows_of_lines(self.path, self.columns, self.max_line_bytes)
            case "parquet":
                return rows_of_parquet(self.path, self.columns)
            case "arrays":
                return rows_of_arrays(self.path, self.columns, self.max_line_bytes)
        delimiter = _DELIMITERS[self.format]
        return rows_of_csv(self.path, self.columns, self.max_line_bytes, delimiter)

    def stamp(self) -> tuple[Stamp, ...]:
        """What changes when it is written to."""
        if self.format == "arrays":
            return tuple(stamp_of(self.path / name) for name in (arrays.VECTORS, arrays.RECORDS))
        return (stamp_of(self.path),)


def source_of(
    path: str | os.PathLike[str],
    format: Any,
    id_column: Any,
    document_column: Any,
    max_line_bytes: Any,
) -> Source:
    """What a user says of a file, checked."""
    for name, column in (("id_column", id_column), ("document_column", document_column)):
        if not isinstance(column, str) or not column:
            raise InvalidTypeError(f"{name} is {shown(column)}, expected the name of a column")
    if id_column == document_column:
        raise InvalidArgumentError(f"id_column and document_column are both {id_column!r}")
    place = path_of(path, "path")
    most = whole_number(max_line_bytes, "max_line_bytes", 1)
    return Source(place, _format(place, format), Columns(id_column, document_column), most)


def _format(path: Path, given: Any) -> Format:
    known = get_args(Format)
    if given is not None:
        if given not in known:
            raise InvalidArgumentError(
                f"format is {shown(given)}, expected one of {', '.join(map(repr, known))}"
            )
        return given  # type: ignore[no-any-return]
    if path.is_dir():
        return "arrays"
    found = _OF_SUFFIX.get(path.suffix.lower())
    if found is None:
        raise InvalidArgumentError(
            f"path is {str(path)!r}, whose name says no format: pass one of "
            f"{', '.join(map(repr, known))} as format, or end it with {', '.join(_OF_SUFFIX)}"
        )
    return found
