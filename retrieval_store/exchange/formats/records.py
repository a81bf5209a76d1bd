"""The points of a collection, as they are written into files."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.tracing import progress_bar
from retrieval_store.direct.collection import Collection

Record = dict[str, Any]
Batches = Iterator[list[Record]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which points of a collection, and how many are in memory at once. vectors: whether with
    their vectors."""

    collection: Collection
    where: Mapping[str, Any] | None = None
    where_document: Mapping[str, Any] | None = None
    vectors: bool = True
    batch: int = 1_000
    show_progress: bool = False
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", self.collection.configuration)

    @property
    def has_sparse(self) -> bool:
        """Whether points may have sparse vectors, which are wanted."""
        return self.vectors and bool(self.settings.get("sparse"))

    @property
    def is_half(self) -> bool:
        """Whether vectors are kept as float16."""
        return bool(self.settings["vectors"]["datatype"] == "float16")

    def described(self) -> dict[str, Any]:
        """What the collection is called and set to."""
        return {
            "name": self.collection.name,
            "metadata": self.collection.metadata,
            "configuration": self.settings,
        }

    @contextmanager
    def read(self) -> Iterator[Batches]:
        """All of them as they are now, some after the others. Whatever ends the block, the copy
        that they are read from goes."""
        include = ["documents", "metadatas", "uris"]
        if self.vectors:
            include.append("embeddings")
        if self.has_sparse:
            include.append("sparse_embeddings")
        total = self.collection.count(self.where, self.where_document)
        records = self._iterated(include)
        try:
            with progress_bar("exporting", total, "record", self.show_progress) as bar:
                yield self._pieces(records, bar.update)
        finally:
            close = getattr(records, "close", None)
            if close is not None:
                close()

    @contextmanager
    def metadatas(self) -> Iterator[Iterator[Record]]:
        """Their metadata alone."""
        records = self._iterated(["metadatas"])
        try:
            yield (record["metadata"] or {} for record in records)
        finally:
            close = getattr(records, "close", None)
            if close is not None:
                close()

    def _iterated(self, include: Sequence[Any]) -> Iterator[Record]:
        return self.collection.iterate(self.batch, self.where, self.where_document, include)

    def _pieces(
        self, records: Iterator[Record], advance: Callable[[int], None]
    ) -> Generator[list[Record], None, None]:
        while some := [_known(record) for record in islice(records, self.batch)]:
            yield some
            advance(len(some))


def _known(record: Record) -> Record:
    """The record, without a vector where the point has none: it reads as NaN."""
    embedding = record.get("embedding")
    if embedding is not None and np.isnan(embedding).all():
        record["embedding"] = None
    return record
