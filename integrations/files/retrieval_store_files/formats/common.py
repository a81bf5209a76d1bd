"""The common parts of all file formats: rows and columns.

A `Row` is a record with its position in the file, so that an error message can name the position.
`batches` reads the points of a collection for writing them to files.
"""

import base64
import binascii
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from retrieval_store import Collection
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.expression import Expression
from retrieval_store.frameworks import progress_bar
from retrieval_store_files.values import list_ids, quote

FIELDS = ("id", "document", "metadata", "uri", "embedding", "sparse_embedding")
MAX_COLUMNS = 10_000  # of a table
Where: TypeAlias = Mapping[str, Any] | Expression
Item = TypeVar("Item")
MAX_LINE_BYTES = 64 << 20
BATCH_BYTES = 64 << 20  # of rows in memory at once, by their size in the file


class Row(NamedTuple):
    """A record, with the number of its line or row, counted from 1, and its approximate size in
    bytes."""

    number: int
    record: dict[str, Any]
    size: int


@dataclass(frozen=True, slots=True)
class FilePlace:
    """The name of a file, and the word for one of its records ("line" or "row"), for error
    messages."""

    name: str
    unit: str

    def error(self, number: int, why: object) -> InvalidArgumentError:
        """An error that names the row and the reason `why`. If `why` is an InvalidArgumentError,
        the new error has the same class. number: the number of the row."""
        kind = type(why) if isinstance(why, InvalidArgumentError) else InvalidArgumentError
        return kind(f"{self.name}, {self.unit} {number}: {why}")

    def unreadable(self, why: object) -> InvalidArgumentError:
        """An error whose message says that the whole file can't be read, and gives the reason
        `why`."""
        return InvalidArgumentError(f"{self.name} can't be read: {why}")


@dataclass(frozen=True, slots=True)
class FileColumns:
    """The names of the columns that have the ids and the documents."""

    id: str = "id"
    document: str = "document"

    def have_ids(self, names: Sequence[str]) -> bool:
        """Whether one of the column names is that of the column with the ids."""
        return self.id in names or "id" in names

    def meanings_in_table(self, names: Sequence[str], name: str) -> dict[str, str]:
        """A dict from the name of each column of a table to the field that the column contains,
        such as "id". A column that contains no field is mapped to its own name. Raises
        InvalidArgumentError if a name occurs twice, if a requested column is missing, or if there
        are more than MAX_COLUMNS columns. name: the name of the table."""
        if len(names) > MAX_COLUMNS:
            raise InvalidArgumentError(
                f"{name} has {len(names):,} columns, expected {MAX_COLUMNS:,} at most"
            )
        if len(set(names)) < len(names):
            twice = next(column for column in names if names.count(column) > 1)
            raise InvalidArgumentError(f"{name} has the column {twice!r} more than once")
        if self.id not in ("id", *names):
            raise self.no_ids(names, name)
        if self.document not in ("document", *names):
            raise InvalidArgumentError(
                f"{name} has no column {self.document!r} among {list_ids(names)}; document_column "
                "names that of the documents"
            )
        try:
            return self.meanings_of(names)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{name}: {error}") from None

    def no_ids(self, names: Sequence[str], name: str) -> InvalidArgumentError:
        """The error for a table that has no column of ids."""
        return InvalidArgumentError(
            f"{name} has no column {self.id!r} among {list_ids(names)}; id_column names that of "
            "the ids"
        )

    def meanings_of(self, names: Iterable[str]) -> dict[str, str]:
        """A dict from each name to the field that it stands for, such as "id". A name that stands
        for no field is mapped to itself. Raises InvalidArgumentError if two names stand for the
        same field."""
        meant = {self.document: "document", self.id: "id"}
        meanings = {name: meant.get(name, name) for name in names}
        for mine in ("id", "document"):
            named = [name for name, meaning in meanings.items() if meaning == mine]
            if len(named) > 1:
                raise InvalidArgumentError(
                    f"it has both {named[0]!r} and {named[1]!r}; only one can be the {mine}"
                )
        return meanings


def batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Yield the rows in lists of at most `size` rows, fewer if the rows are large; see
    `in_bounded_pieces`."""
    return in_bounded_pieces(rows, size, lambda row: row.size)


def in_bounded_pieces(
    items: Iterable[Item], size: int, bytes_of: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Yield items in lists of at most `size` items and about BATCH_BYTES bytes. bytes_of: returns
    the size of an item. If an item can't be read, the items before it are yielded first, so that
    errors in earlier items are reported first."""
    waiting: list[Item] = []
    room = BATCH_BYTES
    try:
        for item in items:
            waiting.append(item)
            room -= bytes_of(item)
            if len(waiting) == size or room <= 0:
                yield waiting
                waiting, room = [], BATCH_BYTES
    except InvalidArgumentError:
        if waiting:
            yield waiting
        raise
    if waiting:
        yield waiting


def with_vector(record: dict[str, Any]) -> dict[str, Any]:
    """If the embedding of a record is in base64 (little-endian float32), replace it by a list of
    numbers. Returns the same record."""
    embedding = record.get("embedding")
    if isinstance(embedding, str):
        record["embedding"] = _decode_base64(embedding)
    return record


def _decode_base64(text: str) -> Any:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b"?"  # an invalid length, refused below
    if len(data) % 4:
        raise InvalidArgumentError(
            f"embedding is {quote(text)}, expected a list of numbers, or base64 of float32"
        )
    return np.frombuffer(data, "<f4")


Record = dict[str, Any]
Batches = Iterator[list[Record]]


@dataclass(frozen=True, slots=True)
class PointSelection:
    """The points of a collection to export, and the number of points that are in memory at a time.
    vectors: whether the points' vectors are read."""

    collection: Collection
    where: Where | None = None
    where_document: Mapping[str, Any] | None = None
    vectors: bool = True
    batch: int = 1_000
    show_progress: bool = False
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", self.collection.configuration)

    @property
    def has_sparse(self) -> bool:
        """Whether vectors are exported, and the collection can have sparse vectors."""
        return self.vectors and bool(self.settings.get("sparse"))

    @property
    def dimension(self) -> int:
        """The dimension of the collection's vectors; 0 if it isn't known yet."""
        spaces: Any = self.collection.stats().get("spaces", {})
        return spaces.get("", {}).get("dimension") or 0

    @property
    def is_half(self) -> bool:
        """Whether the collection stores vectors as float16."""
        return bool(self.settings["vectors"]["datatype"] == "float16")

    def describe(self) -> dict[str, Any]:
        """The name, metadata and configuration of the collection."""
        return {
            "name": self.collection.name,
            "metadata": self.collection.metadata,
            "configuration": self.settings,
        }

    @contextmanager
    def read(self) -> Iterator[Batches]:
        """A context manager that returns an iterator of the selected points in batches. All points
        are read from one snapshot of the collection, a private copy that is deleted at the end."""
        include = ["documents", "metadatas", "uris"]
        if self.vectors:
            include.append("embeddings")
        if self.has_sparse:
            include.append("sparse_embeddings")
        total = self.collection.count(self.where, self.where_document)
        with (
            self._iterate(include) as records,
            progress_bar("exporting", total, "record", self.show_progress) as bar,
        ):
            yield self._pieces(records, bar.update)

    @contextmanager
    def metadatas(self) -> Iterator[Iterator[Record]]:
        """A context manager that returns an iterator of the metadata of the selected points."""
        with self._iterate(["metadatas"]) as records:
            yield (record["metadata"] or {} for record in records)

    def _iterate(self, include: Sequence[Any]) -> AbstractContextManager[Iterator[Record]]:
        records = self.collection.iterate(self.batch, self.where, self.where_document, include)
        return closing(records)  # type: ignore[type-var]  # a generator, which lets go of its copy

    def _pieces(
        self, records: Iterator[Record], advance: Callable[[int], None]
    ) -> Generator[list[Record], None, None]:
        while piece := list(islice(records, self.batch)):
            yield piece
            advance(len(piece))


Stamp = tuple[int, int, int]  # of a file: its inode number, size, and time of change


def stamp_of(path: Path) -> Stamp:
    """A value that changes when a file is modified: its times, size and inode number."""
    try:
        status = path.stat()
    except OSError as error:
        raise InvalidArgumentError(f"path is {str(path)!r}: {error.strerror}") from None
    return status.st_ino, status.st_size, status.st_mtime_ns
