"""Imports the vectors in an index file of Faiss, with the records in a JSON lines file. The package
faiss reads the index file.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_store import Client
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.frameworks import progress_bar
from retrieval_store.loaders.files import open_regular
from retrieval_store_files.formats.common import (
    MAX_LINE_BYTES,
    FileColumns,
    FilePlace,
)
from retrieval_store_files.formats.jsonl import rows_of_lines
from retrieval_store_files.imports.common import Filling, Leftovers, making, refuse_taken
from retrieval_store_files.reports import Carried, Imported
from retrieval_store_files.values import needing, path_of, whole_number

_WHOLE = ("IndexFlat", "IndexHNSWFlat", "IndexIVFFlat", "IndexNSGFlat", "IndexRefineFlat")


def import_faiss(
    index_file: str | os.PathLike[str],
    metadata_jsonl: str | os.PathLike[str] | None,
    client: Client,
    name: str,
    *,
    id_column: str = "id",
    document_column: str = "document",
    max_line_bytes: int = MAX_LINE_BYTES,
    batch: int = 1_000,
    show_progress: bool = False,
) -> Imported:
    """Import the vectors in an index file of Faiss, with their records.

    metadata_jsonl: a file with a line for each vector, in the order in which the vectors were added
    to the index. The lines are records as in `add_file`, without embeddings. If a line has no id,
    the id of the record is the number of the vector in the index. If `metadata_jsonl` is None, the
    records consist of such ids and of vectors. The collection gets the distance of the index. If
    the index compresses vectors, approximate vectors are imported, and the report says so.

    Faiss trusts its input, so never pass an untrusted file. After an error nothing is imported.
    Raises AlreadyExistsError if the name is taken, and MissingDependencyError if faiss isn't
    installed.
    """
    size = whole_number(batch, "batch", 1)
    most = whole_number(max_line_bytes, "max_line_bytes", 1)
    path = path_of(index_file, "index_file")
    lines = None if metadata_jsonl is None else path_of(metadata_jsonl, "metadata_jsonl")
    refuse_taken(client, [name])
    vectors = _Vectors(_faiss(), path)
    columns = FileColumns(id_column, document_column)
    if lines is not None:
        _refuse_other_number(vectors, path, lines, columns, most)
    left = Leftovers()
    if not vectors.is_whole:
        why = f"{vectors.kind} stores them compressed: the decompressed ones were imported"
        left.setting("digits of vectors", why)
    with making(client) as made:
        configuration = {"hnsw": {"space": vectors.space}}
        new = made.collection(name, configuration=configuration, embedding_function=None)
        filling = Filling(new, left)
        records = _records(vectors, lines, columns, most)
        with progress_bar(f"importing {name}", len(vectors), "vector", show_progress) as bar:
            while piece := list(islice(records, size)):
                filling.add(piece)
                bar.update(len(piece))
    return Imported(path, (Carried(path.name, name, filling.records, left.all()),))


def _faiss() -> Any:
    with needing("import_faiss", "faiss", "faiss-cpu"):
        import faiss
    return faiss


def _refuse_other_number(
    vectors: "_Vectors", path: Path, lines: Path, columns: FileColumns, most: int
) -> None:
    """Raise InvalidArgumentError if a line is invalid, or if the number of lines isn't the number
    of vectors. All lines are read before anything is created. most: the largest size of a line in
    bytes."""
    count, place = 0, FilePlace(lines.name, "line")
    for row in rows_of_lines(lines, columns, most):
        count += 1
        if "embedding" in row.record:
            raise place.error(row.number, f"it has an embedding, which {path.name} has")
    if count != len(vectors):
        raise InvalidArgumentError(
            f"{path.name} has {len(vectors)} vectors, but {lines.name} {count} records: expected a "
            "line for each vector"
        )


def _records(
    vectors: "_Vectors", lines: Path | None, columns: FileColumns, most: int
) -> Iterator[dict[str, Any]]:
    if lines is None:
        for number, vector in vectors:
            yield {"id": str(number), "embedding": vector}
        return
    rows = rows_of_lines(lines, columns, most)
    for (number, vector), row in zip(vectors, rows, strict=True):
        yield {"id": str(number), **row.record, "embedding": vector}


class _Vectors:
    """The vectors in an index file, with their numbers in the index."""

    def __init__(self, faiss: Any, path: Path) -> None:
        with open_regular(path):  # it exists, and is a file
            pass
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise InvalidArgumentError(
                f"{path.name} is no index that faiss reads: {error}"
            ) from error
        self.space = self._space(faiss, index, path)
        self._count, self._name = int(index.ntotal), path.name
        self._numbers: Any = range(self._count)
        self._whole = index  # its inner index is freed with it
        while isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
            # It returns vectors by their positions in the inner index.
            self._numbers = faiss.vector_to_array(index.id_map).tolist()
            index = faiss.downcast_index(index.index)
        self.kind = type(index).__name__
        self.is_whole = self.kind.startswith(_WHOLE)
        self._index = _with_places(faiss, index, path)
        if self._count:
            self._vector(0)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        for place, number in enumerate(self._numbers):
            yield number, self._vector(place)

    def _vector(self, place: int) -> Any:
        # One by one: reconstruct_n runs in C++ threads, and where an index doesn't support it, its
        # error ends the process.
        try:
            return np.array(self._index.reconstruct(place), np.float32)
        except RuntimeError as error:
            raise InvalidArgumentError(
                f"{self._name} is an index of the kind {self.kind}, which can't give back vector "
                f"{place}: {error}"
            ) from error

    @staticmethod
    def _space(faiss: Any, index: Any, path: Path) -> str:
        known = {faiss.METRIC_L2: "l2", faiss.METRIC_INNER_PRODUCT: "ip"}
        space = known.get(index.metric_type)
        if space is None:
            raise InvalidArgumentError(
                f"{path.name} has Faiss's metric {index.metric_type}; expected METRIC_L2 or "
                "METRIC_INNER_PRODUCT, which there are here"
            )
        return space


def _with_places(faiss: Any, index: Any, path: Path) -> Any:
    """The index. If the index stores vectors in inverted lists, a map from vectors to their
    positions in these lists is added."""
    try:
        lists = faiss.extract_index_ivf(index)
    except RuntimeError:  # it has no lists
        return index
    try:
        lists.make_direct_map()
    except RuntimeError as error:
        raise InvalidArgumentError(
            f"{path.name} has vectors under numbers of their own, not 0, 1, 2 …: the ids of its "
            f"vectors are unknown ({error})"
        ) from error
    return index
