"""Rows of files: a record, and where it stands, so that an error can say so."""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import listed, shown
from retrieval_store.errors import InvalidArgumentError

FIELDS = ("id", "document", "metadata", "uri", "embedding", "sparse_embedding")
MOST_COLUMNS = 10_000  # of a table
Item = TypeVar("Item")
MAX_LINE_BYTES = 64 << 20
BATCH_BYTES = 64 << 20  # of rows that are in memory at once, as they stand in their file


class Row(NamedTuple):
    """A record, the number of its line or row, from 1, and about how many bytes it has there."""

    number: int
    record: dict[str, Any]
    size: int


@dataclass(frozen=True, slots=True)
class Place:
    """A file, and what its rows are called, for messages. refused: an error that names both."""

    name: str
    unit: str

    def refused(self, number: int, why: object) -> InvalidArgumentError:
        """The error for one row; of the kind of `why`, where that is an error of ours."""
        kind = type(why) if isinstance(why, InvalidArgumentError) else InvalidArgumentError
        return kind(f"{self.name}, {self.unit} {number}: {why}")

    def unreadable(self, why: object) -> InvalidArgumentError:
        """The error for the whole file."""
        return InvalidArgumentError(f"{self.name} can't be read: {why}")


@dataclass(frozen=True, slots=True)
class Columns:
    """Under which names a file has the ids and the documents."""

    id: str = "id"
    document: str = "document"

    @property
    def are_usual(self) -> bool:
        """Whether each is called as it is here."""
        return (self.id, self.document) == ("id", "document")

    def of_table(self, names: Sequence[str], name: str) -> dict[str, str]:
        """What each column of a table means; InvalidArgumentError for a repeated column, and
        for more than MOST_COLUMNS."""
        if len(names) > MOST_COLUMNS:
            raise InvalidArgumentError(
                f"{name} has {len(names):,} columns, expected {MOST_COLUMNS:,} at most"
            )
        if len(set(names)) < len(names):
            twice = next(one for one in names if names.count(one) > 1)
            raise InvalidArgumentError(f"{name} has the column {twice!r} more than once")
        if self.id not in ("id", *names):
            raise self.no_ids(names, name)
        if self.document not in ("document", *names):
            raise InvalidArgumentError(
                f"{name} has no column {self.document!r} among {listed(names)}; document_column "
                "names that of the documents"
            )
        try:
            return self.renamed(names)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{name}: {error}") from None

    def no_ids(self, names: Sequence[str], name: str) -> InvalidArgumentError:
        """The error for a table without ids."""
        between = next((one for one in ";\t|" if len(names) == 1 and one in names[0]), None)
        if between is not None:
            return InvalidArgumentError(
                f"{name} has one column, {shown(names[0])}; its cells seem to be separated by "
                f"{between!r}, expected ',', or '\\t' in a file that ends with .tsv"
            )
        return InvalidArgumentError(
            f"{name} has no column {self.id!r} among {listed(names)}; id_column names that of the "
            "ids"
        )

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        """What each of the names means here; InvalidArgumentError for two that mean one."""
        meant = {self.document: "document", self.id: "id"}
        found = {name: meant.get(name, name) for name in names}
        for mine in ("id", "document"):
            named = [name for name, meaning in found.items() if meaning == mine]
            if len(named) > 1:
                raise InvalidArgumentError(
                    f"it has both {named[0]!r} and {named[1]!r}; only one can be the {mine}"
                )
        return found


def batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Some rows after the others, as `bounded` has it."""
    return bounded(rows, size, lambda row: row.size)


def bounded(
    items: Iterable[Item], size: int, bytes_of: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Some items after the others: so many at once, and fewer where they are large. Those before
    one that can't be read come first, so that what is wrong with them is told."""
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
    """The record, with an embedding that is text, base64 of little-endian float32, as numbers."""
    embedding = record.get("embedding")
    if isinstance(embedding, str):
        record["embedding"] = _decoded(embedding)
    return record


def _decoded(text: str) -> Any:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b"?"
    if len(data) % 4:
        raise InvalidArgumentError(
            f"embedding is {shown(text)}, expected a list of numbers, or base64 of float32"
        )
    return np.frombuffer(data, "<f4")
