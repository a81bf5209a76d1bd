"""Reads and writes a directory of plain files, for numpy and any program that reads JSON.

`embeddings.npy` has the vectors, as an array of float32 or float16 with the shape (points,
dimension). `records.jsonl` has all other fields of the same points in the same order, one record
per line. `collection.json` has the collection's name and settings. A point without a vector has a
row of NaN.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from retrieval_store import Collection
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.loaders.files import new_directory, open_regular
from retrieval_store_files.formats.common import (
    FileColumns,
    FilePlace,
    PointSelection,
    Record,
    Row,
    Where,
)
from retrieval_store_files.formats.jsonl import line_of, rows_of_lines
from retrieval_store_files.reports import Exported

VECTORS, RECORDS, ABOUT = "embeddings.npy", "records.jsonl", "collection.json"
_HEAD = 128  # bytes before the numbers; their count is written when it is known
_MAGIC = b"\x93NUMPY\x01\x00"


def export_arrays(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    where: Where | None = None,
    where_document: Mapping[str, Any] | None = None,
    batch: int = 1_000,
    show_progress: bool = False,
) -> Exported:
    """Write the points that match the filters, by default all points, into a new directory. All
    points come from one snapshot of the collection. `embeddings.npy` is an array that numpy.load
    reads, also as a memory map. `records.jsonl` has all other fields, one record per line.
    `collection.json` has the collection's name, metadata and configuration. After an error nothing
    is left behind.

    Args:
        collection: the collection.
        path: a directory that doesn't exist yet.
        where: a filter on metadata.
        where_document: a filter on documents.
        batch: the number of records in memory at a time.
        show_progress: show a progress bar of the records.

    Raises:
        InvalidArgumentError: the path already exists.
    """
    chosen = PointSelection(collection, where, where_document, True, batch, show_progress)
    with new_directory(path) as (target, made):
        with (
            (made / VECTORS).open("xb") as vectors,
            (made / RECORDS).open("xb") as lines,
            (made / ABOUT).open("xb") as about,
            chosen.read() as batches,
        ):
            count = _write_lines(chosen, batches, vectors, lines)
            described = chosen.describe() | {"records": count}
            about.write(orjson.dumps(described, option=orjson.OPT_INDENT_2))
            size = sum(file.tell() for file in (vectors, lines, about))
        return Exported(target, count, size)


def _write_lines(
    chosen: PointSelection, batches: Iterator[list[Record]], vectors: IO[bytes], lines: IO[bytes]
) -> int:
    kind = np.dtype("<f2" if chosen.is_half else "<f4")
    count, dimension = 0, chosen.dimension
    vectors.write(bytes(_HEAD))
    for records in batches:
        embeddings = [record.pop("embedding") for record in records]
        if not dimension:  # a cluster's, known from the first vector
            dimension = next((len(e) for e in embeddings if e is not None), 0)
            for _ in range(count if dimension else 0):
                vectors.write(np.full(dimension, np.nan, kind).tobytes())
        for record, vector in zip(records, embeddings, strict=True):
            lines.write(line_of(record))
            row = np.full(dimension, np.nan) if vector is None else vector
            vectors.write(np.asarray(row, kind).tobytes())
        count += len(records)
    end = vectors.tell()
    vectors.seek(0)
    vectors.write(_head(count, dimension, kind))
    vectors.seek(end)
    return count


def _head(count: int, dimension: int, kind: np.dtype[Any]) -> bytes:
    """The header of a .npy file, version 1.0, for an array of shape (count, dimension). kind: the
    type of the numbers in the array."""
    about = {"descr": kind.str, "fortran_order": False, "shape": (count, dimension)}
    room = _HEAD - len(_MAGIC) - 2
    return _MAGIC + room.to_bytes(2, "little") + repr(about).encode().ljust(room - 1) + b"\n"


def rows_of_arrays(path: Path, columns: FileColumns, most: int) -> Iterator[Row]:
    """The records in a directory that `export_arrays` has written. most: the largest size of a line
    in bytes."""
    vectors = _vectors(path / VECTORS)
    place = FilePlace(RECORDS, "line")
    read = 0
    for row in rows_of_lines(path / RECORDS, columns, most):
        if "embedding" in row.record:
            raise place.error(row.number, f"it has an embedding, which belongs into {VECTORS}")
        if read == len(vectors):
            raise place.error(row.number, f"{VECTORS} has no more than {read} vectors")
        vector = np.array(vectors[read])
        if not np.isnan(vector).all():
            row.record["embedding"] = vector
        read += 1
        yield row._replace(size=row.size + vector.nbytes)
    if read != len(vectors):
        raise place.unreadable(f"it has {read} records, but {VECTORS} {len(vectors)} vectors")


def about_arrays(path: Path, most: int) -> bytes | None:
    """The JSON in a directory of arrays that describes the exported collection; None if there is no
    description. Raises InvalidArgumentError if the description is longer than `most` bytes."""
    if not os.path.lexists(path / ABOUT):
        return None
    with open_regular(path / ABOUT) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise InvalidArgumentError(f"{ABOUT} can't be read: it is longer than {most:,} bytes")
    return content


def _vectors(path: Path) -> Any:
    with open_regular(path):  # it exists, and is a file
        pass
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, SyntaxError, EOFError) as error:
        raise InvalidArgumentError(f"{path.name} can't be read: {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise InvalidArgumentError(
            f"{path.name} holds {vectors.dtype} of shape {vectors.shape}, expected numbers of "
            "shape (number of vectors, dimension)"
        )
    return vectors
