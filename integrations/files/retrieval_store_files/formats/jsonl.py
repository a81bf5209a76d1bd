"""Reads and writes JSON lines files: one record per line.

A line is an object with "id" and the record's other fields. These are "document", "metadata",
"uri", "embedding" (a list of numbers, or base64 of little-endian float32) and "sparse_embedding"
(an object with "indices" and "values"). "distance" and "score", which results of queries have, are
ignored.
"""

import base64
import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import orjson

from retrieval_store import Collection
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.loaders.files import new_file, open_regular
from retrieval_store_files.formats.common import (
    FileColumns,
    FilePlace,
    PointSelection,
    Record,
    Row,
    Where,
    with_vector,
)
from retrieval_store_files.reports import Exported
from retrieval_store_files.values import MAX_DEPTH, quote

Embeddings = Literal["list", "base64", "none"]
_MARK = b"\xef\xbb\xbf"  # some editors write it first
_LARGE = 2.0**63
_OF_HITS = ("distance", "score")


def export_jsonl(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    where: Where | None = None,
    where_document: Mapping[str, Any] | None = None,
    embeddings: Embeddings = "list",
    batch: int = 1_000,
    show_progress: bool = False,
) -> Exported:
    """Write the points that match the filters, by default all points, into a new JSON lines file,
    one record per line. All points come from one snapshot of the collection. After an error no file
    is left behind.

    Args:
        collection: the collection.
        path: a file that doesn't exist yet.
        where: a filter on metadata.
        where_document: a filter on documents.
        embeddings: the form of the vectors. "list" writes the shortest numbers that give the same
            float32. "base64" writes the base64 of little-endian float32. "none" writes neither
            dense nor sparse vectors.
        batch: the number of records in memory at a time.
        show_progress: show a progress bar of the records.

    Raises:
        InvalidArgumentError: the path already exists.
    """
    lines = lines_of(
        collection,
        where=where,
        where_document=where_document,
        embeddings=embeddings,
        batch=batch,
        show_progress=show_progress,
    )
    with new_file(path) as (target, file), closing(lines):
        count = 0
        for line in lines:
            file.write(line)
            count += 1
        return Exported(target, count, file.tell())


def lines_of(
    collection: Collection,
    *,
    where: Where | None = None,
    where_document: Mapping[str, Any] | None = None,
    embeddings: Embeddings = "list",
    batch: int = 1_000,
    show_progress: bool = False,
) -> Generator[bytes, None, None]:
    """Yield the lines that `export_jsonl` writes into a file for the same arguments."""
    if embeddings not in get_args(Embeddings):
        raise InvalidArgumentError(
            f"embeddings is {quote(embeddings)}, expected one of {get_args(Embeddings)}"
        )
    chosen = PointSelection(
        collection, where, where_document, embeddings != "none", batch, show_progress
    )
    return _lines_of(chosen, embeddings == "base64")


def _lines_of(chosen: PointSelection, as_base64: bool) -> Generator[bytes, None, None]:
    with chosen.read() as batches:
        for records in batches:
            for record in records:
                yield line_of(record, as_base64)


def line_of(record: Record, as_base64: bool = False) -> bytes:
    """A record as a line of JSON, without fields that are None. as_base64: whether the vector is
    written in base64."""
    parts: dict[str, Any] = {key: value for key, value in record.items() if value is not None}
    embedding = parts.pop("embedding", None)
    sparse = parts.pop("sparse_embedding", None)
    if embedding is not None:
        parts["embedding"] = (
            _as_base64(embedding)
            if as_base64
            else orjson.Fragment(numbers_of(np.asarray(embedding, np.float32)))
        )
    if sparse is not None:
        values = np.asarray(sparse["values"], np.float32)
        indices = [int(index) for index in sparse["indices"]]
        parts["sparse_embedding"] = {
            "indices": indices, "values": orjson.Fragment(numbers_of(values))
        }  # fmt: skip
    return orjson.dumps(parts, option=orjson.OPT_APPEND_NEWLINE)


