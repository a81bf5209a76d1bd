"""Results as tables: a row for each point, or for each hit of each query."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import chain, count
from typing import Any

import numpy as np
import orjson

from retrieval_store.base.validation import shown
from retrieval_store.direct.tables.expanding import Expanded, column_of, expanded, kind_of
from retrieval_store.errors import InvalidTypeError, MissingDependencyError
from retrieval_store.query.protocols import PointsBackend

_NULLABLE: dict[type, Any] = {int: "Int64", bool: "boolean"}
COLUMNS = {
    "ids": "id",
    "distances": "distance",
    "scores": "score",
    "documents": "document",
    "metadatas": "metadata",
    "uris": "uri",
    "embeddings": "embedding",
    "sparse_embeddings": "sparse_embedding",
    "data": "data",
}


def to_pandas(result: Mapping[str, Any], expand: bool = False) -> Any:
    """A pandas.DataFrame of what `get` or `query` returned: the columns "id", of a query "query"
    (its number), "distance" and "score", and of "document", "metadata" (dicts), "uri", "embedding"
    (float32 arrays), "sparse_embedding" (dicts) and "data" those that were included.
    MissingDependencyError without pandas.

    expand: a column for each key of the metadata instead, called as the key, or "metadata.KEY"
    where another is called so; what a record doesn't have is missing there. "metadata" then has
    what columns can't tell, nulls and empty metadata, if there is any, so that `add_from` makes the
    same records of the frame."""
    columns = columns_of(result)
    if not _is_expanded(expand, columns):
        return frame_of(columns)
    split = expanded(columns["metadata"])
    frame = frame_of(_replaced(columns, split, split.rest))
    import pandas

    for key, values in split.values.items():
        kind = kind_of(values)
        # pandas would make floats of integers where one is missing, or where others are floats.
        dtype = object if kind is None else _NULLABLE.get(kind) if None in values else None
        if dtype is not None:
            frame[column_of(key)] = pandas.Series(values, dtype=dtype)
    return frame


def _is_expanded(expand: Any, columns: Mapping[str, Any]) -> bool:
    if type(expand) is not bool:
        raise InvalidTypeError(f"expand is {shown(expand)}, expected a bool")
    return expand and "metadata" in columns


def _replaced(columns: Mapping[str, Any], split: Expanded, rest: list[Any]) -> dict[str, Any]:
    """The columns, with those of keys in the place of "metadata"."""
    found: dict[str, Any] = {}
    for name, values in columns.items():
        if name != "metadata":
            found[name] = values
            continue
        if split.has_rest:
            found[name] = rest
        found |= {column_of(key): some for key, some in split.values.items()}
    return found


def frame_of(columns: Mapping[str, Any]) -> Any:
    """A pandas.DataFrame of columns. MissingDependencyError without pandas."""
    try:
        import pandas
    except ImportError as error:
        raise MissingDependencyError("to_pandas needs pandas: pip install pandas") from error
    return pandas.DataFrame(columns)


def to_arrow(result: Mapping[str, Any], expand: bool = False) -> Any:
    """A pyarrow.Table of the same, but metadata as text of JSON, embeddings as lists of float32,
    and no data. MissingDependencyError without pyarrow. expand: also columns for keys of the
    metadata, as `to_pandas` has them, whose values are all truths, integers of 64 bits, floats or
    texts; other keys stay in "metadata"."""
    columns = columns_of(result)
    columns.pop("data", None)
    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependencyError("to_arrow needs pyarrow: pip install pyarrow") from error
    types: dict[str, Any] = {}
    if _is_expanded(expand, columns):
        split = expanded(columns["metadata"], (bool, int, float, str))
        columns = _replaced(columns, split, _as_json(split.rest))
        of_kinds: dict[Any, Any] = {
            bool: pyarrow.bool_(),
            int: pyarrow.int64(),
            float: pyarrow.float64(),
        }
        for key, values in split.values.items():
            kind = kind_of(values)
            if kind in of_kinds:
                types[column_of(key)] = of_kinds[kind]
    elif "metadata" in columns:
        columns["metadata"] = _as_json(columns["metadata"])
    types |= {
        "id": pyarrow.string(),
        "query": pyarrow.int64(),
        "distance": pyarrow.float64(),
        "score": pyarrow.float64(),
        "embedding": pyarrow.list_(pyarrow.float32()),
        "sparse_embedding": pyarrow.struct(
            {
                "indices": pyarrow.list_(pyarrow.uint32()),
                "values": pyarrow.list_(pyarrow.float32()),
            }
        ),
    }
    arrays = {
        name: pyarrow.array(values, types.get(name, pyarrow.string()))
        for name, values in columns.items()
    }
    return pyarrow.table(arrays)


def _as_json(metadatas: list[Any]) -> list[str | None]:
    return [None if one is None else orjson.dumps(one).decode() for one in metadatas]


def rows_of(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The points of what `get` returned one by one, as `add_from` takes them."""
    columns = columns_of(result)
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def columns_of(result: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The columns of a result, a row for each point, or for each hit of each query."""
    if not isinstance(result, Mapping) or "ids" not in result:
        raise InvalidTypeError(f"result is {shown(result)}, expected what get or query returned")
    is_query = "scores" in result
    columns: dict[str, list[Any]] = {}
    if is_query:
        counts = [len(ids) for ids in result["ids"]]
        columns["query"] = np.repeat(np.arange(len(counts)), counts).tolist()
    for field, column in COLUMNS.items():
        values = result.get(field)
        if values is not None:
            columns[column] = _joined(values, result["ids"]) if is_query else list(values)
    return columns


def _joined(values: Any, ids: Any) -> list[Any]:
    """Those of all queries; a query without distances has None for each of its hits."""
    parts = ([None] * len(of) if one is None else one for one, of in zip(values, ids, strict=True))
    return list(chain.from_iterable(parts))


def rows_of_copy(
    copied: AbstractContextManager[PointsBackend],
    page: Callable[[PointsBackend, int], list[dict[str, Any]]],
    size: int,
) -> Iterator[dict[str, Any]]:
    """All rows of a copy, which is made at once: `page` after page, of so many points each."""
    points, process = copied.__enter__(), os.getpid()

    def rows() -> Iterator[dict[str, Any]]:
        try:
            for start in count(0, size):
                found = page(points, start)
                if not found:
                    return
                yield from found
        finally:
            if os.getpid() == process:  # a forked child leaves it to its parent
                copied.__exit__(None, None, None)

    return rows()
