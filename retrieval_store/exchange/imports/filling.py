"""Records from elsewhere, added to a collection; what can't be kept is counted, with the reason."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np

from retrieval_store.direct.arguments import ids_of, metadatas_of
from retrieval_store.direct.collection import Collection
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.exchange.reports import Left

Record = dict[str, Any]
RECORD = "record"


class Lefts:
    """What was left, by what it is and why."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Left] = {}

    def setting(self, what: str, why: str) -> None:
        """Something that isn't about records."""
        self._found.setdefault((what, why), Left(what, why))

    def of_record(self, what: str, why: str, point_id: Any) -> None:
        """Something of a record, or all of it."""
        before = self._found.get((what, why))
        example = str(point_id) if before is None else before.example
        count = 1 if before is None else before.records + 1
        self._found[what, why] = Left(what, why, count, example)

    def all(self) -> tuple[Left, ...]:
        """All of it, in the order in which it was found."""
        return tuple(self._found.values())


class Filling:
    """Adds records to a collection that no other caller knows yet."""

    def __init__(self, collection: Collection, left: Lefts) -> None:
        self._collection, self._left = collection, left
        self._seen: set[bytes] = set()
        self._dimension: int | None = None
        self.records = 0

    def add(self, records: Iterable[Record]) -> None:
        """Add those that can be."""
        kept = [one for one in map(self._kept, records) if one is not None]
        if kept:
            self.records += self._collection.add_from(kept, len(kept))

    def _kept(self, record: Record) -> Record | None:
        why = self._fault(record)
        if why is not None:
            self._left.of_record(RECORD, why, record.get("id"))
            return None
        metadata = record.get("metadata")
        if metadata is not None:
            return {**record, "metadata": self._metadata(record["id"], metadata)}
        return record

    def _fault(self, record: Record) -> str | None:
        """Why a record can't be added at all."""
        point_id, vector = record.get("id"), record.get("embedding")
        try:
            ids_of([point_id])
        except InvalidArgumentError:
            return "its id isn't a text of at least one character"
        if vector is None:
            return "it has no vector"
        numbers = np.asarray(vector, np.float32)
        if not np.isfinite(numbers).all():
            return "its vector has numbers that aren't finite, in float32"
        if self._dimension is None:
            self._dimension = len(numbers)
        if len(numbers) != self._dimension:
            return f"its vector hasn't {self._dimension} numbers, as the first has"
        digest = blake2b(record["id"].encode(), digest_size=16).digest()
        if digest in self._seen:
            return "another record before it has its id"
        self._seen.add(digest)
        return None

    def _metadata(self, point_id: str, metadata: Record) -> Record:
        try:
            metadatas_of([metadata])
        except InvalidArgumentError:
            return {key: one for key, one in metadata.items() if self._fits(point_id, key, one)}
        return metadata

    def _fits(self, point_id: str, key: Any, value: Any) -> bool:
        try:
            metadatas_of([{key: value}])
        except InvalidArgumentError as error:
            why = str(error).partition("which can't be stored: ")[2] or str(error)
            self._left.of_record(f"metadata key {key!r}", why, point_id)
            return False
        return True