def numbers_of(vector: npt.NDArray[np.float32]) -> bytes:
    """A float32 vector as a JSON list. A program that reads the list as float32 gets exactly the
    same values.

    The shortest digits of a float32 nearly always suffice. But programs parse these digits as
    float64 first, and rounding twice may give a neighbouring float32. In that case all digits of
    the float64 are written.
    """
    row = np.ascontiguousarray(vector)
    short = orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)
    if np.array(orjson.loads(short), np.float32).tobytes() == row.tobytes():
        return short
    return orjson.dumps(row.tolist())


def _as_base64(embedding: Any) -> str:
    return base64.b64encode(np.asarray(embedding, "<f4").tobytes()).decode()


def rows_of_lines(path: Path, columns: FileColumns, most: int) -> Iterator[Row]:
    """The records of a JSON lines file; empty lines are skipped. most: the largest size of a line
    in bytes."""
    place, are_usual = FilePlace(path.name, "line"), columns == FileColumns()
    with open_regular(path) as file:
        for number, line in _lines(file, place, most):
            try:
                if number == 1 and line.lstrip().startswith(b"["):
                    raise InvalidArgumentError(
                        "it begins with '[', expected a JSON object: one record a line, rather "
                        "than an array of them"
                    )
                record = object_of(line, numbers="embedding")
                if not are_usual:
                    names = columns.meanings_of(record)
                    record = {names[key]: record[key] for key in record}
                for key in _OF_HITS:
                    record.pop(key, None)
                row = Row(number, with_vector(record), len(line))
            except InvalidArgumentError as error:
                raise place.error(number, error) from None
            yield row


def _lines(file: IO[bytes], place: FilePlace, most: int) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of each line that isn't empty. Raises InvalidArgumentError for
    a line of more than `most` bytes, without reading the rest of the line."""
    number = 0
    while line := file.readline(most + 1):
        number += 1
        if len(line) > most and not line.endswith(b"\n"):
            raise place.error(number, f"it is longer than {most:,} bytes (max_line_bytes)")
        if number == 1:
            line = line.removeprefix(_MARK)
        if not line.isspace() and line:
            yield number, line


def object_of(text: bytes | str, numbers: str | None = None) -> dict[str, Any]:
    """Parse the text of a JSON object; raises InvalidArgumentError for any other text. numbers: a
    key, such as "embedding", in whose value large integers may be parsed as floats."""
    value = json_of(text, numbers)
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"it is {quote(value)}, expected a JSON object")
    return value


def json_of(text: bytes | str, numbers: str | None = None) -> Any:
    """Parse a text as JSON; raises InvalidArgumentError if it isn't JSON, or if it contains NaN.
    numbers: see `object_of`."""
    try:
        data = text.encode() if isinstance(text, str) else text
        value = orjson.loads(data)
        if _has_large_float(value, numbers):
            value = json.loads(data)
    except (orjson.JSONDecodeError, RecursionError) as error:
        if isinstance(error, RecursionError) or "depth" in str(error):
            raise InvalidArgumentError(f"it is nested deeper than {MAX_DEPTH} levels") from None
        raise InvalidArgumentError(f"it isn't JSON: {error}") from None
    except ValueError:  # an integer with thousands of digits
        raise InvalidArgumentError("it has an integer that can't be stored") from None
    return value


def _has_large_float(value: Any, numbers: str | None) -> bool:
    """Whether a parsed value has a float that may have been an integer of more than 64 bits in the
    text. orjson parses such integers as floats. Python's parser keeps their digits, but takes ten
    times as long. numbers: a key whose value isn't searched."""
    left = [value]
    if numbers is not None and isinstance(value, dict):
        left = [member for key, member in value.items() if key != numbers]
    while left:
        member = left.pop()
        kind = type(member)
        if kind is float and not -_LARGE < member < _LARGE:
            return True
        if kind is list:
            left.extend(member)
        elif kind is dict:
            left.extend(member.values())
    return False
